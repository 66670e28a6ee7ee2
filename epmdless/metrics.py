"""Every counter, gauge and histogram of epmdless, declared in one table.

The store holds plain numbers, since an increment stands in the path of each lookup; what serves them
to Prometheus is in ``epmdless.net.status``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a metric is, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A row of the table; `labels` are the names of its labels, in the order of its values.

    Compared by identity: hashing four fields at each increment took a microsecond.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


LATENCY_BOUNDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Upper bounds of the latency buckets in seconds: a lookup takes 0.1 ms, a DNS time-out seconds."""

LOOKUPS = Metric(
    "epmdless_lookups_total",
    Kind.COUNTER,
    "PORT_PLEASE2 requests answered, by the resolver that ended the search and its outcome",
    ("resolver", "outcome"),
)
REQUESTS = Metric(
    "epmdless_requests_total", Kind.COUNTER, "Well-formed requests other than lookups, by opcode", ("opcode",)
)
MALFORMED = Metric(
    "epmdless_malformed_total",
    Kind.COUNTER,
    "Connections closed without a reply because of what they sent, by reason",
    ("reason",),
)
REGISTRATIONS = Metric("epmdless_registrations_total", Kind.COUNTER, "Registrations granted")
REFUSALS = Metric(
    "epmdless_refusals_total", Kind.COUNTER, "Requests refused, by opcode and reason", ("opcode", "reason")
)
MISMATCHES = Metric(
    "epmdless_scheme_mismatches_total", Kind.COUNTER, "Registrations with a port that the scheme contradicts"
)
EVICTIONS = Metric(
    "epmdless_connections_closed_total",
    Kind.COUNTER,
    "Connections closed by the server before they were served, by reason",
    ("reason",),
)
ACCEPT_ERRORS = Metric(
    "epmdless_accept_errors_total", Kind.COUNTER, "Failed accepts by the kernel's error name", ("error",)
)
DNS_QUESTIONS = Metric(
    "epmdless_dns_questions_total", Kind.COUNTER, "SRV questions sent, by how they ended", ("result",)
)
DNS_CACHE = Metric(
    "epmdless_dns_cache_total",
    Kind.COUNTER,
    "SRV lookups by how the cache served them: hit, miss, shared, stale, full",
    ("result",),
)
INTERNAL_ERRORS = Metric(
    "epmdless_internal_errors_total", Kind.COUNTER, "Faults of epmdless itself; please report them"
)
LOG_LINES_LOST = Metric("epmdless_log_lines_lost_total", Kind.COUNTER, "Log lines that stderr did not take")
REGISTERED = Metric("epmdless_registered_nodes", Kind.GAUGE, "Nodes registered now")
CONNECTIONS = Metric(
    "epmdless_open_connections", Kind.GAUGE, "Connections open now that are not registrations"
)
DESCRIPTOR_LIMIT = Metric("epmdless_descriptor_limit", Kind.GAUGE, "The limit on file descriptors in force")
DNS_CACHED = Metric("epmdless_dns_cache_entries", Kind.GAUGE, "Answers in the SRV cache now")
LOOKUP_SECONDS = Metric(
    "epmdless_lookup_seconds", Kind.HISTOGRAM, "From a whole lookup request to its reply, in seconds"
)
DNS_SECONDS = Metric("epmdless_dns_seconds", Kind.HISTOGRAM, "Duration of SRV questions in seconds")
LINKS_ENDED = Metric(
    "epmdless_links_ended_total", Kind.COUNTER, "Links that ended, by how: the end codes", ("end",)
)
LINK_BYTES = Metric(
    "epmdless_link_bytes_total", Kind.COUNTER, "Bytes carried by established links", ("direction",)
)
LINK_FRAMES = Metric(
    "epmdless_link_frames_total", Kind.COUNTER, "Frames carried that are no ticks", ("direction",)
)
LINK_TICKS = Metric("epmdless_link_ticks_total", Kind.COUNTER, "Ticks carried", ("direction",))
FAR_QUESTIONS = Metric(
    "epmdless_far_epmd_questions_total",
    Kind.COUNTER,
    "Questions to far EPMD servers, by outcome",
    ("result",),
)
ON_DEMAND = Metric(
    "epmdless_relay_ports_opened_total", Kind.COUNTER, "Ports opened on demand, by outcome", ("result",)
)
LINKS = Metric("epmdless_links", Kind.GAUGE, "Links established now")
HANDSHAKES = Metric("epmdless_link_handshakes", Kind.GAUGE, "Links that are being set up now")
RELAY_PORTS = Metric("epmdless_relay_ports", Kind.GAUGE, "Ports that the relay listens on now")
RELAY_PIPES = Metric("epmdless_relay_pipes", Kind.GAUGE, "Pipes that bulk flows use now")
SETUP_SECONDS = Metric(
    "epmdless_link_setup_seconds", Kind.HISTOGRAM, "From a link's accept to its established state, in seconds"
)
DIAL_SECONDS = Metric("epmdless_link_dial_seconds", Kind.HISTOGRAM, "Duration of successful dials in seconds")
TUNNELS = Metric(
    "epmdless_tunnels_total",
    Kind.COUNTER,
    "Tunnels asked for through a hop, by outcome: opened, or what was wrong",
    ("hop", "result"),
)
HOP_TUNNELS = Metric(
    "epmdless_hop_tunnels",
    Kind.GAUGE,
    "Tunnels through a gateway now, as the near side sees it",
    ("hop", "gateway"),
)
HOP_READY = Metric("epmdless_hop_ready", Kind.GAUGE, "Ready connections to a gateway now", ("hop", "gateway"))
GATEWAY_UP = Metric(
    "epmdless_hop_gateway_up", Kind.GAUGE, "1, or 0 while a gateway is set aside", ("hop", "gateway")
)
CERTIFICATE_END = Metric(
    "epmdless_certificate_end_timestamp",
    Kind.GAUGE,
    "When the certificate of a role ends, in seconds since 1970",
    ("role",),
)
GATEWAY_CONNECTIONS = Metric(
    "epmdless_gateway_connections",
    Kind.GAUGE,
    "Connections to the gateway now, by state: handshake, ready, tunnel",
    ("state",),
)
GATEWAY_REQUESTS = Metric(
    "epmdless_gateway_requests_total", Kind.COUNTER, "Requests to the gateway, by status", ("status",)
)
GATEWAY_CLOSED = Metric(
    "epmdless_gateway_closed_total",
    Kind.COUNTER,
    "Connections that the gateway closed without a tunnel, by reason",
    ("reason",),
)
CLUSTER_NODES = Metric(
    "epmdless_cluster_nodes",
    Kind.GAUGE,
    "Local nodes that are to be joined, by state: linked (we can talk to them), waiting",
    ("state",),
)
CLUSTER_PEERS = Metric(
    "epmdless_cluster_peers",
    Kind.GAUGE,
    "Pairs of a local node and a peer that it shall be connected to, by state: wanted (all), connected",
    ("group", "state"),
)
CLUSTER_FAILING = Metric(
    "epmdless_cluster_failing", Kind.GAUGE, "Wanted pairs that are not connected, by reason", ("reason",)
)
CLUSTER_JOINS = Metric(
    "epmdless_cluster_joins_total",
    Kind.COUNTER,
    "Connections that local nodes were told to make, by result",
    ("result",),
)
CLUSTER_DISCONNECTS = Metric(
    "epmdless_cluster_disconnects_total", Kind.COUNTER, "Peers that local nodes were told to disconnect"
)
CLUSTER_NODE_LINKS = Metric(
    "epmdless_cluster_node_links_total",
    Kind.COUNTER,
    "Our own hidden connections to local nodes, by how they came out",
    ("result",),
)
CLUSTER_SOURCE_AGE = Metric(
    "epmdless_cluster_source_age_seconds",
    Kind.GAUGE,
    "Seconds since a source last said who is there",
    ("source",),
)
CLUSTER_SOURCE_NAMES = Metric(
    "epmdless_cluster_source_names", Kind.GAUGE, "Names in the last list of a source", ("source",)
)
CLUSTER_SOURCE_ANSWERS = Metric(
    "epmdless_cluster_source_answers_total",
    Kind.COUNTER,
    "What a source said: known, or why it did not know",
    ("source", "result"),
)
CLUSTER_LEFT_OUT = Metric(
    "epmdless_cluster_names_left_out_total",
    Kind.COUNTER,
    "Names that a source said and that are not used, by reason",
    ("reason",),
)
GOSSIP_PACKETS = Metric(
    "epmdless_cluster_gossip_packets_total",
    Kind.COUNTER,
    "Gossip packets: sent, taken, or why they were thrown away",
    ("result",),
)
PUBLISH_NODES = Metric(
    "epmdless_publish_nodes",
    Kind.GAUGE,
    "Registered nodes that are to be published, by state: published, pending, left_out",
    ("state",),
)
PUBLISH_RECORDS = Metric("epmdless_publish_records", Kind.GAUGE, "Records of ours that are in the zone")
PUBLISH_UPDATES = Metric(
    "epmdless_publish_updates_total",
    Kind.COUNTER,
    "Updates of the zone, by result: done, or why not",
    ("result",),
)
PUBLISH_SWEPT = Metric(
    "epmdless_publish_swept_total", Kind.COUNTER, "Nodes of dead hosts that were taken out of the zone"
)
PUBLISH_AGE = Metric(
    "epmdless_publish_age_seconds", Kind.GAUGE, "Seconds since the zone last held all that it should"
)

TABLE: tuple[Metric, ...] = (
    LOOKUPS,
    REQUESTS,
    MALFORMED,
    REGISTRATIONS,
    REFUSALS,
    MISMATCHES,
    EVICTIONS,
    ACCEPT_ERRORS,
    DNS_QUESTIONS,
    DNS_CACHE,
    INTERNAL_ERRORS,
    LOG_LINES_LOST,
    REGISTERED,
    CONNECTIONS,
    DESCRIPTOR_LIMIT,
    DNS_CACHED,
    LOOKUP_SECONDS,
    DNS_SECONDS,
    LINKS_ENDED,
    LINK_BYTES,
    LINK_FRAMES,
    LINK_TICKS,
    FAR_QUESTIONS,
    ON_DEMAND,
    LINKS,
    HANDSHAKES,
    RELAY_PORTS,
    RELAY_PIPES,
    SETUP_SECONDS,
    DIAL_SECONDS,
    TUNNELS,
    HOP_TUNNELS,
    HOP_READY,
    GATEWAY_UP,
    CERTIFICATE_END,
    GATEWAY_CONNECTIONS,
    GATEWAY_REQUESTS,
    GATEWAY_CLOSED,
    CLUSTER_NODES,
    CLUSTER_PEERS,
    CLUSTER_FAILING,
    CLUSTER_JOINS,
    CLUSTER_DISCONNECTS,
    CLUSTER_NODE_LINKS,
    CLUSTER_SOURCE_AGE,
    CLUSTER_SOURCE_NAMES,
    CLUSTER_SOURCE_ANSWERS,
    CLUSTER_LEFT_OUT,
    GOSSIP_PACKETS,
    PUBLISH_NODES,
    PUBLISH_RECORDS,
    PUBLISH_UPDATES,
    PUBLISH_SWEPT,
    PUBLISH_AGE,
)


class Histogram:
    """Counts of observations by bucket, and their sum in seconds."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.buckets[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.total += seconds


class Metrics:
    """The values of one process.

    Label values come from epmdless or its configuration, never from the network: the number of series is
    bounded.
    """

    def __init__(self) -> None:
        self._counters: dict[tuple[Metric, tuple[str, ...]], int] = {}
        self._tallies: dict[tuple[Metric, tuple[str, ...]], Callable[[], int]] = {}
        self._gauges: dict[tuple[Metric, tuple[str, ...]], Callable[[], float]] = {}
        self._histograms = {metric: Histogram() for metric in TABLE if metric.kind is Kind.HISTOGRAM}

    def count(self, metric: Metric, *labels: str) -> None:
        """Add one to a counter; `labels` are its label values in the table's order."""
        key = (metric, labels)
        self._counters[key] = self._counters.get(key, 0) + 1

    def tally(self, metric: Metric, labels: tuple[str, ...], read: Callable[[], int]) -> None:
        """Say how a counter is read when somebody asks: one that is kept elsewhere anyway."""
        self._tallies[metric, labels] = read

    def gauge(self, metric: Metric, read: Callable[[], float], labels: tuple[str, ...] = ()) -> None:
        """Say how a gauge is read when somebody asks."""
        self._gauges[metric, labels] = read

    def forget(self, metric: Metric, labels: tuple[str, ...]) -> None:
        """Show a gauge no more: what it was about is gone."""
        self._gauges.pop((metric, labels), None)

    def histogram(self, metric: Metric) -> Histogram:
        """The histogram of this metric, to observe into."""
        return self._histograms[metric]

    def value(self, metric: Metric, *labels: str) -> float:
        """A counter's or gauge's value now; 0 where it was never counted."""
        if metric.kind is Kind.GAUGE:
            read = self._gauges.get((metric, labels))
            return read() if read else 0
        read_count = self._tallies.get((metric, labels))
        return read_count() if read_count else self._counters.get((metric, labels), 0)

    def samples(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], float]]:
        """(label values, value) of a counter or gauge; one without labels always has a sample."""
        if not metric.labels:
            yield (), self.value(metric)
            return
        kept = {*self._counters, *self._tallies, *self._gauges}
        for labels in sorted(labels for declared, labels in kept if declared is metric):
            yield labels, self.value(metric, *labels)
