"""The source ``epmd``: the names that the EPMD servers of some hosts list.

Each host is asked apart from the others; of one that does not answer, its last names stand.

A refused connection says that the host runs and its EPMD does not. That is no word about its nodes: they
outlive their EPMD, and a firewall that rejects looks the same from here. So it is "nobody" only of a host
that never listed a node, as one where none was started yet; else the last names stand, and at worst a node
that has ended is dialled in vain, until the host's EPMD is back or the host is off the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from epmdless.addresses import is_address
from epmdless.cluster.peers import MAX_NAMES, Known, LookError, Peer, Say
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.sources.hosts import AddressClient, Hosts
from epmdless.cluster.sources.polling import poll
from epmdless.config import EpmdSource
from epmdless.names import is_transient
from epmdless.net.dialing import DialError, dial_first, look_up
from epmdless.resolve.far import FarEpmd, FarError, Stream

LOCAL_ADDRESS = "127.0.0.1"
"""Where every EPMD listens: nodes register there."""

MAX_QUESTIONS = 64
"""Hosts that are asked at once, each with a socket."""

MAX_LOOKUPS = 16
"""Names of hosts that are looked up at once: each holds one of trio's 40 threads, for seconds if the system's
resolver gets no answer."""

MAX_ANSWER = 256 * 1024
"""Bytes of a host's list: 4,000 nodes with names of 40 characters. No host runs so many; one that lies
must not make the others' names too many."""

Connect = Callable[[str, int], Awaitable[Stream]]
"""Connects to a host; raises OSError."""


class EpmdNames:
    """Names the nodes that hosts list, ``ALIVE@HOST``, with their ports; transient nodes are left out.

    :raises ConfigError: DNS is to be asked, and the system names no server.
    """

    def __init__(
        self,
        section: EpmdSource,
        around: Surroundings,
        *,
        connect: Connect | None = None,
        client: AddressClient | None = None,
    ) -> None:
        self._section = section
        self._around = around
        self._connect = connect or Dialer().connect
        self._hosts = Hosts(section, client)
        self._turns = trio.CapacityLimiter(MAX_QUESTIONS)
        self._asked: dict[str, _Host] = {}
        self._local = [self._host(LOCAL_ADDRESS, around.own_host)] if section.local else []

    def is_up_to_date(self, around: Surroundings) -> bool:
        """Whether nodes of this host are still called after the same host."""
        return not self._section.local or around.own_host == self._around.own_host

    async def run(self, say: Say) -> None:
        """Ask, again and again."""
        await poll(self.look, self._section.poll, say)

    async def look(self) -> Sequence[Peer] | Known:
        """The nodes that are known after one more round of questions; raises LookError.

        There is doubt as long as a host does not answer.
        """
        found = await self._hosts.look()
        self._asked = {host: self._asked.get(host) or self._host(host, host) for host in found.hosts}
        asked = [*self._local, *self._asked.values()]
        async with trio.open_nursery() as nursery:
            for host in asked:
                nursery.start_soon(host.ask, self._turns)
        failures = [host.failure for host in asked if host.failure is not None]
        if asked and len(failures) == len(asked):
            raise LookError.of_many(failures)
        problems = [*failures, *found.problems]
        peers = self._peers(asked, problems)
        if problems:
            return Known(tuple(peers), doubt=LookError.of_many(problems).unknown)
        return peers

    def _host(self, address: str, part: str) -> _Host:
        connect = partial(self._connect, address, self._section.port)
        far = FarEpmd(
            connect,
            self._around.counts,
            trio.CapacityLimiter(1),
            patience=self._section.timeout,
            longest=MAX_ANSWER,
        )
        return _Host(address, part, far)

    def _peers(self, asked: Sequence[_Host], failures: Sequence[LookError]) -> Sequence[Peer]:
        peers: dict[str, Peer] = {}
        for host in asked:
            peers |= host.peers
        if len(peers) > MAX_NAMES:
            raise LookError("too_many", f"more than {MAX_NAMES} names on {len(asked)} hosts")
        if not peers and failures:
            raise LookError.of_many(failures)  # nobody is known, and not all were heard
        return tuple(peers.values())


class Dialer:
    """Connects to EPMD servers."""

    def __init__(self) -> None:
        self._lookups = trio.CapacityLimiter(MAX_LOOKUPS)

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Connect to a host; raises OSError, ConnectionRefusedError where each of its addresses refuses."""
        try:
            if is_address(host):
                addresses = await look_up(host, port)
            else:
                async with self._lookups:
                    addresses = await look_up(host, port)
            return trio.SocketStream(await dial_first(addresses))
        except DialError as error:
            kind = ConnectionRefusedError if error.refused else OSError
            raise kind(str(error)) from None


class _Host:
    """One host.

    :ivar peers: its nodes, by name, of the last time that it answered.
    :ivar failure: why it did not the last time; None: it did.
    """

    def __init__(self, address: str, part: str, far: FarEpmd) -> None:
        self._address = address
        self._part = part
        self._far = far
        self.peers: dict[str, Peer] = {}
        self.failure: LookError | None = None

    async def ask(self, turns: trio.CapacityLimiter) -> None:
        """Ask for its nodes."""
        self.failure = None
        async with turns:
            try:
                nodes = (await self._far.names()).nodes
            except FarError as error:
                if error.reason != "refused" or self.peers:
                    self.failure = LookError(error.reason, f"{self._address}: {error}")
                return
        peers = [
            Peer(f"{alive}@{self._part}", port or None) for alive, port in nodes if not is_transient(alive)
        ]
        self.peers = {peer.name: peer for peer in peers}
