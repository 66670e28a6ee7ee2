"""Links that are dialled again at once when they end: the load under which a gateway is killed.

Both ends play the distribution handshake; nobody here knows a cookie, so any bytes are a digest.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from bench.relay_generator import FAR, Way
from bench.support import BenchError
from epmdless.errors import RemoteProtocolError
from epmdless.wire.handshake import (
    DIGEST_SIZE,
    Ack,
    Challenge,
    Framing,
    Message,
    Name,
    Reply,
    Side,
    Status,
    StatusKind,
    decode,
    encode,
    frame,
)

FLAGS = 0x0D07DF7FBD
"""What OTP 27 sends."""
CREATION = 4
SETUP_LIMIT = 7.0
"""Seconds that a BEAM node gives a set-up (net_setuptime)."""
OPENING_AT_ONCE = 16
REDIAL_PAUSE = 0.05
"""Seconds between a redial that failed and the next."""
QUIET_SECONDS = 1.0
"""Without a link that ends or comes up, after which no more are expected."""
WATCH_LIMIT = 30.0
"""Seconds after the kill at which what is not back is given up."""
ECHO_LIMIT = 5.0
ECHO = b"\0\0\0\5pecho"
"""A whole frame: a length word, 112, and four bytes."""


@dataclass(frozen=True, slots=True)
class Fall:
    """What became of the links when a gateway was killed; times in seconds, nan where nothing happened."""

    links: int
    """So many stood, and so many new ones were begun at the kill."""
    broken: int
    noticed: float
    """From the kill until the last near side saw its link end."""
    back_slowest: float
    """From a link's first redial until it stood again: the slowest."""
    back_median: float
    failed_redials: dict[str, int]
    """By reason."""
    new_slowest: float
    new_failures: dict[str, int]
    """New links that failed at their only try, by reason."""
    never_back: int
    silent: int
    """Links that seemed to stand to the near side, and carried nothing."""


class _SetUpError(Exception):
    """A set-up ended or took too long; the text says how."""


class _End:
    """One end of a link."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def say(self, message: Message) -> None:
        """Send one message of the handshake."""
        await self._stream.send_all(frame(encode(message), Framing.TCP))

    async def heard(self, sender: Side) -> Message:
        """The next message of the handshake; raises EOFError, or RemoteProtocolError."""
        length = int.from_bytes(await self._exactly(Framing.TCP), "big")
        return decode(sender, await self._exactly(length))

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not (some := await self._stream.receive_some()):
                raise EOFError
            self._buffer += some
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def ended(self) -> None:
        """Wait for the link's end; nobody sends on it meanwhile."""
        with suppress(trio.BrokenResourceError, EOFError):
            await self._exactly(1)

    async def carries(self) -> bool:
        """Whether a frame comes back."""
        with trio.move_on_after(ECHO_LIMIT), suppress(trio.BrokenResourceError, EOFError):
            await self._stream.send_all(ECHO)
            return await self._exactly(len(ECHO)) == ECHO
        return False

    async def send_back(self) -> None:
        """Return all that comes, until the link ends."""
        with suppress(trio.BrokenResourceError):
            async for some in self._stream:
                await self._stream.send_all(some)

    async def close(self) -> None:
        """Close it at once."""
        await trio.aclose_forcefully(self._stream)


@dataclass(slots=True)
class _Link:
    """The near node's view of one link, and what happened to it."""

    way: Way
    name: str
    end: _End | None = None
    """None while it is down."""
    broken: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first_try: float = 0.0
    """Since it was down for the first time: one that breaks again is not back."""
    up_after: float = math.nan
    changed: float = 0.0
    """When it ended or came up last."""

    async def set_up(self) -> None:
        """Try once; raises _SetUpError."""
        try:
            with trio.fail_after(SETUP_LIMIT):
                self.end = await _dialled(self.way, self.name)
        except trio.TooSlowError:
            raise _SetUpError(f"not up after {SETUP_LIMIT:g} s") from None
        except (OSError, trio.BrokenResourceError, EOFError, RemoteProtocolError) as error:
            raise _SetUpError(str(error.__cause__ or error) or "ended in the handshake") from None
        self.changed = trio.current_time()
        self.up_after = self.changed - self.first_try

    async def keep(self) -> None:
        """Dial again, whenever it has ended, until it stands."""
        while True:
            if self.end is not None:
                await self.end.ended()
                await self.end.close()
                self.end = None
                self.changed = trio.current_time()
                if not self.broken:
                    self.first_try = self.changed
                self.broken += 1
            try:
                await self.set_up()
            except _SetUpError as failure:
                self.failures[str(failure)] += 1
                await trio.sleep(REDIAL_PAUSE)

    async def begin(self) -> None:
        """Try for the first and only time."""
        self.first_try = self.changed = trio.current_time()
        try:
            await self.set_up()
        except _SetUpError as failure:
            self.failures[str(failure)] += 1


def fall(way: Way, kill: Callable[[], None], count: int) -> Fall:
    """Set `count` links up, call `kill`, begin `count` new ones at once, and watch what becomes of all."""
    return trio.run(_fall, way, kill, count)


async def _fall(way: Way, kill: Callable[[], None], count: int) -> Fall:
    old, new = (
        [_Link(way, f"{kind}-{number}@127.0.0.1") for number in range(count)] for kind in ("old", "new")
    )
    async with trio.open_nursery() as far:
        listeners = await trio.open_tcp_listeners(way.port, host=FAR)
        far.start_soon(trio.serve_listeners, _far_node(way), listeners)
        await _open(old)
        async with trio.open_nursery() as near:
            kill()
            killed = trio.current_time()
            for link in new:
                near.start_soon(link.begin)
            for link in old:
                near.start_soon(link.keep)
            await _quiet(old + new)
            near.cancel_scope.cancel()
        silent = await _count_silent(old + new)
        far.cancel_scope.cancel()
    for link in old + new:
        if link.end is not None:
            await link.end.close()
    return _summed(old, new, silent, killed)


async def _open(links: Sequence[_Link]) -> None:
    limit = trio.CapacityLimiter(OPENING_AT_ONCE)

    async def one(link: _Link) -> None:
        async with limit:
            await link.begin()

    async with trio.open_nursery() as nursery:
        for link in links:
            nursery.start_soon(one, link)
    if failed := _failures(links):
        raise BenchError(f"{links[0].way.label}: before the kill, links failed: {failed}")


async def _quiet(links: Sequence[_Link]) -> None:
    """Wait until nothing has happened to any link for a while, or the time is up."""
    with trio.move_on_after(WATCH_LIMIT):
        while True:
            begun = trio.current_time()
            await trio.sleep(QUIET_SECONDS)
            undecided = any(link.end is None and not link.failures for link in links)
            down = any(link.end is None and link.broken for link in links)
            if not undecided and not down and max(link.changed for link in links) < begun:
                return


async def _count_silent(links: Sequence[_Link]) -> int:
    silent = 0

    async def one(end: _End) -> None:
        nonlocal silent
        silent += not await end.carries()

    async with trio.open_nursery() as nursery:
        for link in links:
            if link.end is not None:
                nursery.start_soon(one, link.end)
    return silent


def _failures(links: Sequence[_Link]) -> dict[str, int]:
    """Tries that failed, by reason."""
    return dict(sum((link.failures for link in links), Counter[str]()))


def _summed(old: Sequence[_Link], new: Sequence[_Link], silent: int, killed: float) -> Fall:
    broken = [link for link in old if link.broken]
    back = [link.up_after for link in broken if link.end is not None]
    return Fall(
        links=len(old),
        broken=len(broken),
        noticed=max((link.first_try - killed for link in broken), default=math.nan),
        back_slowest=max(back, default=math.nan),
        back_median=statistics.median(back) if back else math.nan,
        failed_redials=_failures(old),
        new_slowest=max((link.up_after for link in new if link.end is not None), default=math.nan),
        new_failures=_failures(new),
        never_back=len(broken) - len(back),
        silent=silent,
    )


# ---- the two nodes ----


async def _dialled(way: Way, name: str) -> _End:
    """A link to the far node, set up."""
    end = _End(await trio.open_tcp_stream(way.dialled, way.port))
    try:
        await end.say(Name(FLAGS, CREATION, name))
        _check_status(await end.heard(Side.FAR))
        await end.heard(Side.FAR)
        await end.say(Reply(1, bytes(DIGEST_SIZE)))
        await end.heard(Side.FAR)
    except BaseException:
        await end.close()
        raise
    return end


def _check_status(status: Message) -> None:
    if status != Status(StatusKind.OK):
        raise RemoteProtocolError("status", f"refused: {status}")


def _far_node(way: Way) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """What serves one link of the far node."""
    name = f"gen-{way.port}@{way.dialled}"

    async def serve(stream: trio.SocketStream) -> None:
        end = _End(stream)
        with suppress(EOFError, trio.BrokenResourceError):
            await end.heard(Side.NEAR)
            await end.say(Status(StatusKind.OK))
            await end.say(Challenge(FLAGS, 1, CREATION, name))
            await end.heard(Side.NEAR)
            await end.say(Ack(bytes(DIGEST_SIZE)))
            await end.send_back()

    return serve
