"""How the process was called: what is no matter of the configuration, and how that is read."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from epmdless.addresses import Endpoint, ListenPlan
from epmdless.config import Config


class Loaded(NamedTuple):
    """A configuration that was read, where to listen, and where it came from."""

    config: Config
    listen: ListenPlan
    source: str

    def epmd_plan(self, handed: Sequence[Endpoint]) -> ListenPlan:
        """Where EPMD is served: where the configuration says, unless sockets were handed over, and on the
        stand-in addresses that none of those listens on.

        :param handed: where the sockets that were handed over listen.
        """
        own = ListenPlan(()) if handed else self.listen
        there = {*handed, *own.required, *own.optional}
        relay = self.config.relay
        addresses = dict.fromkeys(route.listen for route in relay.route if route.listen)
        faces = [
            face
            for face in (Endpoint(address, relay.epmd_port) for address in addresses)
            if face not in there and face._replace(host="::" if ":" in face.host else "0.0.0.0") not in there
        ]
        return ListenPlan((*own.required, *faces), own.optional)


@dataclass(frozen=True, slots=True)
class Launch:
    """How the process was called, as far as it is no matter of the configuration.

    :ivar load: reads the configuration; called again at each SIGHUP. Raises ConfigError.
    :ivar listeners: EPMD sockets that are open already; None: open them, or take systemd's.
    :ivar level: the log level, in place of the configuration's.
    :ivar delays: the reference's ``-delay_accept`` and ``-delay_write``, in seconds.
    :ivar on_ready: called once lookups are answered.
    """

    load: Callable[[], Loaded]
    listeners: Sequence[socket.socket] | None = None
    level: str | None = None
    syslog: bool = False
    delays: tuple[float, float] = (0.0, 0.0)
    on_ready: Callable[[], None] = field(default=lambda: None)
