"""The process: builds everything from a configuration, and deals with signals, reload and the end.

Whatever can be wrong is found before anything is served: the configuration is read and checked, the
chain is built, every socket is opened, and only then the first answer is given.

The file is a little longer than others here: a reload undoes what the start did, step by step, and both are
read side by side.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import trio

from epmdless import __version__, metrics
from epmdless import log as logs
from epmdless.addresses import ListenPlan, environment_port
from epmdless.cluster.prepared import Prepared as PreparedCluster
from epmdless.cluster.prepared import prepare as prepare_cluster
from epmdless.cluster.server import Cluster
from epmdless.cluster.sources.build import Surroundings
from epmdless.config import Config, GossipSource, ResolveSection
from epmdless.epmd.desk import Settings
from epmdless.epmd.server import EpmdServer, Timing
from epmdless.errors import ConfigError, EpmdlessError, ListenError
from epmdless.gateway.prepared import Prepared as PreparedGateway
from epmdless.gateway.prepared import prepare as prepare_gateway
from epmdless.gateway.server import Gateway
from epmdless.hop.hops import Hops
from epmdless.hop.hops import prepare as prepare_hops
from epmdless.inspection import Inspection
from epmdless.launch import Launch, Loaded
from epmdless.links.carrier import Carrier
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net import stdio
from epmdless.net.listener_set import ListenerSet
from epmdless.net.listeners import endpoint_of, endpoints_of, raise_descriptor_limit
from epmdless.net.rounds import Rounds
from epmdless.net.systemd import Notifier, inherited_sockets
from epmdless.net.tls.keeper import CertificateKeeper
from epmdless.policy import AccessList
from epmdless.publish.prepared import Prepared as PreparedPublish
from epmdless.publish.prepared import prepare as prepare_publish
from epmdless.publish.publisher import Publisher
from epmdless.registry import Registry
from epmdless.relay.prepared import Prepared as PreparedRelay
from epmdless.relay.server import Relay
from epmdless.resolve.build import build_chain, build_sources, own_host
from epmdless.resolve.chain import Chain
from epmdless.resolve.outcomes import Resolver

STATUS_SECONDS = 10.0
"""Seconds between the lines that ``systemctl status`` shows."""

METRICS_SOCKET = "metrics"
"""The name of a handed-over socket (FileDescriptorName=) that serves metrics; any other serves EPMD."""

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIG = 2


def run(launch: Launch) -> int:
    """Serve until a signal or a KILL request ends it.

    :returns: the exit status: 0 after a clean stop, 1 if something cannot be listened on, 2 for a bad
        configuration; what is wrong stands on stderr.
    """
    try:
        loaded = launch.load()
        app = App(launch, loaded)
    except ConfigError as error:
        stdio.complain(f"epmdless: {error}\n")
        return EXIT_CONFIG
    except ListenError as error:
        stdio.complain(f"epmdless: {error}\n")
        return EXIT_FAILURE
    try:
        trio.run(app.main)
    finally:
        app.close()
    return EXIT_OK


class App:
    """One process's worth of epmdless.

    :raises ConfigError: something that only shows when it is built: no DNS server, say.
    :raises ListenError: an address cannot be listened on.
    """

    def __init__(self, launch: Launch, loaded: Loaded) -> None:
        self._launch = launch
        self._loaded = loaded
        self._counts = Metrics()
        self._log: Log = self._configure_log(loaded.config)
        self._chain: Chain | None = None
        self._registry = Registry()
        self._notifier = Notifier(os.environ)
        limit = raise_descriptor_limit()
        self._keeper = CertificateKeeper(self._counts, self._log)
        self._cluster = Cluster(
            self._counts,
            self._log,
            lambda: self._registry,
            own_host=own_host(loaded.config.resolve),
            epmd_port=environment_port(os.environ),
            is_ours=self._is_ours,
            keeper=self._keeper,
        )
        self._publisher = Publisher(self._counts, self._log, lambda: self._registry)
        settings = self._settings(loaded.config)
        self._chain = settings.chain
        self._counts.gauge(metrics.DNS_CACHED, lambda: self._chain.cache_entries if self._chain else 0)
        self._inherited = inherited_sockets(os.environ)
        self._fixed = [s.listener for s in self._inherited if s.name != METRICS_SOCKET]
        self._fixed += launch.listeners or ()
        self._listening = ListenerSet([], self._log)
        self._check_that_something_is_served(loaded)
        self._rounds = Rounds()
        self._server = EpmdServer(
            self._registry,
            settings,
            self._timing(loaded.config),
            self._counts,
            self._log,
            self._rounds,
            descriptor_limit=limit,
            others=self._held_by_links,
        )
        self._carrier = Carrier(self._rounds, self._counts, self._log)
        self._hops = Hops(self._counts, self._log, self._rounds.clock, self._is_ours, self._keeper)
        self._relay = Relay(
            self._rounds,
            self._counts,
            self._log,
            self._carrier,
            self._hops,
            descriptor_limit=limit,
            others=lambda: self._server.descriptors + self._hops.descriptors + self._gateway.descriptors,
            serve_epmd=self._server.adopt,
        )
        self._gateway = Gateway(
            self._rounds,
            self._counts,
            self._log,
            self._carrier,
            self._keeper,
            self._relay.is_ours,
            descriptor_limit=limit,
            others=lambda: self._server.descriptors + self._hops.descriptors + self._relay.descriptors,
        )
        self._inspection = Inspection(
            self._counts,
            self._log,
            [s.listener for s in self._inherited if s.name == METRICS_SOCKET],
            is_ready=lambda: self._ready and self._cluster.is_ready,
            links=self._carrier,
            cluster=self._cluster.view,
            publish=self._publisher.view,
        )
        self._sources: tuple[ResolveSection, dict[str, Resolver]] | None = None
        try:
            hops = prepare_hops(loaded.config.hop, loaded.source)
            gateway = prepare_gateway(loaded.config.gateway, loaded.config.relay, loaded.source)
            self._relay.take_on(self._prepare_relay(loaded, settings.chain, self._log))
            self._hops.take_on(hops, self._log)
            self._gateway.take_on(gateway, self._log)
            self._cluster.take_on(self._prepare_cluster(loaded))
            self._publisher.take_on(self._prepare_publish(loaded))
            self._server.faces = self._relay.faces
            self._listening.change(self._epmd_plan(loaded), lambda _: None)
            self._inspection.prepare(loaded.config)
        except BaseException:
            self.close()
            raise
        self._ready = False

    async def main(self) -> None:
        """Serve; returns when a signal or a KILL request ends it."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self._serve_epmd)
                await self._nursery.start(self._carrier.serve)
                await self._nursery.start(self._hops.serve)
                await self._nursery.start(self._relay.serve)
                await self._nursery.start(self._gateway.serve)
                self._nursery.start_soon(self._keeper.serve)
                await self._nursery.start(self._cluster.serve)
                await self._nursery.start(self._publisher.serve)
                # Last: connections may wait on the relay's ports already, which were opened with the rest.
                self._nursery.start_soon(self._rounds.run, self._server.delay)
                await self._inspect()
                self._nursery.start_soon(self._keep_alive)
                self._announce()
                await self._obey(signals)
                self._notifier.stopping()
                await self._drain(signals)
                self._nursery.cancel_scope.cancel()
        self._log.info("stopped")

    def close(self) -> None:
        """Close the listening sockets and what leads to the service manager."""
        self._notifier.close()
        self._relay.close()
        self._gateway.close()
        self._carrier.close()
        self._listening.close()
        for listener in self._fixed:
            listener.close()
        self._inspection.close()
        self._rounds.close()

    async def _serve_epmd(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self._server.serve(self._epmd_listeners, task_status=task_status)
        await self._publisher.withdraw()
        self._nursery.cancel_scope.cancel()

    def _announce(self) -> None:
        gc.collect()
        gc.freeze()  # what was built lives for ever: no later collection needs to look at it
        self._ready = True
        self._log.info(
            "started",
            version=__version__,
            listen=_addresses(self._epmd_listeners),
            chain=self._loaded.config.resolve.chain,
            routes=len(self._loaded.config.relay.route),
            gateway=_addresses(self._gateway.listeners),
            sources=len(self._loaded.config.cluster.source),
            configuration=self._loaded.source,
            pid=os.getpid(),
        )
        self._warn_of_what_cannot_work()
        self._notifier.ready(self._status_line())
        self._launch.on_ready()

    def _warn_of_what_cannot_work(self) -> None:
        config = self._loaded.config
        hosts = {endpoint_of(listener).host for listener in self._epmd_listeners}
        if (self._fixed or any(self._loaded.listen)) and not hosts & {"0.0.0.0", "::", "127.0.0.1", "::1"}:
            self._log.warning("no loopback address among those listened on: no node can register here")
        if self._fixed and config.epmd.listen is not None:
            self._log.warning("epmd.listen has no effect: the sockets were handed over")
        for name, source in config.cluster.source.items():
            if isinstance(source, GossipSource) and source.secret_file is None:
                self._log.warning(
                    "gossip without secret_file: whoever is on the network can name nodes", source=name
                )
        srv, host = config.resolve.srv, own_host(config.resolve)
        if srv is not None and "{name}" not in srv.question and "." not in host:
            self._log.warning("resolve.host is no full name: no SRV record will be for it", host=host)

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                await self._reload()
            else:
                name = signal.Signals(number).name
                self._log.info("stopping", signal=name, registered=len(self._registry))
                return

    async def _drain(self, signals: AsyncIterator[int]) -> None:
        """Give links their time, and take out of DNS what we published; a second signal to stop ends the
        former."""
        self._relay.close()
        self._gateway.close()
        links = trio.CancelScope()

        async def obey_again() -> None:
            """Read all signals: those that nobody has read end the process by themselves."""
            async for number in signals:
                if number != signal.SIGHUP:
                    self._log.info(
                        "stopping now", signal=signal.Signals(number).name, links=len(self._carrier)
                    )
                    links.cancel()

        async with trio.open_nursery() as listening:
            listening.start_soon(obey_again)
            async with trio.open_nursery() as ending:
                ending.start_soon(self._publisher.withdraw)  # in 3 s at most, however urgent the end is
                if len(self._carrier):
                    ending.start_soon(self._drain_links, links)
            listening.cancel_scope.cancel()

    async def _drain_links(self, scope: trio.CancelScope) -> None:
        config = self._loaded.config
        drains = [config.relay.drain] if config.relay.route or config.gateway is None else []
        seconds = max(drains + ([config.gateway.drain] if config.gateway else []))
        self._log.info("draining", links=len(self._carrier), seconds=float(seconds))
        with scope:
            await self._carrier.drain(seconds)

    async def _inspect(self) -> None:
        """Let those look in whom the configuration wants to, and whoever has something to look at."""
        config = self._loaded.config
        has_much = config.relay.route or config.gateway or config.cluster.source or config.publish
        await self._inspection.take_on(config, self._nursery, has_much=bool(has_much))

    async def _keep_alive(self) -> None:
        """Tell the service manager how things are, and that they are."""
        watchdog = self._notifier.watchdog_seconds
        pause = min(STATUS_SECONDS, watchdog / 2) if watchdog else STATUS_SECONDS
        while True:
            await trio.sleep(pause)
            self._notifier.status(self._status_line())
            self._notifier.alive()

    def _status_line(self) -> str:
        if self._loaded.config.relay.route or self._loaded.config.gateway:
            return f"{len(self._registry)} nodes registered, {len(self._carrier)} links"
        return f"{len(self._registry)} nodes registered"

    # Reload.

    async def _reload(self) -> None:
        """Read the configuration again; on any mistake the running one stays, whole."""
        self._notifier.reloading()
        try:
            loaded = self._launch.load()
            self._take_on(loaded)
        except EpmdlessError as error:
            self._log.error("configuration not reloaded", error=str(error))
        except Exception as error:  # noqa: BLE001 - no file may end a running server
            self._log.error("configuration not reloaded", error=f"internal error: {error!r}")
        else:
            await self._inspect()
            self._log.info(
                "configuration reloaded",
                configuration=loaded.source,
                listen=_addresses(self._epmd_listeners),
                chain=loaded.config.resolve.chain,
                routes=len(loaded.config.relay.route),
                gateway=_addresses(self._gateway.listeners),
            )
        self._notifier.ready(self._status_line())

    def _take_on(self, loaded: Loaded) -> None:
        """Make a configuration the running one.

        :raises ConfigError: it cannot be built.
        :raises ListenError: an address cannot be had. In both cases all is as it was.
        """
        self._check_that_something_is_served(loaded)
        settings = self._settings(loaded.config)
        prepared = self._prepare_relay(loaded, settings.chain, self._log)
        hops = prepare_hops(loaded.config.hop, loaded.source)
        gateway = prepare_gateway(loaded.config.gateway, loaded.config.relay, loaded.source)
        cluster = self._prepare_cluster(loaded)
        publish = self._prepare_publish(loaded)
        self._inspection.prepare(loaded.config)
        try:
            self._listening.change(self._epmd_plan(loaded), self._listen_on)
            try:
                self._take_on_links(prepared, gateway)
            except ListenError:
                with suppress(ListenError):  # what is told is why the change failed
                    self._listening.change(self._epmd_plan(self._loaded), self._listen_on)
                raise
        except ListenError:
            self._inspection.drop()
            raise
        self._server.faces = self._relay.faces
        self._loaded = loaded
        self._log = self._configure_log(loaded.config)
        self._carrier.log_to(self._log)
        self._keeper.log = self._log
        self._hops.take_on(hops, self._log)
        self._cluster.log = self._log
        self._cluster.take_on(cluster)
        self._chain = settings.chain
        self._publisher.log = self._inspection.log = self._log
        self._publisher.take_on(publish)
        self._server.reconfigure(settings, self._timing(loaded.config))

    def _take_on_links(self, relay: PreparedRelay, gateway: PreparedGateway | None) -> None:
        """Have relay and gateway change both, or neither.

        :raises ListenError: an address cannot be had; then all is as it was.
        """
        before = self._relay.in_force
        self._relay.take_on(relay)
        try:
            self._gateway.take_on(gateway, self._log)
        except ListenError:
            with suppress(ListenError):
                self._relay.take_on(before)
            raise

    def _is_ours(self, host: str, port: int) -> bool:
        """Whether dialling there would lead back here."""
        return self._relay.is_ours(host, port) or self._gateway.is_ours(host, port)

    def _held_by_links(self) -> int:
        """Descriptors that are not the EPMD server's."""
        parts = (self._carrier, self._hops, self._relay, self._gateway, self._cluster)
        return sum(part.descriptors for part in parts)

    # Building.

    @property
    def _epmd_listeners(self) -> list[socket.socket]:
        return [*self._fixed, *self._listening.listeners]

    def _listen_on(self, listeners: Sequence[socket.socket]) -> None:
        self._server.listen_on([*self._fixed, *listeners])

    def _epmd_plan(self, loaded: Loaded) -> ListenPlan:
        return loaded.epmd_plan([there for listener in self._fixed for there in endpoints_of(listener)])

    def _prepare_relay(self, loaded: Loaded, chain: Chain, log: Log) -> PreparedRelay:
        """Build the routes of a configuration.

        :raises ConfigError: they cannot be.
        """
        section = loaded.config.resolve
        names = {name for route in loaded.config.relay.route for name in route.resolve} - {"epmd"}
        sources = build_sources(names, section, self._counts, chain, self._sources, self._cluster.port_of)
        self._sources = (section, sources)
        return self._relay.prepare(loaded.config.relay, loaded.source, sources, log)

    def _prepare_cluster(self, loaded: Loaded) -> PreparedCluster | None:
        """Build the sources of a configuration that do not run already.

        :raises ConfigError: they cannot be.
        """
        around = Surroundings(
            self._counts,
            self._log,
            os.environ,
            own_host(loaded.config.resolve),
            self._cluster.local_names,
        )
        return prepare_cluster(loaded.config.cluster, around, loaded.source, self._cluster.running)

    def _prepare_publish(self, loaded: Loaded) -> PreparedPublish | None:
        """What is to be published.

        :raises ConfigError: the key cannot be read, or this host has no address.
        """
        return prepare_publish(loaded.config.publish, own_host(loaded.config.resolve), loaded.source)

    def _configure_log(self, config: Config) -> Log:
        return logs.configure(
            self._launch.level or config.log.level,
            config.log.format,
            syslog=self._launch.syslog,
            lost=lambda: self._counts.count(metrics.LOG_LINES_LOST),
        )

    def _settings(self, config: Config) -> Settings:
        access = config.epmd.access
        relaxed = config.epmd.relaxed_command_check
        if relaxed is None:
            relaxed = "ERL_EPMD_RELAXED_COMMAND_CHECK" in os.environ
        return Settings(
            chain=build_chain(
                config.resolve,
                self._registry,
                self._counts,
                self._log,
                before=(self._loaded.config.resolve, self._chain) if self._chain else None,
                port_of_peer=self._cluster.port_of,
            ),
            scheme=config.resolve.scheme.build(),
            host=own_host(config.resolve),
            on_mismatch=config.resolve.on_mismatch,
            relaxed_command_check=relaxed,
            log_lookups=(self._launch.level or config.log.level) == "debug",
            lookup_access=None if access.lookup is None else AccessList(access.lookup),
            names_access=None if access.names is None else AccessList(access.names),
            is_needed=lambda: len(self._carrier) > 0,
        )

    def _timing(self, config: Config) -> Timing:
        return Timing(config.epmd.packet_timeout, *self._launch.delays)

    def _check_that_something_is_served(self, loaded: Loaded) -> None:
        if self._inherited or self._fixed or any(loaded.listen) or loaded.config.metrics.listen:
            return
        if loaded.config.relay.route or loaded.config.gateway or loaded.config.cluster.named:
            return
        raise ConfigError(loaded.source, "epmd.listen", "empty, and nothing else is to be served")


def _addresses(listeners: Sequence[socket.socket]) -> list[str]:
    return [str(endpoint_of(listener)) for listener in listeners]
