"""SRV records from DNS servers, as the resolver ``srv`` asks for them."""

from __future__ import annotations

from collections.abc import Sequence

from epmdless.addresses import Endpoint
from epmdless.resolve.dns_client import DnsClient, SrvAnswer
from epmdless.resolve.dns_system import SystemDns

MAX_RECORDS = 1024
"""SRV records kept of one answer; a TCP answer of 64 KiB can hold some 3,000."""


class DnsSource:
    """Asks for SRV records; parameters and errors are those of :class:`DnsClient`.

    Without servers the system's are asked, which may be others tomorrow.
    """

    def __init__(
        self, servers: Sequence[Endpoint], *, timeout: float, lifetime: float, tcp: bool = False
    ) -> None:

        def make() -> DnsClient:
            remedy = "; name them in resolve.srv.servers"
            return DnsClient(servers, timeout=timeout, lifetime=lifetime, tcp=tcp, remedy=remedy)

        self._client = make() if servers else SystemDns(make)

    async def ask(self, question: str) -> SrvAnswer:
        """Ask for the SRV records of a domain name.

        :raises ResolveError: no server gave an answer.
        """
        answer = await self._client.ask_srv(question)
        return answer._replace(records=answer.records[:MAX_RECORDS])
