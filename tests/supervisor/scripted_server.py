"""A stand-in for `epmdless serve`: says what it is told to, and writes down what happens to it.

As a program: BEHAVIOUR JOURNAL. It needs nothing but the standard library.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

BEHAVIOURS = ("ready", "silent", "fail-2", "fail-1")
"""Says that it is ready; never does; ends at once with a status."""


def main(behaviour: str, journal: Path) -> None:
    def note(text: str) -> None:
        with journal.open("a") as file:
            file.write(f"{text}\n")

    def stop(number: int, _: object) -> None:
        note(f"ended {os.getpid()} by {signal.Signals(number).name}")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    note(f"started {os.getpid()} for {os.environ['EPMDLESS_HOST']}")
    note(f"descriptors {sorted(int(path.name) for path in Path('/proc/self/fd').iterdir())[:-1]}")
    if behaviour.startswith("fail"):
        sys.exit(int(behaviour[-1]))
    if behaviour != "silent":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
            sock.send(b"READY=1\nSTATUS=0 nodes registered")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
