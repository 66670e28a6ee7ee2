"""The zone that nodes are published in, at a real DNS server: Knot or BIND, from Debian."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsigkeyring
import dns.update

from bench.support import BenchError, free_port, running

ORIGIN = "nodes.internal"
HOST = "127.0.0.1"
KEY_NAME, KEY_ALGORITHM = "bench", "hmac-sha256"
KEY_SECRET = "YmVuY2htYXJrcyBoYXZlIG5vIHNlY3JldCB0byBrZWVw"
READY_LIMIT = 10.0
ANSWER_SECONDS = 2.0
UPDATE_SECONDS = 10.0
LOOK_SECONDS = 0.001
LONG_LOOK_SECONDS = 0.01
"""Between two questions that are some work to answer."""

ZONE_FILE = f"""\
$ORIGIN {ORIGIN}.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 5
@ NS ns
ns A {HOST}
"""

KNOT = """\
server:
    rundir: "{folder}"
    listen: {host}@{port}
database:
    storage: "{folder}/database"
key:
  - id: {key}
    algorithm: {algorithm}
    secret: {secret}
acl:
  - id: update
    key: {key}
    action: update
template:
  - id: default
    storage: "{folder}"
zone:
  - domain: {origin}
    file: zone
    acl: update
"""

BIND = """\
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
key "{key}" {{ algorithm {algorithm}; secret "{secret}"; }};
zone "{origin}" {{
    type primary;
    file "zone";
    update-policy {{ grant {key} zonesub ANY; }};
    max-records-per-type 2000;
}};
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A DNS server.

    :ivar words: after the program, before the configuration's path.
    """

    program: str
    package: str
    configuration: str
    words: tuple[str, ...]


KINDS = {
    "knot": Kind("knotd", "knot", KNOT, ("--config",)),
    "bind": Kind("named", "bind9", BIND, ("-4", "-f", "-n", "1", "-c")),
}


class Zone:
    """The zone at a server that answers, and questions to it.

    :ivar key_file: what signs updates.
    """

    def __init__(self, port: int, key_file: Path) -> None:
        self.port = port
        self.key_file = key_file

    def count(self, owner: str, rdtype: str = "SRV", *, is_long: bool = False) -> int:
        """How many records there are; -1: it does not answer.

        :param owner: a name below the zone.
        :param is_long: the answer may be longer than a datagram.
        """
        name = dns.name.from_text(owner, dns.name.from_text(ORIGIN))
        query = dns.message.make_query(name, dns.rdatatype.from_text(rdtype)).to_wire()
        try:
            reply = self._ask_tcp(query) if is_long else self._ask_udp(query)
        except OSError:
            return -1
        is_answer = len(reply) >= 12 and reply[:2] == query[:2] and reply[3] & 0x0F in (0, 3)
        return int.from_bytes(reply[6:8], "big") if is_answer else -1

    def wait_for(self, owner: str, count: int, limit: float, *, is_long: bool = False) -> float:
        """Wait until a name has just so many SRV records; when that was, by ``perf_counter``.

        :param limit: seconds.
        :raises BenchError: it has not by then.
        """
        end = time.perf_counter() + limit
        while (found := self.count(owner, is_long=is_long)) != count:
            if time.perf_counter() > end:
                raise BenchError(f"{owner} has {found} records, not {count}, after {limit:g} s")
            time.sleep(LONG_LOOK_SECONDS if is_long else LOOK_SECONDS)
        return time.perf_counter()

    def update(self, owner: str, *, is_there: bool) -> float:
        """Have a name have an address or not, by one update; the seconds that it took. Raises BenchError."""
        keys = dns.tsigkeyring.from_text({KEY_NAME: KEY_SECRET})
        update = dns.update.UpdateMessage(ORIGIN, keyring=keys, keyalgorithm=KEY_ALGORITHM)
        if is_there:
            update.add(owner, 10, "A", HOST)
        else:
            update.delete(owner)
        begun = time.perf_counter()
        try:
            answer = dns.query.tcp(update, HOST, port=self.port, timeout=UPDATE_SECONDS)
        except (OSError, dns.exception.DNSException) as error:
            raise BenchError(f"no update: {error}") from None
        if answer.rcode() != dns.rcode.NOERROR:
            raise BenchError(f"no update: {dns.rcode.to_text(answer.rcode())}")
        return time.perf_counter() - begun

    def _ask_udp(self, query: bytes) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect((HOST, self.port))
            asking.send(query)
            return asking.recv(65536)

    def _ask_tcp(self, query: bytes) -> bytes:
        with socket.create_connection((HOST, self.port), timeout=ANSWER_SECONDS) as asking:
            asking.sendall(len(query).to_bytes(2, "big") + query)
            with asking.makefile("rb") as stream:
                return stream.read(int.from_bytes(stream.read(2), "big"))


@contextmanager
def serving_zone(label: str, folder: Path, core: int | None) -> Iterator[Zone]:
    """The zone at a server of this kind, until the block ends.

    :param label: of ``KINDS``.
    :param folder: for its files; empty.
    :raises BenchError: it is not there, or does not answer.
    """
    kind = KINDS[label]
    found = shutil.which(kind.program)
    if found is None:
        raise BenchError(f"{kind.program} is needed (Debian package {kind.package})")
    # AppArmor's profile, where there is one, is the path's: what is there may read no folder of ours.
    program = folder / kind.program
    shutil.copy(found, program)
    port = free_port()
    (folder / "zone").write_text(ZONE_FILE)
    (folder / "database").mkdir()
    key_file = folder / "key"
    key_file.touch(0o600)
    key_file.write_text(f'key "{KEY_NAME}" {{ algorithm {KEY_ALGORITHM}; secret "{KEY_SECRET}"; }};\n')
    configuration = folder / "configuration"
    configuration.write_text(
        kind.configuration.format(
            folder=folder,
            host=HOST,
            port=port,
            origin=ORIGIN,
            key=KEY_NAME,
            algorithm=KEY_ALGORITHM,
            secret=KEY_SECRET,
        )
    )
    with (
        (folder / "log").open("wb") as log,
        running(
            [str(program), *kind.words, str(configuration)], core=core, stdout=log, stderr=log
        ) as process,
    ):
        zone = Zone(port, key_file)
        _wait_until_ready(zone, process, folder / "log")
        yield zone


def _wait_until_ready(zone: Zone, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_LIMIT
    while zone.count("ns", "A") != 1:
        if process.poll() is not None or time.monotonic() > end:
            raise BenchError(f"the DNS server does not answer: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(LOOK_SECONDS)
