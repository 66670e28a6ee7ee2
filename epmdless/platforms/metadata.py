"""Questions to a metadata service over HTTP: bounded, timed, answered by nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import trio

from epmdless.errors import EpmdlessError
from epmdless.net.http_body import read_body


class MetadataError(EpmdlessError):
    """A metadata service does not say what was asked.

    :param reason: one short word of a fixed set: ``timeout``, ``unreachable``, ``denied``, ``absent``,
        ``failed``, ``malformed``.
    :param detail: for people; one line, and nothing of what the service sent.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class Service:
    """A metadata service, for as long as the context of :func:`asking` lasts.

    :ivar name: what it is, for errors.
    """

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        self.name = name
        self._client = client

    async def ask(self, method: str, url: str, headers: Mapping[str, str], most: int) -> bytes:
        """The body of an answer of status 200.

        :param url: a path below the base, or a whole URL.
        :param most: bytes that the body may have.
        :raises MetadataError: there is no such answer.
        """
        content = bytearray()

        def take(data: bytes) -> None:
            content.extend(data)
            if len(content) > most:
                raise MetadataError("malformed", f"{self.name} answered what is no such answer")

        # Unpacking would be work without a bound.
        request = self._client.build_request(method, url, headers={**headers, "Accept-Encoding": "identity"})
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != httpx.codes.OK:
                reason = _reason_of(response.status_code)
                raise MetadataError(reason, f"{self.name} answered {response.status_code}")
            await read_body(response, take)
        finally:
            await response.aclose()
        return bytes(content)


def _reason_of(status: int) -> str:
    if status in (401, 403):
        return "denied"
    return "absent" if status == httpx.codes.NOT_FOUND else "failed"


@asynccontextmanager
async def asking(name: str, base: str, seconds: float, hint: str) -> AsyncIterator[Service]:
    """Ask a service; it is connected to at its first question.

    No redirect is followed and no proxy used: an instance's or a task's own service is link-local.

    :param name: what it is, for errors.
    :param base: its URL.
    :param seconds: for all questions together.
    :param hint: what to do where nobody answers.
    :raises MetadataError: it cannot be connected to, or does not answer in time.
    """
    try:
        with trio.fail_after(seconds):
            async with httpx.AsyncClient(
                base_url=base, trust_env=False, timeout=httpx.Timeout(None), follow_redirects=False
            ) as client:
                yield Service(name, client)
    except trio.TooSlowError:
        raise MetadataError("timeout", f"{name} did not answer in time") from None
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError):  # the last: no host name, no UTF-8
        raise MetadataError("unreachable", f"no {name.removeprefix('the ')}{hint}") from None
