"""A configuration of publishing with all that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from epmdless.addresses import Endpoint
from epmdless.config import PublishSection
from epmdless.config.values import host_address
from epmdless.errors import ConfigError
from epmdless.names import is_node_name
from epmdless.policy import plain_address
from epmdless.publish.records import Terms
from epmdless.resolve.dns_records import domain, is_under
from epmdless.resolve.srv_records import is_domain
from epmdless.rules import Glob

if TYPE_CHECKING:
    from epmdless.resolve.dns_tsig import TsigKey


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration of publishing that was checked, and is not in force yet.

    :ivar key: None: updates are not signed.
    :ivar follows_route: the target's address is that of the default route, whatever it is at each refresh: a
        host that boots has none yet.
    :ivar ttl: of records, in seconds.
    :ivar lease: seconds for which records count.
    :ivar timeout: seconds for one update at one server.
    """

    terms: Terms
    servers: tuple[Endpoint, ...]
    key: TsigKey | None
    ttl: int
    lease: float
    timeout: float
    follows_route: bool = False

    def at(self, address: str) -> Prepared:
        """The same, with this address of the target."""
        return replace(self, terms=replace(self.terms, addresses=(address,)))

    def after(self, before: Prepared) -> Prepared:
        """The same, with the address that the default route had before, until it is looked at again: there
        may be no route just now."""
        last = before.terms.addresses
        return self.at(*last) if self.follows_route and before.follows_route and last else self


def prepare(section: PublishSection | None, own_host: str, file: str) -> Prepared | None:
    """Load what a configuration names. Blocks as long as reading a small file takes.

    :param own_host: the host part of this host's node names.
    :param file: the configuration's file, for errors.
    :returns: None where there is no section, and so nothing to do.
    :raises ConfigError: the key cannot be read, or no target can be made of what is known.
    """
    if section is None:
        return None
    # dnspython is a third of the memory of a server that asks no DNS: it is imported where it is used.
    from epmdless.publish.key_file import read_key
    from epmdless.resolve.dns_client import DNS_PORT

    key = None if section.key_file is None else read_key(section.key_file, "publish.key_file")
    terms = _terms(section, own_host, file)
    return Prepared(
        terms,
        tuple(server.endpoint(DNS_PORT) for server in section.servers),
        key,
        int(section.ttl),
        section.lease,
        section.timeout,
        follows_route=is_under(terms.target, terms.zone) and not terms.addresses,
    )


def _terms(section: PublishSection, own_host: str, file: str) -> Terms:
    zone = section.zone.lower().removesuffix(".")
    if not is_node_name(f"a@{own_host}"):
        raise ConfigError(file, "resolve.host", f"{own_host!r} is no host part of a node's name")
    target = _target(section, own_host, zone, file)
    addresses: tuple[str, ...] = ()
    if is_under(target, zone):
        given = tuple(str(plain_address(str(address))) for address in section.addresses)
        own = host_address(own_host)
        addresses = given or ((str(own),) if own is not None else ())
    elif section.addresses:
        problem = f"has no effect: the target {target} is not in the zone {zone}"
        raise ConfigError(file, "publish.addresses", problem)
    return Terms(
        zone,
        own_host,
        target,
        addresses,
        tuple(map(Glob, section.nodes)),
        tuple((name, tuple(map(Glob, each.nodes))) for name, each in section.service.items()),
    )


def _target(section: PublishSection, own_host: str, zone: str, file: str) -> str:
    """The configuration's; or the host part: an address, or a name without a dot, as a name in the zone."""
    if section.target is not None:
        target = section.target
    elif (address := host_address(own_host)) is not None:
        target = f"{str(address).replace('.', '-').replace(':', '-')}.{zone}"
    else:
        target = own_host if "." in own_host.removesuffix(".") else f"{own_host}.{zone}"
    target = target.lower().removesuffix(".")
    try:
        domain(target)
    except ValueError:
        target = ""
    if not is_domain(target) or target == zone:
        raise ConfigError(file, "publish.target", f"{own_host!r} makes no domain name: name the target")
    return target
