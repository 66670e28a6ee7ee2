"""Demonstrations that run: how long they may take, and their processes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.deadline import eventually
from tests.support.process import Program

BOOT_WITHIN = 40.0
END_WITHIN = 20.0


def processes_of(folder: Path) -> list[int]:
    """The processes that have the folder in their environment."""
    return list(processes("environ", str(folder).encode()))


def ended(folder: Path) -> None:
    """See that none of them is left: a BEAM's helpers notice a moment after it that it has ended."""

    def left() -> str:
        lines = (Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in processes_of(folder))
        return f"the end of {list(lines)}"

    eventually(lambda: not processes_of(folder), within=END_WITHIN, what=left)


def processes(file: str, wanted: bytes) -> Iterator[int]:
    """The processes that have this in a file of theirs in /proc: `environ`, `cmdline`."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if wanted in (entry / file).read_bytes():
                    yield int(entry.name)
            except OSError:
                pass  # it has ended, or is another user's


def children(program: Program, word: str) -> list[int]:
    """The demonstration's own programs that have this word in their command line."""
    pid = program.pid
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    found = set[int]()
    for task in listed:
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found |= set(map(int, task.read_text().split()))
    return sorted(found & set(processes("cmdline", word.encode())))
