"""Questions to a metadata service over HTTP: bounded, timed, answered by nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import httpx
import trio

from epmdless.errors import EpmdlessError
from epmdless.net.http_body import read_body

PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds before each further question to a service that is busy: those of AWS answer 429 or 5xx when many
ask at once, as at the start of a host full of tasks."""


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


class _BusyError(MetadataError):
    """A service that may answer when it is asked again."""


class Service:
    """A metadata service, for as long as the context of :func:`asking` lasts.

    :ivar name: what it is, for errors.
    """

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        self.name = name
        self._client = client

    async def ask(self, method: str, url: str, headers: Mapping[str, str], most: int) -> bytes:
        """The body of an answer of status 200; a service that is busy is asked again.

        :param url: a path below the base, or a whole URL.
        :param most: bytes that the body may have.
        :raises MetadataError: there is no such answer.
        """
        for pause in PAUSES:
            with suppress(_BusyError):
                return await self._ask_once(method, url, headers, most)
            await trio.sleep(pause)
        return await self._ask_once(method, url, headers, most)

    async def _ask_once(self, method: str, url: str, headers: Mapping[str, str], most: int) -> bytes:
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
                raise _error(response.status_code, f"{self.name} answered {response.status_code}")
            await read_body(response, take)
        finally:
            await response.aclose()
        return bytes(content)


def _error(status: int, detail: str) -> MetadataError:
    if status == httpx.codes.TOO_MANY_REQUESTS or httpx.codes.is_server_error(status):
        return _BusyError("failed", detail)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return MetadataError("denied", detail)
    return MetadataError("absent" if status == httpx.codes.NOT_FOUND else "failed", detail)


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
