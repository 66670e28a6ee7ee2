"""``[[relay.route]]``: one route, and what can be said against it alone."""

from __future__ import annotations

from typing import Literal

import msgspec

from epmdless.config.checks import check_glob, check_host, check_path, is_wildcard
from epmdless.config.errors import SectionError
from epmdless.config.values import PortRange, Section, host_address, plain_host
from epmdless.policy import Network

RouteResolver = Literal["epmd", "scheme", "static", "srv", "peers"]
"""Who says at which port a far node listens; ``epmd`` is the far host's own EPMD server."""


class RouteSection(Section, frozen=True):
    """``[[relay.route]]``: which far host a stand-in address, or an original destination, means.

    A route has `host` and `listen` (a stand-in address), or else `net` (transparent).
    """

    host: str | None = None
    """The host part of the far nodes' names."""
    listen: str | None = None
    """The stand-in address: an IP address of this machine, to which near nodes resolve `host`."""
    dial: str | None = None
    """Where the far host really is, an IP address or a host name; absent: `host`, resolved."""
    ports: tuple[PortRange, ...] = ()
    """Open from the start, for nodes that dial with no lookup; the far port is the same number."""
    names: str = "*"
    """A glob: which alive names this route carries, where several share an address."""
    net: Network | None = None
    """Transparent: the original destinations that this route carries; each is dialled as it is."""
    resolve: tuple[RouteResolver, ...] = ("epmd",)
    tls: bool = True
    """Whether TLS distribution may pass; nothing in it can be looked at, not even whether it is that."""
    hidden: bool = False
    """Whether both sides see each other as hidden nodes, so that two meshes do not merge."""
    cookie_near: str | None = None
    cookie_far: str | None = None
    """Paths of cookie files; absent, both: one cookie on both sides, which the relay need not know."""
    proxy_protocol: bool = False
    """Whether each connection to the stand-in address begins with a PROXY protocol v2 header."""
    via: str | None = None
    """The hop through which the far host is reached: its gateway resolves and dials. Absent: we do."""

    def __post_init__(self) -> None:
        if self.net is None:
            self._check_stand_in()
        else:
            self._check_transparent()
        check_glob("names", self.names)
        self._check_resolve()
        self._check_cookies()

    @property
    def target(self) -> str | None:
        """The IP address or host name to dial; None for a route by `net`."""
        target = self.dial or self.host
        return target and plain_host(target)

    def _check_stand_in(self) -> None:
        if self.listen is None and self.host is None:
            raise SectionError("", "a route needs `host` and `listen`, or else `net`")
        if self.listen is None:
            raise SectionError(
                "listen", "a route with `host` needs the stand-in address that near nodes dial"
            )
        if self.host is None:
            raise SectionError("host", "a route with `listen` needs the host part of the far nodes' names")
        check_host("host", self.host)
        _keep(self, "listen", _stand_in_address(self.listen))
        if self.dial is not None:
            check_host("dial", self.dial)
            _keep(self, "dial", plain_host(self.dial))
        if is_wildcard(self.target or ""):
            raise SectionError("dial" if self.dial else "host", f"{self.target} is no host's address")

    def _check_transparent(self) -> None:
        given = {
            "listen": (self.listen is not None, "has either a stand-in address or `net`"),
            "host": (self.host is not None, "takes no `host`: the original destination is the target"),
            "dial": (self.dial is not None, "takes no `dial`: the original destination is the target"),
            "ports": (bool(self.ports), "takes no `ports`: every redirected port is carried"),
            "proxy_protocol": (
                self.proxy_protocol,
                "takes no `proxy_protocol`: what is redirected comes without a balancer",
            ),
        }
        for key, (is_given, problem) in given.items():
            if is_given:
                raise SectionError(key, f"a route {problem if key == 'listen' else f'by `net` {problem}'}")

    def _check_resolve(self) -> None:
        if not self.resolve:
            raise SectionError("resolve", "names nobody: leave the key out to ask the far host's EPMD server")
        if len(set(self.resolve)) != len(self.resolve):
            raise SectionError("resolve", "each resolver may stand in it once")

    def _check_cookies(self) -> None:
        if (self.cookie_near is None) != (self.cookie_far is None):
            missing = "cookie_near" if self.cookie_near is None else "cookie_far"
            raise SectionError(
                missing, "missing: a relay between two cookies needs cookie_near and cookie_far"
            )
        for key, path in (("cookie_near", self.cookie_near), ("cookie_far", self.cookie_far)):
            if path is not None:
                check_path(key, path, of_secret=True)


def _stand_in_address(text: str) -> str:
    """The address in its one spelling: routes are grouped by it, and compared with what sockets say."""
    if "%" in text:
        raise SectionError("listen", f"{text!r}: no node resolves a host to an address with a zone")
    address = host_address(text)
    if address is None:
        raise SectionError("listen", f"{text!r} is not an IP address of this machine, without a port")
    if address.is_unspecified or address.is_multicast:
        raise SectionError("listen", f"{text!r} is not one address: near nodes must be told what to dial")
    return str(address)


def _keep(route: RouteSection, key: str, value: str) -> None:
    """Set a field of a structure that is frozen once it is made."""
    msgspec.structs.force_setattr(route, key, value)
