"""All hops of a process, by name, as configurations and certificates come and go."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import trio

from epmdless.config import HopSection
from epmdless.errors import ConfigError
from epmdless.hop.far import KeptEpmd
from epmdless.hop.gateway import Standing
from epmdless.hop.hop import Hop
from epmdless.hop.trouble import HopError, Trouble
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.faults import note_fault
from epmdless.net.files import read
from epmdless.net.tls.contexts import Certificates, TlsFiles, load_client_context
from epmdless.net.tls.keeper import CertificateKeeper, load_certificates

MAX_FAR_HOSTS = 1024
"""Far hosts whose EPMD servers' answers are kept; the one that was not asked for longest is forgotten.
Redirected connections may be for any host of a route's network."""

FAULT_SECONDS = 1.0
"""Of pause after a fault of ours in keeping connections ready."""

Where = tuple[str, str, int]
"""A hop, and a host and port behind it."""


class Hops:
    """Hops by name.

    :param is_ours: whether dialling an address and port would lead back here.
    :ivar id: what the ids of this process's tunnels begin with: no other process's do.
    """

    def __init__(
        self,
        counts: Metrics,
        log: Log,
        clock: Callable[[], float],
        is_ours: Callable[[str, int], bool],
        certificates: CertificateKeeper,
    ) -> None:
        self.id = secrets.token_hex(4)
        self._counts = counts
        self._log = log
        self._clock = clock
        self._is_ours = is_ours
        self._keeper = certificates
        self._hops: dict[str, Hop] = {}
        self._far: OrderedDict[Where, KeptEpmd] = OrderedDict()
        self._scopes: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    def __getitem__(self, name: str) -> Hop:
        """The hop in force; raises HopError if it is gone."""
        try:
            return self._hops[name]
        except KeyError:
            raise HopError(Trouble.DOWN, f"there is no hop {name} any more") from None

    def __iter__(self) -> Iterator[Hop]:
        return iter(list(self._hops.values()))

    @property
    def descriptors(self) -> int:
        """Descriptors of connections that are ready."""
        return sum(hop.descriptors for hop in self._hops.values())

    def take_on(self, prepared: Mapping[str, Standing], log: Log) -> None:
        """Make hops the ones in force. Tunnels that are up go on; a hop that stays keeps its gateways."""
        self._log = log
        for name in self._hops.keys() - prepared.keys():
            self._end(name)
        for name, standing in prepared.items():
            hop = self._hops.get(name)
            if hop is not None and hop.standing.section == standing.section:
                hop.take_on(standing, log)
            else:
                if hop is not None:
                    self._end(name)
                self._begin(name, standing)
            if standing.certificates is not None:
                self._keeper.keep(f"hop.{name}", standing.certificates, partial(self._renew, name))

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections ready until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                for hop in self._hops.values():
                    self._start(hop)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def far_epmd(
        self, name: str, host: str, port: int, counts: Metrics, limit: trio.CapacityLimiter
    ) -> KeptEpmd:
        """The EPMD server of a far host behind a hop: one for all who ask for that host."""
        where = (name, host, port)
        far = self._far.pop(where, None)
        if far is None:
            far = KeptEpmd(partial(self.__getitem__, name), host, port, counts, limit, self._clock)
        self._far[where] = far
        if len(self._far) > MAX_FAR_HOSTS:
            self._far.popitem(last=False)
        return far

    def _renew(self, name: str, certificates: Certificates) -> None:
        hop = self[name]
        hop.take_on(hop.standing._replace(certificates=certificates), self._log)

    def _begin(self, name: str, standing: Standing) -> None:
        hop = Hop(name, standing, self._is_ours, self._counts, self._log)
        self._hops[name] = hop
        if self._nursery is not None:
            self._start(hop)

    def _start(self, hop: Hop) -> None:
        assert self._nursery is not None, "it serves"
        scope = self._scopes[hop.name] = trio.CancelScope()

        async def run() -> None:
            with scope:
                while True:
                    try:
                        await hop.keep_ready()
                    except* Exception as errors:  # noqa: BLE001 - a store without connections ends no link
                        note_fault(self._counts, self._log, errors)
                    await trio.sleep(FAULT_SECONDS)

        self._nursery.start_soon(run)

    def _end(self, name: str) -> None:
        self._hops.pop(name).forget()
        scope = self._scopes.pop(name, None)
        if scope is not None:
            scope.cancel()
        self._keeper.forget(f"hop.{name}")


def prepare(sections: Mapping[str, HopSection], source: str) -> dict[str, Standing]:
    """Load what the hops of a configuration name. Blocks as long as reading small files takes.

    :param source: the configuration's file, for errors.
    :raises ConfigError: a file is not what it must be.
    """
    return {name: _standing(name, section, source) for name, section in sections.items()}


def _standing(name: str, section: HopSection, source: str) -> Standing:
    key, certificates, credentials = f"hop.{name}", None, None
    if (tls := section.tls_table) is not None:
        files = TlsFiles(tls.cert, tls.key, tls.ca, tls.min_version)
        certificates = load_certificates(files, f"{key}.tls", load_client_context, source)
    if section.auth is not None:
        credentials = _credentials(section.auth, f"{key}.auth", source)
    return Standing(section, certificates, credentials)


def _credentials(path: str, key: str, source: str) -> str:
    """``user:password`` of a file that only its owner can reach. No error holds anything of it."""
    try:
        text = read(path, private=True).decode("ascii").strip()
    except OSError as error:
        raise ConfigError(source, key, f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(source, key, f"{path}: holds what is no ASCII") from None
    except ValueError as error:
        raise ConfigError(source, key, f"{path}: {error}") from None
    if ":" not in text or not text.isprintable():
        raise ConfigError(source, key, f"{path}: takes one line with user:password")
    return text
