"""Names from AWS Cloud Map's DiscoverInstances: all healthy instances of a service, where DNS shows eight.

The role needs ``servicediscovery:DiscoverInstances``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from epmdless.cluster.peers import LookError, Peer, Say
from epmdless.cluster.sources.aws import Aws
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.sources.polling import poll
from epmdless.config import CloudMapSource

MAX_INSTANCES = 1000
"""In an answer, which has no second page. With so many there may be others that it leaves out."""

_PORTS = range(1, 65_536)


class Instance(msgspec.Struct, rename="pascal", frozen=True):
    """An instance, and what was registered with it: by custom under the names below."""

    attributes: dict[str, str] = {}

    @property
    def host(self) -> str:
        """Its address; empty: it has none."""
        return self.attributes.get("AWS_INSTANCE_IPV4") or self.attributes.get("AWS_INSTANCE_IPV6") or ""

    @property
    def port(self) -> int | None:
        """Its port, if it has one."""
        text = self.attributes.get("AWS_INSTANCE_PORT", "")
        is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(_PORTS[-1]))
        return int(text) if is_number and int(text) in _PORTS else None


class Discovered(msgspec.Struct, rename="pascal", frozen=True):
    """An answer to DiscoverInstances."""

    instances: list[Instance]


class CloudMapInstances:
    """The source; see CloudMapSource.

    :param file: the configuration's file, for errors.
    :param key: the dotted key of the source's table.
    :raises ConfigError: botocore is not installed.
    """

    def __init__(self, section: CloudMapSource, around: Surroundings, file: str, key: str) -> None:
        self._section = section
        self._aws = Aws("servicediscovery", section.region, section.endpoint, section.timeout, file, key)

    async def run(self, say: Say) -> None:
        """Ask again and again; see :class:`Source`."""
        await poll(self.look, self._section.poll, say)

    async def look(self) -> Sequence[Peer]:
        """Ask once.

        :raises LookError: there is no answer; there may be more than it can hold; or no instance has what
            makes a name.
        """
        answer = await self._aws.ask(
            "discover_instances",
            Discovered,
            NamespaceName=self._section.namespace,
            ServiceName=self._section.service,
            HealthStatus=self._section.health,
            MaxResults=MAX_INSTANCES,
        )
        if len(answer.instances) >= MAX_INSTANCES:
            raise LookError("too_many", f"{MAX_INSTANCES} instances, and perhaps others that are left out")
        peers = [peer for each in answer.instances if (peer := self._peer(each)) is not None]
        if answer.instances and not peers:
            lacking = "AWS_INSTANCE_IPV4 or _IPV6" + (" and _PORT" if self._section.names == "port" else "")
            raise LookError("malformed", f"none of {len(answer.instances)} instances has {lacking}")
        return peers

    def _peer(self, instance: Instance) -> Peer | None:
        if not instance.host:
            return None
        if self._section.names == "plain":
            return Peer(f"{self._section.basename}@{instance.host}", instance.port)
        if instance.port is None:
            return None
        return Peer(f"{self._section.basename}-{instance.port}@{instance.host}", instance.port)
