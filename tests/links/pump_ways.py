"""The ways that bytes can go through a pump, each brought about at will, and a pump in miniature."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from epmdless.links import pipes, pump, records
from epmdless.wire.frames import FrameWalker
from tests.links import peers
from tests.links.peers import Side
from tests.wire.frame_model import frame

NO_SUCH_OPTION: Final = 0x7FFF
"""A socket option that no kernel has."""

TOO_LARGE: Final = 0xFFFFFFFF
"""Bytes that no pipe can have; asked for them, the kernel leaves it at the usual 64 KiB."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way for bytes to go: whether frames are counted, what of the pump's and the pool's is changed, and
    which sides speak TLS."""

    title: str
    frames: bool
    pump: Mapping[str, object] | None = None
    pipes: Mapping[str, object] | None = None
    splices: bool = True
    tls: tuple[Side, ...] = ()

    def __str__(self) -> str:
        return self.title


def _out_of_descriptors(flags: int) -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


WAYS: Final = [
    Way("splice, heads looked at ahead", frames=True),
    Way("splice, no accounting", frames=False),
    Way("no SO_PEEK_OFF", frames=True, pump={"SO_PEEK_OFF": NO_SUCH_OPTION}),
    Way("pipes too small to pay", frames=False, pipes={"PIPE_SIZE": TOO_LARGE}, splices=False),
    Way("no pipe left", frames=True, pipes={"MAX_PIPES": 0}, splices=False),
    Way("no pipe left, no accounting", frames=False, pipes={"MAX_PIPES": 0}, splices=False),
    Way("no descriptor left", frames=True, pipes={"os.pipe2": _out_of_descriptors}, splices=False),
]

TLS_WAYS: Final = [
    Way("TLS on the far side", frames=True, splices=False, tls=("far",)),
    Way("TLS on the near side", frames=True, splices=False, tls=("near",)),
    Way("TLS, no accounting", frames=False, splices=False, tls=("far",)),
    Way("TLS on both sides", frames=True, splices=False, tls=("near", "far")),
]

SMALL_BUFFER: Final = 4096
SMALL_PIPE: Final = 16 * 1024
SMALL_RECORD: Final = 512

OVERHEAD: Final = 64
"""Bytes that TLS puts around a record, at the most: its head, its type, and a tag (RFC 8446, §5.2)."""

by_way = pytest.mark.parametrize("way", [*WAYS, *TLS_WAYS], ids=str)
by_plain_way = pytest.mark.parametrize("way", WAYS, ids=str)
by_tls_way = pytest.mark.parametrize("way", TLS_WAYS, ids=str)

BULK: Final = frame(3_000_000)
"""One large frame, enough to fill what there is to fill in a way of a few."""

FRAMES: Final = b"".join(frame(3000, seed=seed) for seed in range(300))
"""Large ones for a pump in miniature."""

SMALL: Final[Mapping[str, object]] = {
    "BUFFER_SIZE": SMALL_BUFFER,
    "SPLICE_FROM": 2048,
    "LARGE_FRAMES": 256,
    "BULK": SMALL_BUFFER,
    "CALM": 512,
}
"""The pump in miniature: it changes from copying to splicing and back within a few kilobytes."""

SMALL_RECORDS: Final[Mapping[str, object]] = {
    "RECORD_SIZE": SMALL_RECORD,
    "RECORDS_AT_ONCE": SMALL_RECORD,
    "RAW_SIZE": SMALL_BUFFER // 2,
}

SMALL_PIPES: Final[Mapping[str, object]] = {"PIPE_SIZE": SMALL_PIPE, "SMALLEST_PIPE": SMALL_PIPE}


def _kernel_peeks_ahead() -> bool:
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, pump.SO_PEEK_OFF, 0)
        except OSError:
            return False
    return True


def most_held(way: Way, size: int, record: int) -> int:
    """Bytes that a flow which holds so many of plain text may hold of the records that these became."""
    return size + (size // record + 1) * OVERHEAD * bool(way.tls)


@dataclass(slots=True)
class Passed:
    """How often the system was asked to move bytes unseen, and heads were looked at ahead."""

    splices: int = 0
    looks: int = 0


@contextlib.contextmanager
def going(way: Way, *, small: bool = False) -> Iterator[Passed]:
    """Have pumps that are made within the context go one way, and count how they do it."""
    if way is WAYS[0] and not _kernel_peeks_ahead():
        pytest.skip("SO_PEEK_OFF for TCP came with Linux 6.9")
    passed = Passed()
    splice, look = os.splice, FrameWalker.look

    def counted_splice(*args: int, **flags: int) -> int:
        passed.splices += 1
        return splice(*args, **flags)

    def counted_look(walker: FrameWalker, head: bytes | memoryview, size: int, now: float) -> bool:
        passed.looks += 1
        return look(walker, head, size, now)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**(SMALL if small else {}), **(way.pump or {})}.items():
            patch.setattr(f"{pump.__name__}.{name}", value)
        for name, value in {**(SMALL_PIPES if small else {}), **(way.pipes or {})}.items():
            patch.setattr(f"{pipes.__name__}.{name}", value)
        for name, value in (SMALL_RECORDS if small else {}).items():
            patch.setattr(f"{records.__name__}.{name}", value)
        patch.setattr(peers, "TLS_SIDES", way.tls)
        if small:
            patch.setattr(peers, "RECORD_SIZE", SMALL_RECORD)
        patch.setattr(os, "splice", counted_splice)
        patch.setattr(FrameWalker, "look", counted_look)
        yield passed
