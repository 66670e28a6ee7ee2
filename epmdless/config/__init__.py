"""The configuration's shape, and how text becomes it.

TOML is decoded into frozen structures that reject unknown keys; everything is checked before any
socket is bound. A mistake is one :class:`ConfigError` that names the file, the dotted key and what is
allowed. Nothing here opens a file: the caller hands over text.
"""

from epmdless.config.cloud_sources import CloudMapSource, Ec2Source, EcsSource, KubernetesSource
from epmdless.config.cluster import (
    ClusterSection,
    ClusterTlsSection,
    GroupLinkSection,
    GroupSection,
    ReadySection,
)
from epmdless.config.gateway import AllowSection, GatewaySection, GatewayTlsSection
from epmdless.config.hop import HopSection, HopTlsSection
from epmdless.config.publish import ALL_NODES, PublishSection, ServiceSection, is_service
from epmdless.config.relay import ControlSection, RelaySection, RuleSection, TransparentSection
from epmdless.config.route import RouteResolver, RouteSection
from epmdless.config.sections import (
    AccessSection,
    CaravanSection,
    EpmdSection,
    FixedSection,
    LogSection,
    MetricsSection,
    OffsetSection,
    PatternSection,
    ResolverName,
    ResolveSection,
    SchemeSection,
    SrvSection,
    SuffixSection,
)
from epmdless.config.sources import (
    CommandSource,
    DnsSource,
    EpmdSource,
    FileSource,
    GossipSource,
    SourceSection,
    StaticSource,
)
from epmdless.config.values import (
    MAX_DURATION,
    MAX_SIZE,
    Address,
    Duration,
    GrantPorts,
    HostPattern,
    HostPort,
    Port,
    PortRange,
    Section,
    Size,
)
from epmdless.config.whole import METRICS_PORT, Config, decode, listen_plan, to_plain

__all__ = [
    "ALL_NODES",
    "MAX_DURATION",
    "MAX_SIZE",
    "METRICS_PORT",
    "AccessSection",
    "Address",
    "AllowSection",
    "CaravanSection",
    "CloudMapSource",
    "ClusterSection",
    "ClusterTlsSection",
    "CommandSource",
    "Config",
    "ControlSection",
    "DnsSource",
    "Duration",
    "Ec2Source",
    "EcsSource",
    "EpmdSection",
    "EpmdSource",
    "FileSource",
    "FixedSection",
    "GatewaySection",
    "GatewayTlsSection",
    "GossipSource",
    "GrantPorts",
    "GroupLinkSection",
    "GroupSection",
    "HopSection",
    "HopTlsSection",
    "HostPattern",
    "HostPort",
    "KubernetesSource",
    "LogSection",
    "MetricsSection",
    "OffsetSection",
    "PatternSection",
    "Port",
    "PortRange",
    "PublishSection",
    "ReadySection",
    "RelaySection",
    "ResolveSection",
    "ResolverName",
    "RouteResolver",
    "RouteSection",
    "RuleSection",
    "SchemeSection",
    "Section",
    "ServiceSection",
    "Size",
    "SourceSection",
    "SrvSection",
    "StaticSource",
    "SuffixSection",
    "TransparentSection",
    "decode",
    "is_service",
    "listen_plan",
    "to_plain",
]
