"""README's page "Publish in DNS", as a reader would do it: a zone of BIND or Knot, a host, and another one.

What is not README's: folders, ports, loopback in place of the server's address, and in place of a default
route the address that README shows.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.cli import within
from tests.support.deadline import eventually
from tests.support.dns_servers import HOST, DnsServer, serving
from tests.support.epmd_client import Registration, lookup
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.servers import OUR_SERVE, answers
from tests.support.tools import clean_env, require

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("ours_only")]

README = (Path(__file__).parents[2] / "README.md").read_text()
PAGE = re.search(r"^## Publish in DNS$.*?(?=^## )", README, re.MULTILINE | re.DOTALL)[0]  # type: ignore[index]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGING = re.compile(r"\d+s\b")
"""Ages, and what is left of a lease."""

PRIMARY, TARGET = "10.0.0.2", "10.0.1.23"
"""README's addresses: of the zone's server, and of the host that publishes."""

NODE, HOST_NAME = "shop-9001@b1.nodes.internal", "b1.nodes.internal"

FOLDERS = re.compile(r"/etc/(?:bind|knot|epmdless)\b|/var/lib/(?:bind|knot)\b")

NAMED = """
options {{ directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    pid-file none; session-keyfile none; }};
controls {{ }};
"""

KNOT = """
server:
    rundir: {folder}
    listen: 127.0.0.1@{port}
database:
    storage: {folder}
"""


def blocks(heading: str, end: str = "^### ") -> list[str]:
    """What stands between fences under a heading of the page, in its order."""
    part = re.split(end, PAGE.partition(heading)[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [text for _, text in BLOCK.findall(part)]


@dataclass
class Reader:
    """Who follows the page, in one folder, with a server on one port."""

    folder: Path
    port: int

    def here(self, text: str) -> str:
        """The text with what is not README's."""
        text = FOLDERS.sub(str(self.folder), text)
        return text.replace(f"server {PRIMARY}", f"server {HOST} {self.port}").replace(
            PRIMARY, f"{HOST}:{self.port}"
        )

    def sh(self, command: str) -> None:
        """Run a line of shell; the user of the server's package is not the one that runs it here."""
        line = re.sub(r"chown \w+: \S+ && ", "", self.here(command))
        done = subprocess.run(
            ["/bin/sh", "-ec", line], cwd=self.folder, env=clean_env(), capture_output=True, timeout=20
        )
        assert (done.returncode, done.stderr) == (0, b""), line

    def root(self, commands: str) -> None:
        """Run what README has root do."""
        for line in commands.splitlines():
            self.sh(line.removeprefix("# "))

    def write(self, name: str, *texts: str) -> Path:
        path = self.folder / name
        path.write_text("\n".join(self.here(text) for text in texts))
        return path

    @contextmanager
    def bind(self) -> Iterator[DnsServer]:
        named, _ = require("named", "bind9"), require("tsig-keygen", "bind9")
        make_key, zone_options, zone, check = blocks("### The zone, with BIND")
        self.root(make_key)
        (self.folder / "nodes.internal").write_text(zone)
        head = NAMED.format(folder=self.folder, port=self.port)
        configuration = self.write("named.conf", head, zone_options)
        assert check == "# named-checkconf && rndc reconfig\n"
        self.sh(f"named-checkconf -z {configuration}")
        self.sh("cp /etc/bind/epmdless.key /etc/epmdless/tsig.key")
        copy = shutil.copy(named, self.folder / "named")  # as AppArmor wants it
        argv = [str(copy), "-4", "-g", "-n", "1", "-c", str(configuration)]
        with serving(argv, self.port, "ns.nodes.internal.") as server:
            yield server

    @contextmanager
    def knot(self) -> Iterator[DnsServer]:
        knotd, _ = require("knotd", "knot"), require("keymgr", "knot")
        make_key, settings, check, *_ = blocks("### The zone, with Knot DNS")
        *make, show = make_key.splitlines()
        self.root("\n".join(make))
        self.sh(show.removeprefix("# ").partition("   #")[0] + "> /etc/epmdless/tsig.key")
        (self.folder / "tsig.key").chmod(0o400)
        (self.folder / "nodes.internal").write_text(blocks("### The zone, with BIND")[2])
        configuration = self.write("knot.conf", KNOT.format(folder=self.folder, port=self.port), settings)
        assert check == "# knotc conf-check && knotc reload\n"
        self.sh(f"knotc --config {configuration} conf-check >checked")
        with serving([knotd, "--config", str(configuration)], self.port, "ns.nodes.internal.") as server:
            yield server

    @contextmanager
    def epmdless(self, name: str, toml: str, host: str) -> Iterator[int]:
        """A host with README's configuration; gives its EPMD port."""
        port = free_port()
        own = f'[epmd]\nlisten = ["{HOST}:{port}"]\n[control]\nsocket = "{self.folder / name}.sock"\n'
        if "[resolve]" in toml:
            toml = toml.replace("[resolve]\n", f'[resolve]\nhost = "{host}"\n')
        else:
            own += f'[resolve]\nhost = "{host}"\n'
        path = self.write(f"{name}.toml", own, toml)
        with Program([*OUR_SERVE, "--config", path], env=clean_env()) as program:
            eventually(lambda: answers(port) or program.ended, within=10, what=program.report)
            assert not program.ended, program.report()
            yield port

    def sees(self, owner: str, rdtype: str) -> list[str]:
        """What any client of DNS sees."""
        query = dns.message.make_query(owner, rdtype)
        answer = dns.query.tcp(query, HOST, port=self.port, timeout=5).answer
        return sorted(rdata.to_text() for rrset in answer for rdata in rrset)


def conversation(text: str) -> list[tuple[list[str], list[str]]]:
    """Commands without their comments, each with the lines that README shows below it."""
    found: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ epmdless "):
            found.append((line.removeprefix("$ epmdless ").partition(" #")[0].split(), []))
        else:
            found[-1][1].append(line)
    return found


def plain(lines: Sequence[str]) -> list[str]:
    """Lines without what is never the same."""
    return [CHANGING.sub("N", line).rstrip() for line in lines]


def key_line(reader: Reader) -> str:
    """The line that tries the key, for the form that the key has."""
    found = re.search(
        r"^Try the key: `(?P<line>[^`]+)`\n\(for the short form: `(?P<short>[^`]+)`", PAGE, re.MULTILINE
    )
    assert found is not None
    if (reader.folder / "tsig.key").read_text().startswith("key "):
        return found["line"]
    return found["line"].partition("nsupdate ")[0] + found["short"]


@pytest.mark.parametrize("kind", ["bind", "knot"])
def test_the_page_does_what_it_shows(tmp_path: Path, kind: str) -> None:
    require("nsupdate", "bind9-dnsutils")
    publish, resolve, shown = blocks("## Publish in DNS", "^When things end:$")
    publish = publish.replace("[publish]\n", f'[publish]\naddresses = ["{TARGET}"]\n')
    reader = Reader(tmp_path, free_port())
    with reader.bind() if kind == "bind" else reader.knot():
        reader.sh(key_line(reader))
        assert reader.sees("test.nodes.internal.", "TXT") == ['"here"']
        with (
            reader.epmdless("first", publish, HOST_NAME) as port,
            reader.epmdless("other", f'{resolve}servers = ["{PRIMARY}"]\n', "b2.nodes.internal") as far_port,
            Registration(port, "shop-9001", 9001),
        ):
            assert lookup(port, "shop-9001") is not None
            eventually(
                lambda: reader.sees("_shop._tcp.nodes.internal.", "TXT"),
                within=5,
                what="the node in the zone",
            )
            check_commands(reader, shown, check_records(reader))
            found = lookup(far_port, "shop-9001")
            assert found is not None
            assert found.port == 9001
        assert reader.sees("_epmdless._tcp.nodes.internal.", "SRV") == []
        assert reader.sees(f"{HOST_NAME}.", "A") == []


def check_records(reader: Reader) -> int:
    """Each row of the page's table of records is true; returns how many there are."""
    rows = re.findall(r"^\| `([\w.-]+\.nodes\.internal)` \| ([A-Z, ]+) \| (?:`([^`]+)`)?", PAGE, re.MULTILINE)
    assert len(rows) == 4
    (data,) = (row[2] for row in rows if row[2])
    seen = {
        (owner, rdtype): reader.sees(f"{owner}.", rdtype)
        for owner, types, _ in rows
        for rdtype in types.split(", ")
    }
    count = sum(map(len, seen.values()))
    assert seen.pop((HOST_NAME, "A")) == [TARGET]
    assert seen.pop((HOST_NAME, "AAAA")) == []
    for (_, rdtype), found in seen.items():
        if rdtype == "SRV":
            assert found == [data]
        else:
            (text,) = found
            assert re.fullmatch(
                rf'"node={NODE}" "port=9001" "until=\d{{10}}" "address={TARGET}" "service=shop"', text
            )
    return count


def check_commands(reader: Reader, shown: str, count: int) -> None:
    """What the page's commands print is what it shows."""
    configuration = str(reader.folder / "first.toml")
    talk = conversation(shown)
    assert [words[0] for words, _ in talk] == ["nodes", "nodes", "nodes", "published"]
    for words, lines in talk:
        # Without a configuration: so README says of the one that names the zone.
        env = "" if "--zone" in words else configuration
        said = within.printed(*(reader.here(word) for word in words), EPMDLESS_CONFIG=env)
        if "--json" in words:
            assert [node["name"] for node in json.loads(said)["nodes"]] == [NODE]
        else:
            assert plain(said.splitlines()) == plain(lines)
        if words == ["published"]:
            assert f"target {HOST_NAME} ({TARGET}), {count} records" in said.splitlines()
