"""A relay and a gateway in threads of their own, with TLS between them, and scripted nodes on both sides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.support.certificates import Authority, Issued
from tests.support.link_sides import FarHost
from tests.support.relays import RelayHere, Settings, config_text, route_to

CLIENT = "relay.az-a.test"
GATEWAY = "gw.az-b.test"
GATEWAY_ADDRESS = "127.0.2.1"
HOP = "az-b"

ALLOW: Settings = {"client": CLIENT, "hosts": ["127.0.0.0/8"], "ports": ["1-65535"]}
"""Everything on loopback, which must be named."""


def tables(name: str, keys: Mapping[str, object]) -> str:
    """A table of TOML with its keys; JSON's values are TOML's too."""
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]) + "\n"


def tls_table(name: str, authority: Authority, issued: Issued, **more: object) -> str:
    """The table of TLS of one end."""
    files = {"cert": str(issued.cert), "key": str(issued.key), "ca": str(authority.ca)}
    return tables(f"{name}.tls", {**files, **more})


def gateway_text(
    port: int,
    tls: str,
    *allows: Settings,
    keys: Settings = MappingProxyType({}),
    address: str = GATEWAY_ADDRESS,
) -> str:
    """A gateway's configuration.

    :param tls: its table, or nothing: without TLS.
    :param keys: of ``[gateway]``.
    """
    own = {"listen": f"{address}:{port}", **keys, **({} if tls else {"tls": False})}
    entries = "".join(
        "[" + tables("gateway.allow", allow).replace("]", "]]", 1) for allow in allows or (ALLOW,)
    )
    return tables("gateway", own) + tls + entries


def hop_text(tls: str, *gateways: str, **keys: object) -> str:
    """A hop's configuration, as above."""
    own = {"gateways": list(gateways), **keys, **({} if tls else {"tls": False})}
    return tables(f"hop.{HOP}", own) + tls


class Ends(NamedTuple):
    """Both ends of a hop.

    :ivar port: of the gateway.
    """

    near: RelayHere
    far: RelayHere
    port: int


class Certified(NamedTuple):
    """A CA with a certificate for each end of a hop."""

    authority: Authority
    client: Issued
    gateway: Issued

    @classmethod
    def in_folder(cls, folder: Path) -> Certified:
        """Make them."""
        authority = Authority(folder)
        return cls(authority, authority.issue(CLIENT), authority.issue(GATEWAY))

    def gateway_tls(self, **more: object) -> str:
        """The table of the gateway's end."""
        return tls_table("gateway", self.authority, self.gateway, **more)

    def hop_tls(self, **more: object) -> str:
        """The table of the hop's end."""
        return tls_table(f"hop.{HOP}", self.authority, self.client, **{"server_name": GATEWAY, **more})


@contextmanager
def hop_to(
    far_host: FarHost,
    certified: Certified | None,
    *allows: Settings,
    gateway: Settings | None = None,
    hop: Settings | None = None,
    route: Settings | None = None,
    relay: Any = None,
) -> Iterator[Ends]:
    """A relay whose one route leads through a gateway to a far host.

    :param certified: None: without TLS.
    :param gateway, hop, route, relay: further keys of these tables.
    """
    gateway_tls, hop_tls = ("", "") if certified is None else (certified.gateway_tls(), certified.hop_tls())
    if certified is None:
        allows = allows or ({**ALLOW, "client": "127.*"},)
    far_text = gateway_text(0, gateway_tls, *allows, keys=gateway or {})
    with RelayHere(far_text) as far:
        port = far.gateway_port
        near_text = config_text(route_to(far_host, via=HOP, **(route or {})), **(relay or {}))
        near_text += hop_text(hop_tls, f"{GATEWAY_ADDRESS}:{port}", **(hop or {}))
        with RelayHere(near_text) as near:
            yield Ends(near, far, port)
