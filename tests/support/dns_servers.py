"""Real DNS servers on loopback, each with a zone that the test gives, at a port that the kernel chose."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
{key}template:
  - id: default
    storage: "{folder}"
{acl}zone:
  - domain: {origin}
    file: zone
"""

KNOT_KEY = """\
key:
  - id: {name}
    algorithm: {algorithm}
    secret: {secret}
acl:
  - id: update
    key: {name}
    action: update
"""

NAMED_CONFIGURATION = """\
options {{
    directory "{folder}";
    listen-on port {port} {{ {host}; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile none;
    recursion no;
    notify no;
    dnssec-validation no;
}};
controls {{ }};
key "{name}" {{ algorithm {algorithm}; secret "{secret}"; }};
zone "{origin}" {{ type primary; file "zone"; update-policy {{ grant {name} zonesub ANY; }}; }};
"""

ZONE_HEAD = """\
$ORIGIN {origin}
$TTL {ttl}
@ SOA ns.{origin} hostmaster.{origin} {serial} 3600 600 86400 {negative_ttl}
@ NS ns
ns A 127.0.0.1
"""


@dataclass(frozen=True, slots=True)
class UpdateKey:
    """A TSIG key by which a zone may be updated."""

    name: str = "update-key"
    algorithm: str = "hmac-sha256"
    secret: str = "ZXBtZGxlc3MgdGVzdHMgdXNlIHRoaXMgc2VjcmV0IQ=="

    def file(self, path: Path) -> Path:
        """Write it as `tsig-keygen` prints it, for its owner alone."""
        path.touch(mode=0o600)
        path.write_text(
            f'key "{self.name}" {{\n\talgorithm {self.algorithm};\n\tsecret "{self.secret}";\n}};\n'
        )
        return path


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
    records: Sequence[str],
    *,
    origin: str = "nodes.internal.",
    ttl: int = 60,
    negative_ttl: int = 30,
    key: UpdateKey | None = None,
) -> Iterator[DnsServer]:
    """Run knotd, authoritative for one zone.

    records: lines of a zone file, relative to `origin`; SOA and NS are added. The TTLs are in seconds. With
    `key`, the zone takes updates that it signed.
    """
    program = require("knotd", "knot")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="knot-") as name:
        folder = Path(name)
        (folder / "database").mkdir()  # knotd makes none itself, and refuses updates without
        serials = count(1)

        def rewrite(records: Sequence[str]) -> None:
            head = ZONE_HEAD.format(origin=origin, ttl=ttl, negative_ttl=negative_ttl, serial=next(serials))
            (folder / "zone").write_text(head + "\n".join(records) + "\n")

        rewrite(records)
        configuration = folder / "knot.conf"
        configuration.write_text(
            KNOT_CONFIGURATION.format(
                folder=folder,
                host=HOST,
                port=port,
                origin=origin,
                key=KNOT_KEY.format(**asdict(key)) if key else "",
                acl="    acl: update\n" if key else "",
            )
        )
        with serving([program, "--config", str(configuration)], port, f"ns.{origin}") as server:
            server.rewrite = rewrite
            yield server


@contextmanager
def bind(key: UpdateKey, *, origin: str = "nodes.internal.", ttl: int = 60) -> Iterator[DnsServer]:
    """Run named, authoritative for one zone that takes updates which `key` signed. The TTL is in seconds."""
    program = require("named", "bind9")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="named-") as name:
        folder = Path(name)
        # AppArmor's profile, where there is one, is the path's: what is there may read no folder of ours.
        copy = folder / "named"
        shutil.copy(program, copy)
        head = ZONE_HEAD.format(origin=origin, ttl=ttl, negative_ttl=30, serial=1)
        (folder / "zone").write_text(head)
        configuration = folder / "named.conf"
        configuration.write_text(
            NAMED_CONFIGURATION.format(folder=folder, host=HOST, port=port, origin=origin, **asdict(key))
        )
        with serving(
            [str(copy), "-4", "-g", "-n", "1", "-c", str(configuration)], port, f"ns.{origin}"
        ) as server:
            yield server


@contextmanager
def dnsmasq(*flags: str) -> Iterator[DnsServer]:
    """Run dnsmasq with the records of `flags`, like `--srv-host=_a._tcp.nodes.internal,b1.internal,9001`."""
    program = require("dnsmasq", "dnsmasq-base")
    port = free_port()
    argv = [program, "--no-daemon", "--conf-file=/dev/null", f"--port={port}", f"--listen-address={HOST}"]
    argv += ["--bind-interfaces", "--no-resolv", "--no-hosts", "--pid-file=", "--user="]
    argv += ["--address=/ready.test/127.0.0.1", *flags]
    with serving(argv, port, "ready.test.") as server:
        yield server


@contextmanager
def serving(argv: Sequence[str], port: int, probe: str) -> Iterator[DnsServer]:
    """Run a server on this port of 127.0.0.1 until the context ends.

    It is ready when it knows an address of `probe`.
    """
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
