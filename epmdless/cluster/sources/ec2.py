"""Names from EC2's DescribeInstances: instances by tags and state, or of this instance's auto scaling group.

The role needs ``ec2:DescribeInstances``, also for the group: its name is a tag of each of its instances.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import trio

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer, Say
from epmdless.cluster.sources.aws import Aws
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.sources.imds import instance_id
from epmdless.cluster.sources.polling import poll
from epmdless.config import Ec2Source

PAGE_INSTANCES = 1000
"""In an answer, at most: as many as DescribeInstances allows."""

GROUP_SECONDS = 300.0
"""For how long the name of this instance's group is kept. An instance seldom moves to another one."""

GROUP_TAG = "aws:autoscaling:groupName"


class Tag(msgspec.Struct, rename="pascal", frozen=True):
    """A tag of an instance."""

    key: str
    value: str


class Instance(msgspec.Struct, rename="pascal", frozen=True):
    """An instance; one that ended has neither name nor address any more."""

    private_dns_name: str = ""
    private_ip_address: str = ""
    tags: list[Tag] = []


class Reservation(msgspec.Struct, rename="pascal", frozen=True):
    """Instances that were started together."""

    instances: list[Instance]


class Instances(msgspec.Struct, rename="pascal", frozen=True):
    """A page of an answer to DescribeInstances."""

    reservations: list[Reservation]
    next_token: str = ""


class Ec2Instances:
    """The source; see Ec2Source.

    :param file: the configuration's file, for errors.
    :param key: the dotted key of the source's table.
    :raises ConfigError: botocore is not installed.
    """

    def __init__(self, section: Ec2Source, around: Surroundings, file: str, key: str) -> None:
        self._section = section
        self._environ = around.environ
        self._aws = Aws("ec2", section.region, section.endpoint, section.timeout, file, key)
        self._group = ""
        self._group_end = float("-inf")

    async def run(self, say: Say) -> None:
        """Ask again and again; see :class:`Source`."""
        await poll(self.look, self._section.poll, say)

    async def look(self) -> Sequence[Peer]:
        """Ask once.

        :raises LookError: there is no answer; or no instance has what makes a name.
        """
        wanted = {f"tag:{key}": value for key, value in self._section.tags.items()}
        if self._section.own_group:
            wanted[f"tag:{GROUP_TAG}"] = _literal(await self._own_group())
        filters = [{"Name": name, "Values": [value]} for name, value in wanted.items()]
        filters.append({"Name": "instance-state-name", "Values": list(self._section.states)})
        peers: list[Peer] = []
        count = 0

        def take(page: Instances) -> str:
            nonlocal count
            count += sum(len(reservation.instances) for reservation in page.reservations)
            peers.extend(self._named(page))
            if len(peers) > MAX_NAMES:
                raise LookError("too_many", f"more than {MAX_NAMES} instances")
            return page.next_token

        await self._aws.ask_all(
            "describe_instances", Instances, take, "NextToken", Filters=filters, MaxResults=PAGE_INSTANCES
        )
        if count and not peers:
            hint = "address" if self._by_address else "DNS name: are DNS hostnames enabled in the VPC?"
            raise LookError("malformed", f"none of {count} instances has a private {hint}")
        return peers

    @property
    def _by_address(self) -> bool:
        return self._section.names == "private_ip"

    def _named(self, page: Instances) -> list[Peer]:
        found = [each for reservation in page.reservations for each in reservation.instances]
        hosts = [each.private_ip_address if self._by_address else each.private_dns_name for each in found]
        return [Peer(f"{self._section.basename}@{host}") for host in hosts if host]

    async def _own_group(self) -> str:
        """The name of the auto scaling group that this instance belongs to."""
        now = trio.current_time()
        if now >= self._group_end:
            own = await instance_id(self._environ, self._section.timeout)
            page = await self._aws.ask("describe_instances", Instances, InstanceIds=[own])
            self._group = _group_in(page)
            self._group_end = now + GROUP_SECONDS
        return self._group


def _group_in(page: Instances) -> str:
    for reservation in page.reservations:
        for instance in reservation.instances:
            for tag in instance.tags:
                if tag.key == GROUP_TAG and tag.value:
                    return tag.value
    raise LookError("failed", "this instance belongs to no auto scaling group")


def _literal(text: str) -> str:
    """A filter's value that means just this text (DescribeInstances, "Filters")."""
    return re.sub(r"([*?\\])", r"\\\1", text)
