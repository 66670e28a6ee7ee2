"""The instance metadata service of EC2, version 2 (IMDSv2), which takes a token for each question."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from epmdless.platforms.metadata import MetadataError, Service, asking

ENDPOINT = "http://169.254.169.254"

ENDPOINT_IPV6 = "http://[fd00:ec2::254]"
"""For instances without an IPv4 address."""

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
"""Of the environment, as in AWS' own programs: where the service is instead."""

MODE_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
"""Of the environment, as in AWS' own programs: ``IPv6`` for the service's IPv6 address."""

TOKEN_SECONDS = 60
"""For how long a token shall be good: it is asked for anew each time."""

MAX_ANSWER_BYTES = 1024
"""Of a token or an id: both have less than a hundred."""

SERVICE = "the instance metadata service"

NO_ANSWER = f"{SERVICE} answered what is no such answer"

_TOKEN = re.compile(rb"[!-~]{1,512}")


class Imds:
    """The service, with a token."""

    def __init__(self, service: Service, token: str) -> None:
        self._service = service
        self._headers = {"X-aws-ec2-metadata-token": token}

    async def ask(self, item: str, form: re.Pattern[bytes]) -> str:
        """An item of the instance's metadata.

        :param item: its path below ``/latest/meta-data/``.
        :param form: what the whole answer has to match, in ASCII.
        :raises MetadataError: there is no such answer; ``absent`` where the instance has no such item.
        """
        path = f"/latest/meta-data/{item}"
        return await _ask(self._service, "GET", path, self._headers, form)


@asynccontextmanager
async def asking_imds(environ: Mapping[str, str], seconds: float) -> AsyncIterator[Imds]:
    """Ask the service.

    :param seconds: for all questions together.
    :raises MetadataError: nobody answers; this is no instance.
    """
    by_mode = ENDPOINT_IPV6 if environ.get(MODE_VARIABLE, "").lower() == "ipv6" else ENDPOINT
    base = environ.get(ENDPOINT_VARIABLE) or by_mode
    async with asking(SERVICE, base, seconds, hint=" (is this an EC2 instance?)") as service:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        yield Imds(service, await _ask(service, "PUT", "/latest/api/token", lifetime, _TOKEN))


async def _ask(
    service: Service, method: str, path: str, headers: Mapping[str, str], form: re.Pattern[bytes]
) -> str:
    content = await service.ask(method, path, headers, MAX_ANSWER_BYTES)
    if not form.fullmatch(content):
        raise MetadataError("malformed", NO_ANSWER)
    return content.decode("ascii")
