"""``[relay]`` and ``[control]``: the relay's own keys, its link policy, and what its routes need together."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from epmdless.addresses import EPMD_PORT
from epmdless.config.checks import check_glob, check_path
from epmdless.config.errors import SectionError
from epmdless.config.overlaps import check_overlaps
from epmdless.config.route import RouteSection
from epmdless.config.values import Address, Duration, Port, PortRange, Section
from epmdless.policy import Network
from epmdless.rules import Glob, Rule, Rules

MAX_ROUTES = 10_000
"""Far hosts; a file that holds more was made by a mistake."""

MAX_RULES = 10_000
"""Rules; each link walks them in their order, some milliseconds for so many."""

MAX_KEEPALIVE = 32767
"""Seconds; Linux takes no more for TCP_KEEPIDLE (MAX_TCP_KEEPIDLE)."""

MAX_USER_TIMEOUT = (2**31 - 1) / 1000
"""Seconds; TCP_USER_TIMEOUT is an int of milliseconds."""

MAX_SOCKET_PATH = 107
"""Bytes of a UNIX socket's path; sun_path has 108 with the NUL that ends it (unix(7))."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class TransparentSection(Section, frozen=True):
    """``[relay.transparent]``: the one listener that nftables redirects connections to."""

    listen: Address

    def __post_init__(self) -> None:
        if self.listen.endpoint(0) != self.listen.endpoint(1):
            raise SectionError("listen", f'{self.listen} needs a port, as in "0.0.0.0:4400"')


class RuleSection(Section, frozen=True):
    """``[[relay.rule]]``: allows or denies links; the first rule that matches decides."""

    action: Literal["allow", "deny"]
    near: str = "*"
    """A glob over the near node's whole name."""
    far: str = "*"
    """A glob over the far node's alive name."""
    host: str = "*"
    """A glob over the far node's host part; case means nothing in it."""
    networks: tuple[Network, ...] | None = msgspec.field(name="from", default=None)
    """Of near addresses; absent: everywhere."""

    def __post_init__(self) -> None:
        for key, glob in (("near", self.near), ("far", self.far), ("host", self.host)):
            check_glob(key, glob)
        for key, glob in (("far", self.far), ("host", self.host)):
            if "@" in glob:
                raise SectionError(
                    key, f"{glob!r} matches nothing: `far` is what stands before the @, `host` after"
                )
        if self.networks == ():
            raise SectionError("from", "an empty list matches nothing: leave the key out for everywhere")

    def build(self) -> Rule:
        """The rule that this section describes."""
        host = Glob(self.host, ignore_case=True)
        return Rule(self.action == "allow", Glob(self.near), Glob(self.far), host, self.networks)


class RelaySection(Section, frozen=True):
    """``[relay]``: carries distribution connections to far hosts; serves nothing without a route."""

    epmd_port: Port = EPMD_PORT
    """Of the EPMD face on stand-in addresses, and of far hosts."""
    port_range: PortRange = PortRange(9100, 9199)
    """For far ports that are not free here."""
    setup_timeout: Duration = Duration(7)
    """From accept to the end of the handshake, dialling included; the BEAM's own limit is 7 s."""
    idle_port: Duration = Duration(300)
    """A port that was opened on demand closes after this long without a link."""
    drain: Duration = Duration(30)
    """At a stop, how long links may go on; 0s: not at all."""
    frames: bool = True
    """Whether frames and ticks are counted, and not bytes alone."""
    max_links: Limit = 10_000
    max_links_per_address: Limit = 1000
    max_handshakes: Limit = 1024
    """Links that are being set up; one more and the oldest is shed."""
    max_ports: Limit = 1024
    """Ports open at once, those from the start included."""
    keepalive: Duration = Duration(30)
    """TCP_KEEPIDLE: how long a silent connection waits for its first probe."""
    user_timeout: Duration = Duration(0)
    """TCP_USER_TIMEOUT: how long what was sent may stay unacknowledged; 0s: as the kernel has it."""
    transparent: TransparentSection | None = None
    rule: tuple[RuleSection, ...] = ()
    route: tuple[RouteSection, ...] = ()

    def __post_init__(self) -> None:
        self._check_times()
        for key, count, most in (
            ("route", len(self.route), MAX_ROUTES),
            ("rule", len(self.rule), MAX_RULES),
        ):
            if count > most:
                raise SectionError(key, f"{count} are more than {most}")
        self._check_loops()
        check_overlaps(self.route)
        self._check_ports()
        self._check_transparent()

    def build_rules(self) -> Rules:
        """The link policy that the rules describe."""
        return Rules([rule.build() for rule in self.rule])

    def _check_times(self) -> None:
        for key, duration in (("setup_timeout", self.setup_timeout), ("idle_port", self.idle_port)):
            if duration <= 0:
                raise SectionError(key, "must be more than 0s")
        if not 1 <= self.keepalive <= MAX_KEEPALIVE:
            raise SectionError("keepalive", f"must be from 1s to {MAX_KEEPALIVE}s")
        if self.user_timeout and not 0.001 <= self.user_timeout <= MAX_USER_TIMEOUT:
            raise SectionError("user_timeout", f"must be 0s, or from 1ms to {MAX_USER_TIMEOUT:.0f}s")

    def _check_loops(self) -> None:
        """No route may dial a stand-in address of this relay, its own or another's: links would go round.

        A host name is looked at when it is resolved. Through a hop it is the gateway that dials, in another
        network, where the addresses of the other routes may well mean other hosts.
        """
        owners = {route.listen: number for number, route in enumerate(self.route) if route.listen}
        for number, route in enumerate(self.route):
            owner = owners.get(route.target) if route.target else None
            if route.via is not None:
                owner = number if route.target and route.target == route.listen else None
            if owner is not None:
                hint = "; say in `dial` where the far host really is" if route.dial is None else ""
                raise SectionError(
                    f"route[{number}].{'host' if route.dial is None else 'dial'}",
                    f"{route.target} is the `listen` of relay.route[{owner}]: we would dial ourselves{hint}",
                )

    def _check_ports(self) -> None:
        """Ports that are open from the start leave room for what listens beside them."""
        for number, route in enumerate(self.route):
            for ports in route.ports:
                if self.epmd_port in ports:
                    problem = f"{ports} holds relay.epmd_port: the EPMD face answers at {self.epmd_port}"
                    raise SectionError(f"route[{number}].ports", problem)
                if self._is_transparent_listener(route, ports):
                    problem = f"{ports} holds the port of relay.transparent.listen"
                    raise SectionError(f"route[{number}].ports", problem)
        total = sum(len(ports) for route in self.route for ports in route.ports)
        if total > self.max_ports:
            raise SectionError(
                "max_ports", f"{self.max_ports} are fewer than the {total} ports of all routes"
            )

    def _is_transparent_listener(self, route: RouteSection, ports: PortRange) -> bool:
        if self.transparent is None or route.listen is None:
            return False
        shared = self.transparent.listen.endpoint(0)
        wildcard = "::" if ":" in route.listen else "0.0.0.0"
        return shared.port in ports and shared.host in (route.listen, wildcard)

    def _check_transparent(self) -> None:
        by_net = next((number for number, route in enumerate(self.route) if route.net is not None), None)
        if by_net is not None and self.transparent is None:
            raise SectionError(f"route[{by_net}].net", "needs a [relay.transparent] table with `listen`")
        if by_net is None and self.transparent is not None:
            raise SectionError("transparent", "carries nothing: no route has a `net`")


class ControlSection(Section, frozen=True):
    """``[control]``: the UNIX socket through which a running process is looked at."""

    socket: str | None = None
    """Absent: chosen by the process."""

    def __post_init__(self) -> None:
        if self.socket is not None:
            check_path("socket", self.socket)
            if len(self.socket.encode()) > MAX_SOCKET_PATH:
                raise SectionError("socket", f"a socket's path has at most {MAX_SOCKET_PATH} bytes")
