"""The source that a section of the configuration describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from epmdless.cluster.peers import Source
from epmdless.config import (
    CloudMapSource,
    CommandSource,
    DnsSource,
    Ec2Source,
    EcsSource,
    EpmdSource,
    FileSource,
    GossipSource,
    KubernetesSource,
    SourceSection,
    StaticSource,
)
from epmdless.log import Log
from epmdless.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sources have of the process that they run in.

    :ivar own_host: the host part of this host's node names.
    :ivar local_nodes: the whole names of the local nodes that are joined, as of now.
    """

    counts: Metrics
    log: Log
    environ: Mapping[str, str]
    own_host: str
    local_nodes: Callable[[], Sequence[str]]


@runtime_checkable
class Dated(Protocol):
    """A source that took in more than its section when it was made."""

    def is_up_to_date(self, around: Surroundings) -> bool:
        """Whether it would be made the same again. Blocks as long as reading a small file takes."""


def build(name: str, section: SourceSection, around: Surroundings, file: str) -> Source:
    """Make a source; it does nothing yet. Each kind's module is imported only if it is used.

    :param name: of the source, in the configuration; its table is ``cluster.source.NAME``.
    :param file: the configuration's file, for errors.
    :raises ConfigError: something that only shows now: a file with a secret that cannot be read, a
        package that is not installed, no DNS server.
    """
    key = f"cluster.source.{name}"
    match section:
        case StaticSource():
            from epmdless.cluster.sources.static import StaticNames

            return StaticNames(section)
        case FileSource():
            from epmdless.cluster.sources.file import NamesFile

            return NamesFile(section)
        case CommandSource():
            from epmdless.cluster.sources.command import NamesCommand

            return NamesCommand(section)
        case DnsSource():
            from epmdless.cluster.sources.dns import DnsNames

            return DnsNames(section)
        case EpmdSource():
            from epmdless.cluster.sources.epmd import EpmdNames

            return EpmdNames(section, around)
        case GossipSource():
            from epmdless.cluster.sources.gossip import Gossip

            return Gossip(section, around, file, key)
        case KubernetesSource():
            from epmdless.cluster.sources.kubernetes import EndpointSlices

            return EndpointSlices(section, around, file, key)
        case Ec2Source():
            from epmdless.cluster.sources.ec2 import Ec2Instances

            return Ec2Instances(section, around, file, key)
        case EcsSource():
            from epmdless.cluster.sources.ecs import EcsTasks

            return EcsTasks(section, around, file, key)
        case CloudMapSource():
            from epmdless.cluster.sources.cloudmap import CloudMapInstances

            return CloudMapInstances(section, around, file, key)
