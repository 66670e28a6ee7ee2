"""Real DNS servers on loopback, each with a zone that the test gives, at a port that the kernel chose."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.support.deadline import DeadlineError, eventually
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.tools import clean_env, require

HOST: Final = "127.0.0.1"
READY_WITHIN = 10.0

KNOT_CONFIGURATION = """\
server:
    rundir: "{folder}"
    listen: {host}@{port}
log:
  - target: stderr
    any: info
database:
    storage: "{folder}/database"
template:
  - id: default
    storage: "{folder}"
zone:
  - domain: {origin}
    file: zone
"""

ZONE_HEAD = """\
$ORIGIN {origin}
$TTL {ttl}
@ SOA ns.{origin} hostmaster.{origin} {serial} 3600 600 86400 {negative_ttl}
@ NS ns
ns A 127.0.0.1
"""


@dataclass
class DnsServer:
    """A DNS server at 127.0.0.1:`port`, over UDP and TCP.

    `rewrite` is knot's: it puts other records into the zone's file; SIGHUP has it read.
    """

    port: int
    program: Program
    rewrite: Callable[[Sequence[str]], None] = lambda _: None


@contextmanager
def knot(
    records: Sequence[str], *, origin: str = "nodes.internal.", ttl: int = 60, negative_ttl: int = 30
) -> Iterator[DnsServer]:
    """Run knotd, authoritative for one zone.

    records: lines of a zone file, relative to `origin`; SOA and NS are added. The TTLs are in seconds.
    """
    program = require("knotd", "knot")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="knot-") as name:
        folder = Path(name)
        serials = count(1)

        def rewrite(records: Sequence[str]) -> None:
            head = ZONE_HEAD.format(origin=origin, ttl=ttl, negative_ttl=negative_ttl, serial=next(serials))
            (folder / "zone").write_text(head + "\n".join(records) + "\n")

        rewrite(records)
        configuration = folder / "knot.conf"
        configuration.write_text(
            KNOT_CONFIGURATION.format(folder=folder, host=HOST, port=port, origin=origin)
        )
        with _serving([program, "--config", str(configuration)], port, f"ns.{origin}") as server:
            server.rewrite = rewrite
            yield server


@contextmanager
def dnsmasq(*flags: str) -> Iterator[DnsServer]:
    """Run dnsmasq with the records of `flags`, like `--srv-host=_a._tcp.nodes.internal,b1.internal,9001`."""
    program = require("dnsmasq", "dnsmasq-base")
    port = free_port()
    argv = [program, "--no-daemon", "--conf-file=/dev/null", f"--port={port}", f"--listen-address={HOST}"]
    argv += ["--bind-interfaces", "--no-resolv", "--no-hosts", "--pid-file=", "--user="]
    argv += ["--address=/ready.test/127.0.0.1", *flags]
    with _serving(argv, port, "ready.test.") as server:
        yield server


@contextmanager
def _serving(argv: Sequence[str], port: int, probe: str) -> Iterator[DnsServer]:
    """Run a server until the context ends; it is ready when it knows an address of `probe`."""
    with Program(argv, env=clean_env()) as program:
        try:
            eventually(lambda: program.ended or _knows(port, probe), within=READY_WITHIN, what="a DNS answer")
        except DeadlineError as error:
            raise AssertionError(f"{error}\n{program.report()}") from error
        if program.ended:
            raise AssertionError(f"ended before it answered: {program.report()}")
        yield DnsServer(port, program)


def _knows(port: int, name: str) -> bool:
    query = dns.message.make_query(name, "A")
    try:
        answer = dns.query.udp(query, HOST, timeout=0.2, port=port)
    except (OSError, dns.exception.DNSException):
        return False
    return answer.rcode() == dns.rcode.NOERROR and bool(answer.answer)
