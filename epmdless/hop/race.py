"""A tunnel through the first gateway that opens one: each is asked with a head start before the next.

A ready connection may be dead without a sign, since a firewall forgot it, or the gateway's host is gone. So
each gateway that has some is asked twice, at last on a new connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from epmdless.hop.gateway import Connection, FarGateway
from epmdless.hop.trouble import HopError, Trouble

HEDGE_DELAY = 1.0
"""Seconds after which the next gateway is asked beside one that has not answered. A BEAM waits 7 s for the
whole set-up of a link."""

ALL_ASKED = 2.5
"""Seconds within which all gateways are asked: the head start of each is shorter where they are many."""

LONGEST_SILENCE = 4.5
"""Seconds for which a ready connection may leave a request without an answer once its gateway takes no new
connection: it is dead. A gateway that lives may be dialling for as long."""

_FINAL = (Trouble.REFUSED, Trouble.UNKNOWN, Trouble.DIAL_REFUSED, Trouble.TIMED_OUT)
"""What a gateway that lives says of the target: another would say the same."""


class Tunnel(NamedTuple):
    """A connection to a target, through a gateway.

    :ivar connection: the caller's to close.
    :ivar gateway: which one, for people.
    :ivar release: to be called when the tunnel is over.
    """

    connection: Connection
    gateway: str
    release: Callable[[], None]


class _Attempt:
    """A gateway that is asked.

    :ivar fresh: whether it is asked on a new connection.
    :ivar began: when, on trio's clock; None: not yet.
    :ivar failed: set when it said no, or nothing could be asked.
    """

    __slots__ = ("began", "failed", "fresh", "gateway")

    def __init__(self, gateway: FarGateway, *, fresh: bool) -> None:
        self.gateway = gateway
        self.fresh = fresh
        self.began: float | None = None
        self.failed = trio.Event()

    def has_waited(self, seconds: float) -> bool:
        """Whether it was asked so long ago, and has not answered."""
        if self.began is None or self.failed.is_set():
            return False
        return trio.current_time() - self.began >= seconds


class Race:
    """The search for one tunnel.

    :param gateways: in the order in which they are asked.
    :param link: the link's id, None for none.
    """

    def __init__(self, gateways: Sequence[FarGateway], host: str, port: int, link: str | None) -> None:
        ready = [gateway for gateway in gateways if gateway.ready]
        self._attempts = [_Attempt(gateway, fresh=not gateway.ready) for gateway in gateways]
        self._attempts += [_Attempt(gateway, fresh=True) for gateway in ready]
        self._head_start = min(HEDGE_DELAY, ALL_ASKED / len(self._attempts))
        self._target = (host, port, link)
        self._won: Tunnel | None = None
        self._problems: list[HopError] = []

    async def run(self) -> Tunnel:
        """Find one.

        :raises HopError: a gateway's own word on the target, else what is wrong with all of them.
        """
        self._began = trio.current_time()
        try:
            async with trio.open_nursery() as self._nursery:
                for attempt in self._attempts:
                    # Counted at once: what is asked for at the same time must see it.
                    self._nursery.start_soon(self._try, attempt, attempt.gateway.count_in())
                    with trio.move_on_after(self._head_start):
                        await attempt.failed.wait()
                await self._wait_for_the_last()
        except BaseException:
            if self._won is not None:
                self._won.connection.close()
                self._won.release()
            raise
        if self._won is None:
            raise _worst(self._problems)
        return self._won

    async def _wait_for_the_last(self) -> None:
        """Leave ready connections that stay silent, once no gateway can be asked anew."""
        for attempt in self._attempts:
            if attempt.fresh:
                await attempt.failed.wait()
        with trio.move_on_at(self._began + LONGEST_SILENCE):
            for attempt in self._attempts:
                await attempt.failed.wait()
        self._nursery.cancel_scope.cancel()

    async def _try(self, attempt: _Attempt, release: Callable[[], None]) -> None:
        gateway = attempt.gateway
        attempt.began = trio.current_time()
        try:
            connection = await gateway.ask(*self._target, fresh=attempt.fresh)
        except HopError as error:
            self._problems.append(error)
            attempt.failed.set()
            if error.trouble in _FINAL:
                self._nursery.cancel_scope.cancel()
        else:
            if self._won is not None:
                connection.close()
                return
            self._won = Tunnel(connection, str(gateway.where), release)
            self._blame_the_silent(attempt)
            self._nursery.cancel_scope.cancel()
        finally:
            if self._won is None or self._won.release is not release:
                release()

    def _blame_the_silent(self, winner: _Attempt) -> None:
        """Rely no more on what was silent for longer than its head start, if the target is not to blame:
        somebody was connected to it within one."""
        if winner.has_waited(self._head_start):
            return
        for other in self._attempts:
            if other is winner or not other.has_waited(self._head_start):
                continue
            if other.gateway is winner.gateway:
                other.gateway.drop_ready()
            else:
                other.gateway.note_silent()


def _worst(problems: Sequence[HopError]) -> HopError:
    """The one to tell of several: what was said of the target, else whether some are busy or all down."""
    for problem in problems:
        if problem.trouble in _FINAL:
            return problem
    busy = [problem for problem in problems if problem.trouble is Trouble.BUSY]
    texts = dict.fromkeys(str(problem) for problem in problems)
    return HopError(Trouble.BUSY if busy else Trouble.DOWN, "; ".join(texts))
