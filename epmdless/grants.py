"""What a gateway allows: which client may reach which hosts and ports, and which nodes there.

Pure. A client is known by the names of its certificate, and gets the grants that are for one of them;
what no grant allows is refused. A target is judged twice: by what was asked for, before anything is
resolved, and by each very address that would be dialled, so that a name which suddenly means another
address (DNS rebinding) opens nothing.

Some addresses mean the gateway's own machine, or something that answers whoever is near enough to ask:
loopback, link-local (cloud metadata among them), multicast. Such a special address is open only to a
grant that names it: with a network that lies wholly inside the special block. ``0.0.0.0/0`` names none.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from epmdless.policy import Network, plain_address
from epmdless.rules import ANYTHING, Glob

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Block = ipaddress.IPv4Network | ipaddress.IPv6Network

SPECIAL: tuple[tuple[Block, str], ...] = tuple(
    (ipaddress.ip_network(block), meaning)
    for block, meaning in (
        ("0.0.0.0/8", "unspecified"),  # Linux dials itself for 0.0.0.0
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),  # 169.254.169.254: the metadata of most clouds
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("fd00:ec2::254/128", "metadata"),  # of EC2, over IPv6
    )
)
"""Blocks that a grant must name, and what each of them is (RFC 6890)."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that end in the IPv4 address to which a translator takes them (RFC 6052 §2.1)."""

_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*([A-Za-z0-9_-]{1,63})")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


class Denied(NamedTuple):
    """Why a target is refused.

    :param rule: the key of the configuration that refused it: of the grant that came nearest, as
        ``gateway.allow[2].ports``, or ``gateway.allow`` where none came near.
    :param detail: the same in words, for the client and the log. It may hold what the client sent.
    """

    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Grant:
    """One ``[[gateway.allow]]``: it allows a target that fits all of its parts.

    With `names` and `networks` both, both must hold: a host's name must fit one of the globs, and the
    address behind it must lie in one of the networks. A client that asks for an address has no name to
    fit, and the networks alone decide. With `names` alone, only names are dialled, wherever they lead;
    with `networks` alone, any name that leads into one of them.

    :param number: its place in the file, from 0, by which a refusal names it.
    :param client: a glob over the names in the client's certificate, without case.
    :param names: globs over host names, without case and without a dot at their end.
    :param ports: of which one must hold the port.
    :param nodes: globs over the far node: one with an ``@`` over its whole name, else over its alive name.
    """

    number: int
    client: Glob
    names: tuple[Glob, ...]
    networks: tuple[Network, ...]
    ports: tuple[range, ...]
    nodes: tuple[Glob, ...] = (ANYTHING,)

    def allows_port(self, port: int) -> bool:
        """Whether it allows the port."""
        return any(port in ports for ports in self.ports)

    def allows_node(self, node: str) -> bool:
        """Whether it allows the node.

        :param node: its whole name.
        """
        alive = node.partition("@")[0]
        return any(glob.matches(node if "@" in glob.text else alive) for glob in self.nodes)

    def allows_alive(self, alive: str) -> bool:
        """Whether it allows some node of this alive name."""
        return any(
            Glob(glob.text.partition("@")[0]).matches(alive) if "@" in glob.text else glob.matches(alive)
            for glob in self.nodes
        )

    def names_refuse(self, host: str) -> str | None:
        """What its globs have against a host that was asked for, in words; None: nothing.

        :param host: a name or an IP address. What a resolver might take for an address, such as
            ``127.1`` or ``0x7f000001``, is neither and always refused, and so is a zone: it means something
            on the machine of who writes it alone.
        """
        if "%" not in host and _read(host) is not None:
            return None if self.networks else "an address, where only names are allowed"
        name = host.removesuffix(".")
        if not _is_name(name):
            return "neither a host name nor an address"
        if self.names and not any(glob.matches(name) for glob in self.names):
            return "not among the names"
        return None

    def networks_refuse(self, address: IP) -> str | None:
        """What its networks have against an address that would be dialled, in words; None: nothing."""
        if self.networks and not any(address in network for network in self.networks):
            return "not in the networks"
        for form in _forms(address):
            for block, meaning in SPECIAL:
                if form in block and not self._names_special(form, block):
                    return f"a {meaning} address, which no network names"
        return None

    def _names_special(self, address: IP, block: Block) -> bool:
        """Whether one of its networks holds the address and lies wholly in that block."""
        return any(address in network and _lies_in(network, block) for network in self.networks)


class Grants(Sequence[Grant]):
    """All grants of a gateway, in the file's order."""

    def __init__(self, grants: Sequence[Grant] = ()) -> None:
        self._grants = tuple(grants)

    def for_client(self, names: Sequence[str]) -> Allowance:
        """What a client may do.

        :param names: all names in its certificate: DNS names, URIs, IP addresses as text; where there is
            no TLS, its IP address alone.
        """
        return Allowance([grant for grant in self if any(map(grant.client.matches, names))])

    @overload
    def __getitem__(self, index: int) -> Grant: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Grant, ...]: ...

    def __getitem__(self, index: int | slice) -> Grant | tuple[Grant, ...]:
        return self._grants[index]

    def __len__(self) -> int:
        return len(self._grants)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grants) and self._grants == other._grants

    def __hash__(self) -> int:
        return hash(self._grants)


class Allowance:
    """What one client may do: the grants that are for it."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self.grants = tuple(grants)

    @property
    def is_empty(self) -> bool:
        """Whether it may do nothing at all."""
        return not self.grants

    def ask(self, host: str, port: int) -> Denied | None:
        """Why no grant could allow a target, whatever its name means; None: one could.

        :param host: as the client asked for it: a name, or an IP address without brackets.
        """
        literal = _read(host)
        found = self._judge(host, port, literal)
        return found if isinstance(found, Denied) else None

    def judge(self, host: str, port: int, address: str) -> tuple[Grant, ...] | Denied:
        """The grants that allow a connection, at least one; or why none does.

        :param host: as for :meth:`ask`.
        :param address: the IP address that would be dialled, and nothing else may be then.
        """
        ip = _read(address)
        if ip is None:
            return Denied("gateway.allow", f"{address} is no address")
        return self._judge(host, port, ip)

    def judge_node(self, grants: Sequence[Grant], node: str) -> Denied | None:
        """Why none of these grants allows a node; None: one does.

        :param grants: those that allowed the connection.
        :param node: the far node's whole name, as in its handshake.
        """
        if any(grant.allows_node(node) for grant in grants):
            return None
        rule = f"gateway.allow[{grants[0].number}].nodes" if grants else "gateway.allow"
        return Denied(rule, f"{node} is not among the nodes")

    def allows_alive(self, grants: Sequence[Grant], alive: str) -> bool:
        """Whether any of these grants allows some node of this alive name: all that a lookup tells."""
        return any(grant.allows_alive(alive) for grant in grants)

    def restricts_nodes(self, grants: Sequence[Grant]) -> bool:
        """Whether each of these grants is for certain nodes, so that what names none cannot pass."""
        return not any(glob.matches_all for grant in grants for glob in grant.nodes)

    def plain(self) -> list[dict[str, list[str]]]:
        """Hosts, ports and nodes of each grant as text, as a configuration has them."""
        return [
            {
                "hosts": [*(glob.text for glob in grant.names), *map(str, grant.networks)],
                "ports": [_ports_text(ports) for ports in grant.ports],
                "nodes": [glob.text for glob in grant.nodes],
            }
            for grant in self.grants
        ]

    def _judge(self, host: str, port: int, address: IP | None) -> tuple[Grant, ...] | Denied:
        """As :meth:`judge`; no address: it is not known yet, and might be the right one."""
        if not self.grants:
            return Denied("gateway.allow", "no entry is for this client")
        refusals = [_refusal(grant, host, port, address) for grant in self.grants]
        allowing = [grant for grant, refusal in zip(self.grants, refusals, strict=True) if refusal is None]
        return tuple(allowing) or max(filter(None, refusals), key=lambda refusal: refusal.nearness).denied


class _Refusal(NamedTuple):
    """Why one grant refuses, and how near it came to allow, as a number that grows."""

    nearness: int
    denied: Denied


def _refusal(grant: Grant, host: str, port: int, address: IP | None) -> _Refusal | None:
    """Judge a target by one grant; None: it is allowed.

    What has the right host and a wrong port came nearest; then what has the right port, first with a
    name that fits and leads elsewhere. With neither host nor port, the grant is for something else.
    """
    has_port = grant.allows_port(port)
    by_name = grant.names_refuse(host)
    by_address = None if by_name or address is None else grant.networks_refuse(address)
    if not by_name and not by_address:
        if has_port:
            return None
        return _Refusal(3, Denied(f"gateway.allow[{grant.number}].ports", f"port {port} is not in the ports"))
    if not has_port:
        return _Refusal(0, Denied("gateway.allow", f"no entry is for {host} and port {port}"))
    who = host if by_name or _read(host) == address else f"{address}, to which {host} leads,"
    denied = Denied(f"gateway.allow[{grant.number}].hosts", f"{who} is {by_name or by_address}")
    return _Refusal(1 if by_name else 2, denied)


def _forms(address: IP) -> Iterator[IP]:
    """The address, and each IPv4 address inside, to which a translator might carry what is sent there."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour is not None:
            yield address.sixtofour
        yield from address.teredo or ()


def _lies_in(network: Network, block: Block) -> bool:
    inner = ipaddress.ip_network(str(network))
    is_same_kind = inner.version == block.version
    return is_same_kind and inner.prefixlen >= block.prefixlen and inner.network_address in block


def _is_name(host: str) -> bool:
    """Whether it is a host name, and no other spelling of an address: inet_aton(3) takes several."""
    match = _NAME.fullmatch(host)
    return match is not None and not _NUMBER.fullmatch(match[1])


def _read(text: str) -> IP | None:
    """The address that the text is, one mapped into IPv6 as IPv4; None: it is none."""
    try:
        return plain_address(text)
    except ValueError:
        return None


def _ports_text(ports: range) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"
