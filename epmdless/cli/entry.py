"""Where the command ``epmdless`` starts."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line.

    A server's SIGHUP means "reload", from its first moment on: the imports take long enough for one to
    come. What comes to ``exec`` waits: as PID 1 it would never see it otherwise.
    """
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    elif sys.argv[1:2] == ["exec"]:
        from epmdless.supervisor import signals

        signals.hold()
    from epmdless.cli.main import main as run

    run()
