"""Metadata services that misbehave, and what a question to one ends with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from epmdless.platforms.facts import FACTS_SECONDS, Facts, PlatformError
from tests.support.scripted_http import Answer, Asked, HttpServer, Reply, serving

Ask = Callable[[Mapping[str, str]], Awaitable[Facts]]

DRIP_SECONDS = 0.5
"""Between two bytes of a service that is slow, or malicious."""

SLACK = 0.25
"""Seconds that a machine with other work may take to notice the time."""

SECRET = "never-to-be-shown"
"""In each answer that is none: no error repeats it."""


def replying(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.whole(status, body, headers)

    return answer


async def silence(_asked: Asked, reply: Reply) -> None:
    await reply.until_left()


async def drip(_asked: Asked, reply: Reply) -> None:
    await reply.start(200)
    while True:
        await reply.send(b"1")
        await trio.sleep(DRIP_SECONDS)


async def drip_head(_asked: Asked, reply: Reply) -> None:
    await reply.raw(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        await reply.raw(b"a")
        await trio.sleep(DRIP_SECONDS)


async def endless(_asked: Asked, reply: Reply) -> None:
    await reply.start(200)
    while True:
        await reply.send(b"1" * 65_536)


async def endless_head(_asked: Asked, reply: Reply) -> None:
    await reply.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        await reply.raw(b"X-Long: " + b"a" * 8_000 + b"\r\n")


async def no_http(_asked: Asked, reply: Reply) -> None:
    await reply.raw(f"220 mail.internal ESMTP {SECRET}\r\n\r\n".encode())
    await reply.until_left()


async def broken_off(_asked: Asked, reply: Reply) -> None:
    await reply.start(200, {"Content-Length": "1000"})
    await reply.send(b"{")
    await reply.raw(b"")
    raise trio.BrokenResourceError


MISBEHAVING: Mapping[str, tuple[Answer, str]] = {
    "silence": (silence, "did not answer in time"),
    "slow": (drip, "did not answer in time"),
    "a slow head": (drip_head, "did not answer in time"),
    "endless": (endless, "answered what is no such answer"),
    "an endless head": (endless_head, "no "),
    "no HTTP": (no_http, "no "),
    "broken off": (broken_off, "no "),
    "elsewhere": (replying(b"", 302, {"Location": f"http://127.0.0.1:9/{SECRET}"}), "answered 302"),
    "denied": (replying(SECRET.encode(), 403), "answered 403"),
    "a failure": (replying(SECRET.encode(), 500), "answered 500"),
    "nothing": (replying(b"", 204), "answered 204"),
    "too many questions": (replying(SECRET.encode(), 429), "answered 429"),
}
"""Each with a part of what is said of it."""


@asynccontextmanager
async def service(answer: Answer, variable: str) -> AsyncIterator[tuple[HttpServer, dict[str, str]]]:
    """A service, and the environment that leads there."""
    async with serving(answer) as server:
        yield server, {variable: f"http://127.0.0.1:{server.port}/v4/own-1"}


async def failure(ask: Ask, answer: Answer, variable: str) -> str:
    """What a question to this service fails with, in time; nobody is left who still waits for it."""
    async with service(answer, variable) as (server, environ):
        end = trio.current_time() + FACTS_SECONDS
        try:
            found = await ask(environ)
        except PlatformError as error:
            assert trio.current_time() <= end + SLACK
            await server.is_left()
            said = str(error)
        else:
            raise AssertionError(f"an answer: {found}")
    assert "\n" not in said
    assert SECRET not in said
    return said
