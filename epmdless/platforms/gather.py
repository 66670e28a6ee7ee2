"""The facts of the platform that this is, or that the caller says it is."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping

import trio

from epmdless.platforms import ec2, ecs, fly, kubernetes
from epmdless.platforms.default_route import default_address
from epmdless.platforms.detect import detect
from epmdless.platforms.facts import Facts, Platform, PlatformError, given_address

_ASKED: Mapping[Platform, Callable[[Mapping[str, str]], Awaitable[Facts]]] = {
    "ecs": ecs.facts,
    "kubernetes": kubernetes.facts,
    "ec2": ec2.facts,
    "fly": fly.facts,
}


async def gather(wanted: Platform | None, environ: Mapping[str, str], *, address: str | None = None) -> Facts:
    """The facts, within FACTS_SECONDS.

    :param wanted: None: the platform that this looks like.
    :param address: ours, where the caller knows better; then nobody is asked.
    :raises PlatformError: there is no address.
    """
    platform = wanted or detect(environ)
    if address is not None:
        return Facts(platform, given_address(address), "--address")
    ask = _ASKED.get(platform)
    if ask is not None:
        return await ask(environ)
    return Facts(platform, *await default_address())


async def full_name(seconds: float) -> str:
    """This host's name with its domain, as ``hostname -f`` finds it.

    :raises PlatformError: it has none, or who should know it does not answer in so many seconds.
    """
    own = socket.gethostname()
    try:
        with trio.fail_after(max(seconds, 0)):
            found = await trio.to_thread.run_sync(_canonical, own, abandon_on_cancel=True)
    except trio.TooSlowError:
        raise PlatformError("this host's full name: the name service did not answer in time") from None
    except OSError as error:
        raise PlatformError(f"this host's full name: {error.strerror}; give --host") from None
    name = found.rstrip(".")
    if "." not in name:
        raise PlatformError("this host's full name has no dot, and a long name needs one; give --host")
    return name


def _canonical(name: str) -> str:
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM, flags=socket.AI_CANONNAME)
    return next((canonical for *_, canonical, _ in answers if canonical), name)
