"""What two routes may not both claim: an alive name or a port of one address, a far network."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from epmdless.config.errors import SectionError
from epmdless.config.route import RouteSection
from epmdless.config.values import PortRange
from epmdless.rules import globs_overlap, literal_prefix


class Numbered(NamedTuple):
    """A route, and its place in the file from 0, by which a mistake names it."""

    number: int
    route: RouteSection


def check_overlaps(routes: Sequence[RouteSection]) -> None:
    """Raise a SectionError where it is not clear which route a connection belongs to.

    Ten thousand routes are no matter, unless their names, of one address, begin and end with wildcards
    alike: such are compared in pairs, until two of them overlap.
    """
    sharing: dict[str, list[Numbered]] = {}
    for numbered in map(Numbered._make, enumerate(routes)):
        if numbered.route.listen is not None:
            sharing.setdefault(numbered.route.listen, []).append(numbered)
    for together in sharing.values():
        _check_names(together)
        _check_ports(together)
    _check_nets(routes)


def _check_names(together: Sequence[Numbered]) -> None:
    """Globs can meet only if what one begins with is the beginning of the other.

    In the order of their beginnings, the candidates for each are therefore those on a stack from which
    all that do not begin it were taken. Where most begin with a wildcard, all are read from their ends.
    """
    backwards = 2 * sum(each.route.names.startswith(("*", "?")) for each in together) > len(together)
    claims = [(each.route.names[::-1] if backwards else each.route.names, each) for each in together]
    stack: list[tuple[str, Numbered]] = []
    for names, numbered in sorted(claims, key=lambda claim: literal_prefix(claim[0])):
        while stack and not names.startswith(literal_prefix(stack[-1][0])):
            stack.pop()
        for others, candidate in stack:
            if globs_overlap(others, names):
                raise _names_error(candidate, numbered)
        stack.append((names, numbered))


def _names_error(one: Numbered, other: Numbered) -> SectionError:
    first, second = sorted((one, other), key=lambda each: each.number)
    return SectionError(
        f"route[{second.number}].names",
        f"{second.route.names!r} and the {first.route.names!r} of relay.route[{first.number}] overlap: "
        f"one name could mean either, at {second.route.listen}",
    )


def _check_ports(together: Sequence[Numbered]) -> None:
    claims = [(ports, each) for each in together for ports in each.route.ports]
    claims.sort(key=lambda claim: (claim[0].low, claim[0].high))
    for (lower, holder), (upper, other) in pairwise(claims):
        if upper.low <= lower.high:
            raise _port_error(lower, holder, upper, other)


def _port_error(ports: PortRange, holder: Numbered, others: PortRange, other: Numbered) -> SectionError:
    if holder.number > other.number:
        ports, holder, others, other = others, other, ports, holder
    whose = "" if holder.number == other.number else f" of relay.route[{holder.number}]"
    return SectionError(
        f"route[{other.number}].ports",
        f"{others} and the {ports}{whose} overlap: one port of {other.route.listen} could mean either",
    )


def _check_nets(routes: Sequence[RouteSection]) -> None:
    """Blocks of addresses nest or are apart: in their order, any two that overlap have neighbours that do."""
    claims = [
        (ipaddress.ip_network(str(route.net)), number)
        for number, route in enumerate(routes)
        if route.net is not None
    ]
    claims.sort(key=lambda claim: (claim[0].version, int(claim[0].network_address), claim[0].prefixlen))
    for (lower, one), (upper, other) in pairwise(claims):
        is_reached = int(upper.network_address) <= int(lower.broadcast_address)
        if is_reached and lower.version == upper.version:
            first, second = sorted((one, other))
            raise SectionError(
                f"route[{second}].net",
                f"{routes[second].net} and the {routes[first].net} of relay.route[{first}] overlap",
            )
