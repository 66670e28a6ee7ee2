"""The configuration's shape, and how text becomes it.

TOML is decoded into frozen structures that reject unknown keys; everything is checked before any
socket is bound. A mistake is one :class:`ConfigError` that names the file, the dotted key and what is
allowed. Nothing here opens a file: the caller hands over text.
"""

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
from epmdless.config.values import MAX_DURATION, Address, Duration, Port, PortRange, Section
from epmdless.config.whole import METRICS_PORT, Config, decode, listen_plan, to_plain

__all__ = [
    "MAX_DURATION",
    "METRICS_PORT",
    "AccessSection",
    "Address",
    "CaravanSection",
    "Config",
    "ControlSection",
    "Duration",
    "EpmdSection",
    "FixedSection",
    "LogSection",
    "MetricsSection",
    "OffsetSection",
    "PatternSection",
    "Port",
    "PortRange",
    "RelaySection",
    "ResolveSection",
    "ResolverName",
    "RouteResolver",
    "RouteSection",
    "RuleSection",
    "SchemeSection",
    "Section",
    "SrvSection",
    "SuffixSection",
    "TransparentSection",
    "decode",
    "listen_plan",
    "to_plain",
]
