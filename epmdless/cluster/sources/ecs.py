"""Names from ECS: the running tasks of a service, by their private addresses.

That takes the network mode ``awsvpc``, in which each task has one. The role needs ``ecs:ListTasks`` and
``ecs:DescribeTasks``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer, Say
from epmdless.cluster.sources.aws import Aws
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.sources.polling import poll
from epmdless.config import EcsSource

PAGE_TASKS = 100
"""In a list, and in a question about tasks: as many as both allow."""

INTERFACE = "ElasticNetworkInterface"
ADDRESS = "privateIPv4Address"


class TaskList(msgspec.Struct, rename="camel", frozen=True):
    """A page of an answer to ListTasks."""

    task_arns: list[str]
    next_token: str = ""


class Detail(msgspec.Struct, frozen=True):
    """Something of what is attached to a task."""

    name: str = ""
    value: str = ""


class Attachment(msgspec.Struct, frozen=True):
    """What is attached to a task: its network interface, for one."""

    type: str = ""
    details: list[Detail] = []


class Interface(msgspec.Struct, rename="camel", frozen=True):
    """A network interface of a container."""

    private_ipv4_address: str = msgspec.field(name="privateIpv4Address", default="")


class Container(msgspec.Struct, rename="camel", frozen=True):
    """A container of a task."""

    network_interfaces: list[Interface] = []


class Task(msgspec.Struct, rename="camel", frozen=True):
    """A task."""

    last_status: str = ""
    attachments: list[Attachment] = []
    containers: list[Container] = []

    def address(self) -> str:
        """Its private address; empty: it has none, or not yet."""
        for attachment in self.attachments:
            if attachment.type == INTERFACE:
                for detail in attachment.details:
                    if detail.name == ADDRESS and detail.value:
                        return detail.value
        for container in self.containers:
            for interface in container.network_interfaces:
                if interface.private_ipv4_address:
                    return interface.private_ipv4_address
        return ""


class Failure(msgspec.Struct, frozen=True):
    """A task that could not be described."""

    reason: str = ""


class Tasks(msgspec.Struct, frozen=True):
    """An answer to DescribeTasks."""

    tasks: list[Task] = []
    failures: list[Failure] = []


class EcsTasks:
    """The source; see EcsSource.

    :param file: the configuration's file, for errors.
    :param key: the dotted key of the source's table.
    :raises ConfigError: botocore is not installed.
    """

    def __init__(self, section: EcsSource, around: Surroundings, file: str, key: str) -> None:
        self._section = section
        self._aws = Aws("ecs", section.region, section.endpoint, section.timeout, file, key)

    async def run(self, say: Say) -> None:
        """Ask again and again; see :class:`Source`."""
        await poll(self.look, self._section.poll, say)

    async def look(self) -> Sequence[Peer]:
        """Ask once.

        :raises LookError: there is no answer; or no task has an address.
        """
        arns = await self._arns()
        running: list[Task] = []
        for first in range(0, len(arns), PAGE_TASKS):
            running += await self._running(arns[first : first + PAGE_TASKS])
        addresses = [address for task in running if (address := task.address())]
        if running and not addresses:
            problem = f"none of {len(running)} tasks has an address: is the network mode awsvpc?"
            raise LookError("malformed", problem)
        return [Peer(f"{self._section.basename}@{address}") for address in addresses]

    async def _arns(self) -> list[str]:
        arns: list[str] = []

        def take(page: TaskList) -> str:
            arns.extend(page.task_arns)
            if len(arns) > MAX_NAMES:
                raise LookError("too_many", f"more than {MAX_NAMES} tasks")
            return page.next_token

        await self._aws.ask_all(
            "list_tasks",
            TaskList,
            take,
            "nextToken",
            cluster=self._section.cluster,
            serviceName=self._section.service,
            desiredStatus="RUNNING",
            maxResults=PAGE_TASKS,
        )
        return arns

    async def _running(self, arns: Sequence[str]) -> list[Task]:
        """Those of the tasks that run already. One that ended since it was listed is missing, and no more."""
        answer = await self._aws.ask("describe_tasks", Tasks, cluster=self._section.cluster, tasks=list(arns))
        if any(failure.reason != "MISSING" for failure in answer.failures):
            raise LookError("failed", "describe_tasks: some tasks could not be described")
        return [task for task in answer.tasks if task.last_status == "RUNNING"]
