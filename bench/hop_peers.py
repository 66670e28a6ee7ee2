"""What is measured in the middle: a pair with TLS between its two ends, or epmdless alone.

NEAR:PORT is carried to FAR:PORT by a process at the near end and one at the far end, which listens at
GATEWAY:PORT for the near one only: TLS 1.3, one cipher, a certificate on both ends. Settings that are not
the default say what they are for.

On hosts of their own, each end has its own cores, and shares them with the nodes there. So here by default
all that is at the near end has one core, and all that is at the far end has the other; HAProxy makes a thread
for each core that it may use, so it has one there.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import relay_peers
from bench.hop_certificates import CIPHER, FAR_NAME, NEAR_NAME, Certificates, certificates_in, check_encrypted
from bench.relay_generator import FAR, NEAR, Way
from bench.relay_peers import DIRECT, OURS, SERVE, Place, found, free_ports, started
from bench.support import Cores

GATEWAY = "127.0.0.4"
"""Where the far process listens for the near one."""
SECOND_GATEWAY = "127.0.0.5"
"""Of the other far process, where there are two."""

EPMDLESS_NEAR = """\
[epmd]
listen = []

[relay]
epmd_port = {epmd_port}
max_links = 20000
max_links_per_address = 20000

[[relay.route]]
host = "{near}"
listen = "{near}"
dial = "{far}"
ports = ["{port}"]
via = "b"

[hop.b]
gateways = [{gateways}]
balance = "least_loaded"
{near_tls}

[control]
socket = "{folder}/near.sock"
"""
"""The limits are raised because all near nodes have one address here; all else is as installed. The balance
matters only where there are two gateways."""

NEAR_TLS = """
[hop.b.tls]
cert = "{certificate}"
key = "{key}"
ca = "{authority}"
server_name = "{other_name}"
"""

EPMDLESS_FAR = """\
[epmd]
listen = []

[gateway]
listen = "{gateway}:{port}"
max_connections = 20000
max_tunnels_per_client = 20000
max_requests_per_second = 100000
{far_tls}

[[gateway.allow]]
client = "{client}"
hosts = ["127.0.0.0/8"]
ports = [{port}]

[control]
socket = "{folder}/{gateway}.sock"
"""
"""The limits are raised because there is one client. Loopback is denied unless it is named."""

FAR_TLS = """
[gateway.tls]
cert = "{certificate}"
key = "{key}"
ca = "{authority}"
"""

HAPROXY = """\
global
    maxconn 5000
    tune.bufsize {buffer}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    balance leastconn
    option redispatch 1
listen middle
    bind {listen} backlog 4096 {bind_tls}
    {servers}
"""
"""maxconn: what 20,000 descriptors allow. The balance and `redispatch` (the next server at the first refusal)
matter only where there are two far ends."""

HAPROXY_BUFFER = "65536"
"""Bytes. The default, 16384, gave bulk a fifth less here; 262144 gave no more than this, and small messages
go as fast with each of them."""

HAPROXY_TLS = "ssl crt {both} ca-file {authority} verify required ssl-min-ver TLSv1.3 ciphersuites {cipher}"
HAPROXY_CHECKS = f"verifyhost {FAR_NAME} sni str({FAR_NAME})"
"""More for the near end, which knows whom it dials."""

STUNNEL = """\
foreground = yes
pid =
syslog = no
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[middle]
client = {client}
accept = {listen}
connect = {connect}
cert = {certificate}
key = {key}
CAfile = {authority}
verifyChain = yes
checkHost = {other_name}
sslVersion = TLSv1.3
ciphersuites = {cipher}
"""
"""TCP_NODELAY is not stunnel's default, and it is what all others set. stunnel has a thread for each link."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a pair runs, and which files it presents."""

    place: Place
    certificates: Certificates
    gateways: tuple[str, ...] = (GATEWAY,)
    """Addresses of the far processes."""

    def filled(self, template: str, own: str, other: str, **more: str) -> str:
        """`template` for the end whose certificate says `own`."""
        files = {
            "certificate": str(self.certificates.certificate(own)),
            "key": str(self.certificates.key(own)),
            "both": str(self.certificates.both(own)),
            "authority": str(self.certificates.authority),
        }
        return self.place.filled(template, other_name=other, cipher=CIPHER, **files, **more)

    def near(self, template: str, **more: str) -> str:
        """`template` for the near end."""
        return self.filled(template, NEAR_NAME, FAR_NAME, **more)

    def far(self, template: str, **more: str) -> str:
        """`template` for the far end."""
        return self.filled(template, FAR_NAME, NEAR_NAME, **more)

    def at(self, address: str) -> str:
        """ADDRESS:PORT."""
        return f"{address}:{self.place.port}"


@dataclass(frozen=True, slots=True)
class Pair:
    """How the two ends of a pair are started."""

    near: Callable[[Ends], list[str]]
    """The command of the near end."""
    far: Callable[[Ends, str], list[str]]
    """The command of the far end that listens at the address given."""
    encrypted: bool = True


# ---- the commands ----


def _epmdless_near(ends: Ends, encrypted: bool) -> list[str]:
    gateways = ", ".join(f'"{ends.at(gateway)}"' for gateway in ends.gateways)
    tls = ends.near(NEAR_TLS) if encrypted else "tls = false"
    config = ends.near(EPMDLESS_NEAR, gateways=gateways, near_tls=tls)
    return [*SERVE, ends.place.written("near.toml", config)]


def _epmdless_far(ends: Ends, address: str, encrypted: bool) -> list[str]:
    tls = ends.far(FAR_TLS) if encrypted else "tls = false"
    client = NEAR_NAME if encrypted else "127.*"
    config = ends.far(EPMDLESS_FAR, gateway=address, far_tls=tls, client=client)
    return [*SERVE, ends.place.written(f"{address}.toml", config)]


def _haproxy_near(ends: Ends) -> list[str]:
    tls = f"{ends.near(HAPROXY_TLS)} {HAPROXY_CHECKS}"
    servers = [f"server far{number} {ends.at(each)} {tls}" for number, each in enumerate(ends.gateways)]
    return _haproxy(ends, "near", listen=ends.at(NEAR), bind_tls="", servers="\n    ".join(servers))


def _haproxy_far(ends: Ends, address: str) -> list[str]:
    node = f"server node {ends.at(FAR)}"
    return _haproxy(ends, address, listen=ends.at(address), bind_tls=ends.far(HAPROXY_TLS), servers=node)


def _haproxy(ends: Ends, name: str, **facts: str) -> list[str]:
    config = ends.place.filled(HAPROXY, buffer=HAPROXY_BUFFER, **facts)
    return [found("haproxy"), "-db", "-f", ends.place.written(f"{name}.cfg", config)]


def _stunnel_near(ends: Ends) -> list[str]:
    config = ends.near(STUNNEL, client="yes", listen=ends.at(NEAR), connect=ends.at(ends.gateways[0]))
    return [found("stunnel4"), ends.place.written("near.conf", config)]


def _stunnel_far(ends: Ends, address: str) -> list[str]:
    config = ends.far(STUNNEL, client="no", listen=ends.at(address), connect=ends.at(FAR))
    return [found("stunnel4"), ends.place.written(f"{address}.conf", config)]


PLAIN = "epmdless-plain"
"""epmdless with `tls = false` on both ends."""
HAPROXY_PAIR, STUNNEL_PAIR = "haproxy", "stunnel"
RELAY = "relay"
"""epmdless' relay alone, which dials FAR itself."""

PAIRS = {
    OURS: Pair(partial(_epmdless_near, encrypted=True), partial(_epmdless_far, encrypted=True)),
    HAPROXY_PAIR: Pair(_haproxy_near, _haproxy_far),
    STUNNEL_PAIR: Pair(_stunnel_near, _stunnel_far),
    PLAIN: Pair(
        partial(_epmdless_near, encrypted=False), partial(_epmdless_far, encrypted=False), encrypted=False
    ),
}

LABELS = (DIRECT, *PAIRS, RELAY)
"""All ways, in the order of the tables."""
REFERENCES = (DIRECT, PLAIN, RELAY)
"""Those that do not encrypt."""


# ---- the ways ----


@contextmanager
def way(label: str, cores: Cores) -> Iterator[Way]:
    """The way called `label`, one of LABELS, listening already.

    The near end is on `cores.generator`, where the near node is, the far end on `cores.server`.
    """
    if label in PAIRS:
        with pair(label, cores) as (found_way, _):
            yield found_way
        return
    at_near_end = Cores(cores.generator, cores.server)
    with relay_peers.way(OURS if label == RELAY else label, at_near_end) as single:
        yield replace(single, label=label)


@contextmanager
def pair(
    label: str, cores: Cores, gateways: tuple[str, ...] = (GATEWAY,)
) -> Iterator[tuple[Way, dict[str, int]]]:
    """The pair called `label`, checked to be encrypted if it has to be; and its far processes by address."""
    with tempfile.TemporaryDirectory(prefix="epmdless-bench-") as name, ExitStack() as stack:
        port, epmd_port = free_ports(2, (NEAR, FAR, *gateways))
        ends = Ends(Place(Path(name), port, epmd_port), certificates_in(Path(name)), gateways)
        far = {
            address: stack.enter_context(
                _process(label, PAIRS[label].far(ends, address), ends, address, cores.server)
            )
            for address in gateways
        }
        near = stack.enter_context(_process(label, PAIRS[label].near(ends), ends, NEAR, cores.generator))
        if PAIRS[label].encrypted:
            with socket.create_server((FAR, port)):
                for address in gateways:
                    check_encrypted((address, port), ends.certificates)
        yield Way(label, port, (near, *far.values())), far


@contextmanager
def _process(label: str, command: list[str], ends: Ends, address: str, core: int | None) -> Iterator[int]:
    log, listens = ends.place.folder / f"{address}.log", (address, ends.place.port)
    with started(f"{label} at {address}", command, listens, core, log) as process_id:
        yield process_id
