"""Files that hold secrets or certificates: read whole, within bounds, as they are at one moment."""

from __future__ import annotations

import os
import stat

MAX_FILE_BYTES = 1 << 20
"""Of a file with certificates: Debian's bundle of every public CA has a quarter of it."""

ACCESS_OF_OTHERS = 0o077

Print = tuple[int, ...]
"""What tells a file from another one, or from itself before it was changed."""


def read(
    path: str, *, private: bool = False, most: int = MAX_FILE_BYTES, what: str = "file of certificates"
) -> bytes:
    """The bytes of a file; what was checked is what is read, whatever happens to the path meanwhile.

    Blocks as long as reading a small file takes. A symbolic link is followed.

    :param private: its group and others may have no access to it.
    :param most: bytes that it may have.
    :param what: it is, for the error.
    :raises OSError: it cannot be opened or read.
    :raises ValueError: it is not what such a file must be; the message says why.
    """
    # A FIFO without a writer would hold up an open that may wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if private and status.st_mode & ACCESS_OF_OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise ValueError(f"must be accessible by its owner only, as with chmod 400; its mode is {mode:o}")
        content = b""
        while len(content) <= most and (piece := os.read(descriptor, most + 1 - len(content))):
            content += piece
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise ValueError(f"longer than {most} bytes: not a {what}")
    return content


def fingerprint(path: str) -> Print | None:
    """What changes when the file does; None: there is none, or it cannot be reached.

    Symbolic links are followed: Kubernetes renews a mounted secret by turning a link. The time of the
    last status change is in it, since a ``chmod`` mends a file without touching what it holds.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 — a path of text, as the configuration has it
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
