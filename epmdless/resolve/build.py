"""The resolver chain that a configuration describes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

from epmdless.config import ResolveSection
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.registry import Registry
from epmdless.resolve.chain import Chain
from epmdless.resolve.convention import SchemeResolver, StaticResolver
from epmdless.resolve.outcomes import Resolver
from epmdless.resolve.peers import PeersResolver, PortOf
from epmdless.resolve.registered import RegisteredResolver


def _no_port(_alive: str, _host: str) -> None:
    """What the cluster's sources told, where there are none."""


def own_host(section: ResolveSection) -> str:
    """The host part of this host's node names: the configuration's, else the system's host name."""
    return section.host or os.uname().nodename


def build_chain(
    section: ResolveSection,
    registry: Registry,
    counts: Metrics,
    log: Log,
    *,
    registered: Resolver | None = None,
    before: tuple[ResolveSection, Chain] | None = None,
    port_of_peer: PortOf = _no_port,
) -> Chain:
    """Build the chain in its order.

    :param registered: stands in for the resolver of that name, where the registry is another process's.
    :param before: the section and the chain that this one follows: answers of DNS are kept if the
        question is the same.
    :param port_of_peer: what the cluster's sources told.
    :raises ConfigError: DNS is to be asked, and neither the configuration nor the system names a server.
    """
    makers: dict[str, Callable[[], Resolver]] = {
        "registered": lambda: registered or RegisteredResolver(registry),
        "scheme": lambda: SchemeResolver(section.scheme.build()),
        "static": lambda: StaticResolver(section.static),
        "peers": lambda: PeersResolver(port_of_peer),
        "srv": lambda: _build_srv(section, counts, before and (before[0], before[1].resolver("srv"))),
    }
    return Chain([makers[name]() for name in section.chain], section.fallthrough, log)


def build_sources(
    names: Collection[str],
    section: ResolveSection,
    counts: Metrics,
    own: Chain,
    before: tuple[ResolveSection, Mapping[str, Resolver]] | None = None,
    port_of_peer: PortOf = _no_port,
) -> dict[str, Resolver]:
    """Build the resolvers that chains for far hosts share with each other, and with our own chain.

    :param names: those that are wanted, of ``scheme``, ``static``, ``peers``, ``srv``.
    :param own: our own chain: its resolver answers for far hosts too, out of one cache.
    :param before: the section and the resolvers that these follow.
    :raises ConfigError: DNS is to be asked, and there is no server.
    """
    makers: dict[str, Callable[[], Resolver]] = {
        "scheme": lambda: SchemeResolver(section.scheme.build()),
        "static": lambda: StaticResolver(section.static),
        "peers": lambda: PeersResolver(port_of_peer),
        "srv": lambda: _build_srv(section, counts, before and (before[0], before[1].get("srv"))),
    }
    kept = before[1] if before is not None and before[0] == section else {}
    return {name: own.resolver(name) or kept.get(name) or makers[name]() for name in names}


def _build_srv(
    resolve: ResolveSection, counts: Metrics, before: tuple[ResolveSection, Resolver | None] | None
) -> Resolver:
    """Build the resolver; it takes over the answers of the one before, if that asked the same."""
    # dnspython is a third of the memory of a server that asks no DNS: it is imported where it is used.
    from epmdless.resolve.dns_client import DNS_PORT
    from epmdless.resolve.srv import Limits, SrvResolver
    from epmdless.resolve.srv_source import DnsSource

    section = resolve.srv
    assert section is not None, "the configuration was checked"
    source = DnsSource(
        [address.endpoint(DNS_PORT) for address in section.servers],
        timeout=section.timeout,
        lifetime=section.lifetime,
        tcp=section.tcp,
    )
    limits = Limits(section.max_ttl, section.negative_ttl, section.max_stale, section.cache_entries)
    resolver = SrvResolver(section.question, source, limits, counts)
    if before is not None and before[0].srv == section and isinstance(before[1], SrvResolver):
        resolver.inherit(before[1])
    return resolver
