"""`epmdless doctor` walks to real nodes: what it finds out, and that it leaves them as they were."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.cluster_world import Host, World, cookie_file, machines, node
from tests.interop.tls_world import Folders, certificate_folders, tls_words
from tests.support.beam import COOKIE, Beam, fixed_port
from tests.support.deadline import eventually
from tests.support.hops import tables
from tests.support.process import Finished, Program
from tests.support.servers import command, wait_ready
from tests.support.subnets import EPMD_PORT
from tests.support.tools import PYTHON, require
from tests.support.trees import Otp

pytestmark = pytest.mark.interop

PORT = 9001
SAID_WITHIN = 10.0
WALKED_WITHIN = 30.0
SIX = "six.internal"
"""A host name of the far machine's that has an IPv6 address alone."""

ALIAS = "alias.internal"
"""Another name of the far machine's, for which it has no certificate."""

DROPPED = 9002
"""A port of the far machine's that drops what comes to it."""

WEB = 8000
"""A port of the far machine's with a web server."""

LOGGED = "a line of the test's own"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A machine to walk from and one to walk to, with an EPMD server each."""
    with machines(2) as world, ExitStack() as stack:
        for number, host in enumerate(world.hosts, 1):
            host.run('ip address add "$1"/64 dev eth0 nodad', f"fd00::{number}")
        with (world.folder / "hosts").open("a") as hosts:
            hosts.write(f"fd00::2 {SIX}\n{world.hosts[1].address} {ALIAS}\n")
        for host in world.hosts:
            epmd = stack.enter_context(host.start(command("c")))
            host.call(lambda: wait_ready(epmd, EPMD_PORT))  # noqa: B023 - called at once
        yield world


@pytest.fixture(scope="module")
def folders(world: World) -> Iterator[Folders]:
    with certificate_folders(world.hosts) as folders:
        yield folders


def walk(world: World, name: str, *words: str | Path) -> Finished:
    """Walk to a node from the first machine."""
    with start(world, name, "--json", *words) as program:
        return Finished(program.wait(WALKED_WITHIN), program.stdout, program.stderr)


def start(world: World, name: str, *words: str | Path) -> Program:
    """Begin a walk, whose end is to be waited for."""
    host = world.hosts[0]
    return host.start([PYTHON, "-m", "epmdless", "doctor", name, *words], EPMDLESS_HOST=host.name)


class Found:
    """What a walk found out."""

    def __init__(self, done: Finished) -> None:
        assert done.stderr == ""
        self.report: dict[str, Any] = json.loads(done.stdout)
        assert self.report["status"] == done.status
        self.status = done.status
        self.steps = {step["step"]: step for step in self.report["steps"]}
        assert all((step["milliseconds"] or 0) < 8000 for step in self.steps.values())


def found(world: World, name: str, *words: str | Path) -> Found:
    return Found(walk(world, name, *words))


class SlowWalks:
    """Walks that take seconds, since nobody answers: begun before all other tests of this module."""

    def __init__(self, walks: Mapping[str, Program]) -> None:
        self._walks = walks

    def found(self, which: str) -> Found:
        """What one of them found out."""
        program = self._walks[which]
        return Found(Finished(program.wait(WALKED_WITHIN), program.stdout, program.stderr))


@pytest.fixture(scope="module", autouse=True)
def slow(world: World) -> Iterator[SlowWalks]:
    """To a port that drops, of a node and of EPMD; and to Python's web server in place of EPMD."""
    require("nft", "nftables")
    far = world.hosts[1]
    chain = f"chain in {{ type filter hook input priority 0; tcp dport {DROPPED} drop; }}"
    with ExitStack() as stack:
        stack.enter_context(far.rules("doctor", chain))
        stack.enter_context(_web_server(far, WEB))
        node, dropping = far.node("app"), far.node(f"app-{DROPPED}")
        walks = {
            "port": start(world, dropping, "--json", "--no-epmd"),
            "epmd": start(world, node, "--json", f"--epmd-port={DROPPED}"),
            "web": start(world, node, "--json", f"--epmd-port={WEB}"),
        }
        yield SlowWalks({which: stack.enter_context(program) for which, program in walks.items()})


def log_of(beam: Beam) -> list[str]:
    """What is in a node's log by now, a line of our own the last."""
    before = beam.program.stdout.count(LOGGED)
    beam.eval(f'logger:error("{LOGGED}").')

    def is_there() -> bool:
        return beam.program.stdout.count(LOGGED) > before

    eventually(is_there, within=SAID_WITHIN, what="our own line in the log")
    lines = beam.program.stdout.splitlines()
    return [line for line in lines if line and not line.startswith("@") and LOGGED not in line]


def reports_in(beam: Beam) -> str:
    """The log, less the heads of our own lines."""
    return "\n".join(line for line in log_of(beam) if not line.startswith("=ERROR REPORT"))


def connections(beam: Beam) -> str:
    """Who is connected there, or is about to be."""
    return beam.eval("{nodes(connected), ets:tab2list(sys_dist)}.")


@pytest.fixture(scope="module", params=["otp25", "otp27"])
def otp(request: pytest.FixtureRequest) -> Otp:
    flavour: Otp = request.param
    return flavour


@pytest.fixture(scope="module")
def app(otp: Otp, world: World) -> Iterator[Beam]:
    with node(otp, world.hosts[1], f"app-{PORT}", *fixed_port(PORT)) as beam:
        yield beam


def test_a_node_is_left_as_it_was(app: Beam, otp: Otp, world: World) -> None:
    without = found(world, app.name)
    assert (without.status, without.steps["cookie"]["verdict"]) == (0, "skipped")
    assert without.steps["tls"]["speaks"] == "plain"
    assert without.steps["tls"]["milliseconds"] < 1000, "it does not wait for the rest of a message"
    assert without.steps["identity"]["releases"] == "OTP 25 to 27"
    assert without.steps["identity"]["hidden"] is False
    assert without.steps["handshake"]["own_name"] == f"epmdless-8@{world.hosts[0].name}"
    with_cookie = found(world, app.name, "--cookie-file", world.cookie)
    assert (with_cookie.status, with_cookie.report["advice"]) == (0, [])
    assert with_cookie.steps["round_trip"]["release"] == otp.removeprefix("otp")
    assert connections(app) == "{[],[]}"
    assert reports_in(app) == ""


def test_a_connection_under_one_of_our_names_stays(app: Beam, world: World) -> None:
    """It stands for what a running epmdless is connected by."""
    with node("otp25", world.hosts[0], "epmdless-8", "-hidden") as other:
        assert other.eval(f"net_kernel:connect_node('{app.name}').") == "true"
        walked = found(world, app.name, "--cookie-file", world.cookie)
        assert walked.status == 0
        assert walked.steps["handshake"]["own_name"] == f"epmdless-7@{world.hosts[0].name}"
        assert other.eval("nodes(connected).") == f"['{app.name}']"
        assert app.eval("nodes(connected).") == f"['{other.name}']"
    eventually(lambda: connections(app) == "{[],[]}", within=SAID_WITHIN, what="that it is alone again")


def test_a_wrong_cookie_is_one_line_in_the_log(app: Beam, world: World) -> None:
    assert reports_in(app) == ""
    walked = found(world, app.name, "--cookie-file", cookie_file(world.folder, "wrong"))
    assert (walked.status, walked.steps["cookie"]["cookie"]) == (17, "wrong")
    assert connections(app) == "{[],[]}"
    (line,) = reports_in(app).splitlines()
    assert "Invalid challenge reply" in line
    assert COOKIE not in line


def test_a_node_that_does_not_allow_us(world: World) -> None:
    with node("otp27", world.hosts[1], "closed") as beam:
        beam.eval("net_kernel:allow(['x@y']).")
        walked = found(world, beam.name, "--cookie-file", world.cookie)
        assert (walked.status, walked.steps["handshake"]["answer"]) == (15, "not_allowed")
        assert connections(beam) == "{[],[]}"


def test_a_hidden_node_on_ipv6(world: World) -> None:
    name = f"secret@{SIX}"
    args = ["-hidden", "-proto_dist", "inet6_tcp"]
    with Beam("otp25", name, epmd_port=EPMD_PORT, args=args, prefix=world.hosts[1].prefix) as beam:
        walked = found(world, name, "--cookie-file", world.cookie)
        assert walked.status == 0
        assert walked.steps["tcp"]["address"] == "fd00::2"
        assert walked.steps["identity"]["hidden"] is True
        assert connections(beam) == "{[],[]}"


@pytest.mark.parametrize("tls_otp", ["otp25", "otp27"])
def test_a_node_with_tls(tls_otp: Otp, world: World, folders: Folders, tmp_path: Path) -> None:
    host = world.hosts[1]
    with node(tls_otp, host, "safe", *tls_words(tls_otp, host, folders)) as beam:
        without = found(world, beam.name, "--cookie-file", world.cookie)
        assert (without.status, without.steps["tls"]["speaks"]) == (14, "tls")
        shown = without.steps["tls"]["certificate"]
        assert (shown["names"], shown["verified"]) == ([host.name], False)
        assert "[cluster.tls]" in without.report["advice"][0]
        config = configuration(world, world.hosts[0], folders, tmp_path)
        walked = found(world, beam.name, "--config", config)
        assert (walked.status, walked.steps["cookie"]["cookie"]) == (0, "right")
        assert walked.steps["tls"]["certificate"]["verified"] is True
        other = found(world, f"safe@{ALIAS}", "--config", config)
        assert (other.status, other.steps["tls"]["problem"]) == (14, "name_mismatch")
        assert connections(beam) == "{[],[]}"
        assert reports_in(beam) == ""


def configuration(world: World, own: Host, folders: Folders, tmp_path: Path) -> Path:
    """A configuration of a cluster whose nodes speak TLS; we show a host's certificate."""
    folder = folders["otp25"]
    pair = tmp_path / "own"
    pair.touch(mode=0o600)
    pair.write_bytes((folder / own.name).read_bytes())
    files = {"ca": str(folder / "ca"), "cert": str(pair), "key": str(pair)}
    text = world.cluster({"list": {"kind": "static", "nodes": ["never@asked"]}})
    config = tmp_path / "epmdless.toml"
    config.write_text(text + tables("cluster.tls", files))
    return config


def test_a_port_that_is_filtered(world: World, slow: SlowWalks) -> None:
    walked = slow.found("port")
    far = world.hosts[1]
    assert (walked.status, walked.steps["tcp"]["addresses"]) == (13, {far.address: "filtered"})
    assert f"let TCP port {DROPPED} through" in walked.report["advice"][0]


def test_an_epmd_that_is_filtered(slow: SlowWalks) -> None:
    walked = slow.found("epmd")
    assert (walked.status, walked.steps["epmd"]["answers"][0]["trouble"]) == (12, "filtered")
    assert f"let TCP port {DROPPED} through" in walked.report["advice"][0]


def test_a_web_server_in_place_of_epmd(slow: SlowWalks) -> None:
    walked = slow.found("web")
    assert walked.status == 12
    assert "a web server" in walked.steps["epmd"]["said"]


def test_a_web_server_in_place_of_a_node(world: World, slow: SlowWalks) -> None:
    walked = found(world, world.hosts[1].node(f"app-{WEB}"), "--no-epmd")
    assert walked.status == 15
    assert "a web server" in walked.steps["handshake"]["said"]


def _web_server(host: Host, port: int) -> Program:
    server = host.start([PYTHON, "-u", "-m", "http.server", str(port), "--directory", "/var/lib"])
    eventually(lambda: "Serving" in server.stdout, within=SAID_WITHIN, what="a web server")
    return server


def test_a_name_that_is_near(app: Beam, world: World) -> None:
    walked = found(world, world.hosts[1].node("ap"))
    assert (walked.status, walked.steps["epmd"]["did_you_mean"]) == (12, ["app-9001"])
