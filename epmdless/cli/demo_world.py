"""Where the demonstration's programs stand: three network namespaces in a row, or loopback addresses."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol, TypeVar

from epmdless.addresses import EPMD_PORT
from epmdless.cli.namespaces import Namespace, NamespaceError, in_a_thread

T = TypeVar("T")

FAR_PORT = 9001
"""The far node's port where nobody else can have taken it."""

CONNECT_SECONDS = 2.0
"""For the attempt to reach the far node directly."""

ATTEMPTS = 50
"""At a port that is free on several addresses."""


class Place(Protocol):
    """A machine, or what stands for one."""

    def call(self, function: Callable[[], T]) -> T:
        """Call a function there; the programs that it starts stay there."""


class Here:
    """This machine as it is."""

    def call(self, function: Callable[[], T]) -> T:
        """Call it; in a thread, which no signal interrupts: what it starts is never forgotten."""
        return in_a_thread(function)


@dataclass(frozen=True, slots=True)
class Plan:
    """Addresses and ports.

    :ivar stand_in: the relay's address on the near side, where it stands in for the far host.
    :ivar relay: the relay's address on the far side.
    :ivar epmd_port: of the near node's EPMD server and of the relay's EPMD face.
    """

    near: str
    stand_in: str
    relay: str
    far: str
    far_port: int
    epmd_port: int

    @property
    def near_node(self) -> str:
        """The near node's name."""
        return f"near@{self.near}"

    @property
    def far_node(self) -> str:
        """The far node's name: its host is the stand-in address, its port is for the scheme `suffix`."""
        return f"far-{self.far_port}@{self.stand_in}"


@dataclass(frozen=True, slots=True)
class World:
    """The three places with their addresses, and what they are."""

    plan: Plan
    description: str
    near: Place
    relay: Place
    far: Place

    @property
    def is_apart(self) -> bool:
        """Whether near and far are apart, so that only the relay connects them."""
        return self.near is not self.far

    def dial_directly(self) -> str:
        """What comes of dialling the far node from the near place, past the relay."""
        address = (self.plan.far, self.plan.far_port)

        def dial() -> str:
            try:
                socket.create_connection(address, timeout=CONNECT_SECONDS).close()
            except OSError as error:
                return error.strerror or str(error)
            return "connected"

        return self.near.call(dial)


def make_world(stack: ExitStack, *, loopback: bool) -> World:
    """Namespaces where they can be made, else loopback addresses.

    :param stack: closes what was made.
    :param loopback: do not even try to make namespaces.
    """
    if loopback:
        return loopback_world("as asked")
    if os.geteuid() != 0:
        return loopback_world("only root can make network namespaces")
    try:
        return namespaces_world(stack)
    except NamespaceError as error:
        return loopback_world(str(error))


def namespaces_world(stack: ExitStack) -> World:
    """Three namespaces; near and far have a network in common with the relay only, which routes nothing.

    :raises NamespaceError: they cannot be made here.
    """
    plan = Plan("10.77.1.5", "10.77.1.9", "10.77.2.1", "10.77.2.7", FAR_PORT, EPMD_PORT)
    near, relay, far = (stack.enter_context(closing(Namespace())) for _ in range(3))
    relay.join("near", near, "uplink")
    relay.join("far", far, "uplink")
    near.ip("address", "add", f"{plan.near}/24", "dev", "uplink")
    relay.ip("address", "add", f"{plan.stand_in}/24", "dev", "near")
    relay.ip("address", "add", f"{plan.relay}/24", "dev", "far")
    far.ip("address", "add", f"{plan.far}/24", "dev", "uplink")
    return World(plan, "three network namespaces", near, relay, far)


def loopback_world(reason: str) -> World:
    """Addresses of this machine's loopback interface, and ports that are free there at this moment.

    :param reason: why it is not namespaces.
    """
    near, stand_in, far = hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    with ExitStack() as held:
        plan = Plan(near, stand_in, near, far, free_port(hosts, held), free_port(hosts, held))
    here = Here()
    return World(plan, f"loopback addresses of this machine ({reason})", here, here, here)


def free_port(hosts: tuple[str, ...], held: ExitStack) -> int:
    """Bind a port that is free on all these addresses."""
    for _ in range(ATTEMPTS):
        port = 0
        try:
            for host in hosts:
                sock = held.enter_context(socket.socket())
                sock.bind((host, port))
                port = sock.getsockname()[1]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise OSError(errno.EADDRINUSE, f"no port is free on all of {', '.join(hosts)}")
