"""ECS: the task metadata endpoint, version 4.

Each container of a task in network mode ``awsvpc`` has the task's own address; in mode ``host`` the
instance's; in mode ``bridge`` one that only its instance can reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from epmdless.platforms.default_route import default_address
from epmdless.platforms.facts import FACTS_SECONDS, Facts, PlatformError, checked_address, plain_labels
from epmdless.platforms.metadata import MetadataError, asking

VARIABLE = "ECS_CONTAINER_METADATA_URI_V4"

SERVICE = "the ECS task metadata endpoint"

MAX_ANSWER_BYTES = 1 << 20
"""Of a task: ten containers of some 2 KiB each, with labels and ports."""

_TASK_NAMES = {
    "containers": "Containers",
    "cluster": "Cluster",
    "arn": "TaskARN",
    "family": "Family",
    "revision": "Revision",
    "zone": "AvailabilityZone",
    "launch_type": "LaunchType",
}


class Network(
    msgspec.Struct, rename={"mode": "NetworkMode", "ipv4": "IPv4Addresses", "ipv6": "IPv6Addresses"}
):
    """A network of a container."""

    mode: str = ""
    ipv4: list[str] | None = None
    ipv6: list[str] | None = None

    @property
    def address(self) -> str:
        """The first address that there is, of IPv4 where there is any; ``""``: none."""
        return next((text for text in (*(self.ipv4 or ()), *(self.ipv6 or ())) if text), "")


class Container(msgspec.Struct, rename={"id": "DockerId", "networks": "Networks"}):
    """A container of the task."""

    id: str = ""
    networks: list[Network] | None = None


class Task(msgspec.Struct, rename=_TASK_NAMES):
    """A task, as far as it is wanted; the labels are whatever they are."""

    containers: list[Container]
    cluster: Any = None
    arn: Any = None
    family: Any = None
    revision: Any = None
    zone: Any = None
    launch_type: Any = None


async def facts(environ: Mapping[str, str]) -> Facts:
    """What the task is told.

    :raises PlatformError: it is told nothing, or has no address that others can reach.
    """
    base = environ.get(VARIABLE, "").rstrip("/")
    if not base:
        raise PlatformError(
            f"{VARIABLE} is not set: this is no ECS task with platform version 1.4 or an agent of 1.39"
        )
    try:
        async with asking(SERVICE, "", FACTS_SECONDS, f" (is {VARIABLE} right?)") as service:
            answer = await service.ask("GET", f"{base}/task", {}, MAX_ANSWER_BYTES)
    except MetadataError as error:
        raise PlatformError(f"{error.detail}; give --address") from None
    try:
        task = msgspec.json.decode(answer, type=Task)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PlatformError(f"{SERVICE} answered what is no task") from None
    network = _network(task, own=base.rpartition("/")[2])
    labels = {
        "zone": task.zone,
        "family": task.family,
        "revision": task.revision,
        "task": task.arn,
        "cluster": task.cluster,
        "launch_type": task.launch_type,
    }
    address, source = await _address(network)
    return Facts("ecs", address, source, plain_labels({name: _text(value) for name, value in labels.items()}))


def _network(task: Task, own: str) -> Network:
    """The first network of our own container, or where it does not tell itself, of the first with one."""
    containers = sorted(task.containers, key=lambda container: container.id != own)
    for container in containers:
        if container.networks:
            return container.networks[0]
    raise PlatformError(f"{SERVICE} names no network of this task; give --address")


async def _address(network: Network) -> tuple[str, str]:
    if network.mode == "host":
        return await default_address()
    if network.mode in ("bridge", "default", "nat", "none"):
        raise PlatformError(
            f"network mode {network.mode}: other hosts cannot reach this container's address; "
            "use network mode awsvpc or host, or give the instance's with --address"
        )
    if not network.address:
        raise PlatformError(f"{SERVICE} names no address of this task; give --address")
    return checked_address(network.address, SERVICE), "ECS task metadata"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
