"""The system's DNS servers, as its ``resolv.conf`` names them by now.

DHCP, a VPN and network managers change that file while we run, and what asks by the system's own resolver
follows it (glibc since 2.26).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from epmdless.errors import ConfigError
from epmdless.net.files import fingerprint
from epmdless.resolve.dns_client import AddressType, DnsClient, SrvAnswer

RESOLV_CONF = "/etc/resolv.conf"


class SystemDns:
    """Asks them. A file that names none, as while it is written, leaves those that it named before.

    :param make: a client of those that it names now; raises ConfigError where it names none.
    :raises ConfigError: as `make`.
    """

    def __init__(self, make: Callable[[], DnsClient]) -> None:
        self._make = make
        self._read = fingerprint(RESOLV_CONF)  # before it is read: later changes show
        self._client = make()

    async def ask_addresses(self, name: str, rdtype: AddressType) -> tuple[str, ...]:
        """See :class:`DnsClient`; as all here."""
        return await self._now().ask_addresses(name, rdtype)

    async def ask_srv(self, name: str) -> SrvAnswer:
        """The SRV records of a domain name."""
        return await self._now().ask_srv(name)

    def _now(self) -> DnsClient:
        found = fingerprint(RESOLV_CONF)
        if found != self._read:
            self._read = found
            with suppress(ConfigError):
                self._client = self._make()
        return self._client
