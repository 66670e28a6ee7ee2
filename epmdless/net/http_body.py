"""The body of an answer by HTTP, as far as it is wanted."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from epmdless.errors import EpmdlessError


async def read_body(response: httpx.Response, take: Callable[[bytes], None]) -> None:
    """Read the body to its end; an error of ours that `take` raises ends it early, and goes through.

    httpx reads through generators inside of generators, and to leave the innermost one half-way would be
    for the garbage collector to find. So the connection is closed, and then they run to their end.

    :param response: whose body was not read yet; the caller closes it.
    :param take: called with each piece as it comes.
    :raises httpx.TransportError: the connection broke.
    """
    problem: EpmdlessError | None = None
    try:
        async for data in response.aiter_raw():
            if problem is None:
                try:
                    take(data)
                except EpmdlessError as error:
                    problem = error
                    await response.aclose()
    except httpx.TransportError:
        if problem is None:
            raise
    if problem is not None:
        raise problem
