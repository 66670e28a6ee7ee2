"""A configuration of the relay with all that belongs to it."""

from __future__ import annotations

from epmdless.config import RelaySection
from epmdless.links.sockets import SocketOptions
from epmdless.log import Log
from epmdless.relay.build import RouteBuilder
from epmdless.relay.routes import RouteTable
from epmdless.rules import Rules


class Prepared:
    """A configuration of the relay that was checked, and is not in force yet."""

    def __init__(
        self, section: RelaySection, builder: RouteBuilder, routes: RouteTable, rules: Rules, log: Log
    ) -> None:
        self.section = section
        self.builder = builder
        self.routes = routes
        self.rules = rules
        self.log = log
        self.options = SocketOptions(section.keepalive, section.user_timeout)
