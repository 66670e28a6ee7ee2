"""`epmdless demo` with real nodes: what it shows, how it ends, and that nothing is left of it."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from epmdless.cli import demo_world, demo_zones, namespaces
from epmdless.cli.demo_world import loopback_world, make_world
from epmdless.cli.demo_zones_world import FIRST_B, dial, make_zones
from epmdless.cli.namespaces import Namespace, NamespaceError
from epmdless.errors import EpmdlessError
from tests.cli.command import complaint, printed
from tests.cli.demos import BOOT_WITHIN, END_WITHIN, children, ended, processes
from tests.support.deadline import eventually
from tests.support.namespaces import require_namespaces
from tests.support.process import Program, run
from tests.support.tools import PYTHON, clean_env, require

COMMAND = [PYTHON, "-m", "epmdless", "demo", "relay"]
ZONES = [PYTHON, "-m", "epmdless", "demo", "zones"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the demonstration's files go. Nothing of it may be left, nor a process that knows of it."""
    require("erl", "erlang-base")
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    ended(tmp_path)


@contextmanager
def shown(folder: Path, *flags: str) -> Iterator[Program]:
    """The demonstration, from its first table on."""
    with Program([*COMMAND, *flags], env=clean_env(TMPDIR=str(folder))) as program:
        eventually(
            lambda: program.ended or "established" in program.stdout,
            within=BOOT_WITHIN,
            what=lambda: f"a link: {program.report()}",
        )
        assert not program.ended, program.report()
        yield program


def shown_to_its_end(folder: Path, *flags: str, command: Sequence[str] = COMMAND, **env: str) -> str:
    """All that it prints when it ends by itself."""
    argv = [*command, *flags, "--for", "3"]
    done = run(argv, within=BOOT_WITHIN + END_WITHIN, env=clean_env(TMPDIR=str(folder), **env))
    assert (done.stderr, done.status) == ("", 0)
    return done.stdout


def last_table(text: str) -> list[list[str]]:
    """The words of the last table's lines, without its titles."""
    return [line.split() for line in text.rpartition("LINK")[2].splitlines()[1:]]


# What it shows


@pytest.mark.interop
def test_two_nodes_are_linked_between_namespaces_that_only_the_relay_connects(folder: Path) -> None:
    require_namespaces()
    out = shown_to_its_end(folder)
    lines = out.splitlines()
    assert lines[:2] == [
        "linked: near@10.77.1.5 <-> far-9001@10.77.1.9 through the relay",
        "on three network namespaces",
    ]
    assert "  10.77.1.5 -> 10.77.1.9 ports 4369 and 9001" in lines
    assert "  10.77.2.1 -> 10.77.2.7 port 9001" in lines
    assert "  and no more: 10.77.1.5 -> 10.77.2.7 port 9001: Network is unreachable" in lines
    assert_traffic(out, "near@10.77.1.5", "far-9001@10.77.1.9")


@pytest.mark.interop
def test_two_nodes_are_linked_on_loopback_addresses(folder: Path) -> None:
    out = shown_to_its_end(folder, "--loopback")
    heading = re.match(
        r"linked: (near@127\.0\.0\.1) <-> (far-(\d+)@127\.0\.0\.2) through the relay\n"
        r"on loopback addresses of this machine \(as asked\)\n",
        out,
    )
    assert heading, out
    near, far, port = heading.groups()
    assert f"  127.0.0.1 -> 127.0.0.3 port {port}\n" in out
    assert "no more" not in out
    assert_traffic(out, near, far)


def assert_traffic(out: str, near: str, far: str) -> None:
    """See that the last table has one link, of these nodes, which both send steadily."""
    near_line, far_line = last_table(out)
    assert near_line[:4] == far_line[:4], "not of one link"
    assert near_line[1] == "established"
    assert (near_line[4:6], far_line[4:6]) == (["near", near], ["far", far])
    for line in (near_line, far_line):
        assert line[7] not in ("0", "-"), f"no bytes: {line}"
        assert line[8] not in ("0", "-"), f"no frames: {line}"


@pytest.mark.interop
def test_a_link_that_is_ended_comes_back_under_another_number(folder: Path) -> None:
    with shown(folder, "--loopback") as program:
        (control,) = folder.glob("*/control.sock")
        number = last_table(program.stdout)[0][0]
        assert printed("links", "end", number, "--socket", control) == ""
        eventually(
            lambda: any(
                re.match(rf"\s*(?!{number} )\d+ .*\bnear@", line) for line in program.stdout.splitlines()
            ),
            within=END_WITHIN,
            what=lambda: f"another link: {program.report()}",
        )


@pytest.mark.interop
def test_the_cookie_is_in_a_file_of_ours_alone(folder: Path) -> None:
    with shown(folder, "--loopback"):
        (cookie,) = folder.glob("*/.erlang.cookie")
        assert cookie.stat().st_mode & 0o777 == 0o400
        assert cookie.parent.stat().st_mode & 0o777 == 0o700
        secret = cookie.read_bytes()
        assert len(secret) == 32
        assert list(processes("cmdline", secret)) == []
        assert list(processes("environ", secret)) == []


# How it ends


@pytest.mark.interop
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_quietly(folder: Path, number: signal.Signals) -> None:
    with shown(folder, "--loopback") as program:
        program.signal(number)
        assert program.wait(END_WITHIN) == 0
        assert program.stderr == ""


@pytest.mark.interop
def test_ctrl_c_ends_it_while_it_starts(folder: Path) -> None:
    with Program([*COMMAND, "--loopback"], env=clean_env(TMPDIR=str(folder))) as program:
        eventually(lambda: children(program, "serve"), within=BOOT_WITHIN, what="the relay's process")
        program.signal(signal.SIGINT)
        assert program.wait(END_WITHIN) == 0
        assert (program.stdout, program.stderr) == ("", "")


@pytest.mark.interop
@pytest.mark.parametrize(("word", "name"), [("erl_epmd_port", "far node"), ("serve", "relay")])
def test_a_program_that_ends_ends_it_with_a_word_on_which(folder: Path, word: str, name: str) -> None:
    with shown(folder, "--loopback") as program:
        victim = children(program, word)[0]
        os.kill(victim, signal.SIGKILL)
        assert program.wait(END_WITHIN) == 1
        assert f"epmdless: the {name} ended with status -9" in program.stderr


def test_no_erl_is_one_line_that_names_the_package(tmp_path: Path) -> None:
    said = complaint(1, "demo", "relay", PATH=str(tmp_path))
    assert said.startswith("there is no `erl` here: ")
    assert "erlang-base" in said
    assert complaint(1, "demo", "relay", "--otp-erl", tmp_path / "erl") == f"{tmp_path}/erl is no program"


@pytest.mark.interop
def test_an_erl_that_is_none_is_said_with_what_it_said(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fake = tmp_path_factory.mktemp("otp") / "erl"
    fake.write_text("#!/bin/sh\necho this is no Erlang; exit 3\n")
    fake.chmod(0o755)
    argv = [*COMMAND, "--loopback", "--otp-erl", str(fake)]
    with Program(argv, env=clean_env(TMPDIR=str(folder))) as program:
        assert program.wait(BOOT_WITHIN) == 1
        assert program.stderr == "epmdless: the far node ended with status 3; it said:\nthis is no Erlang\n"


# Its world


def test_loopback_ports_are_free_and_two() -> None:
    plan = loopback_world("a test").plan
    assert plan.far_port != plan.epmd_port
    for host in (plan.near, plan.stand_in, plan.far):
        for port in (plan.far_port, plan.epmd_port):
            with socket.socket() as probe:
                probe.bind((host, port))


def no_ip() -> str:
    raise NamespaceError("no `ip`")


def not_root(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "geteuid", lambda: 1000)


def root_without_ip(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "geteuid", lambda: 0)
    patch.setattr(namespaces, "_find_ip", no_ip)


def root_without_rights(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "geteuid", lambda: 0)
    patch.setattr(namespaces, "_find_ip", lambda: "/bin/true")
    patch.setattr(namespaces, "_libc", type("Libc", (), {"unshare": staticmethod(lambda flags: -1)}))


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        (not_root, "only root can make network namespaces"),
        (root_without_ip, "no `ip`"),
        (root_without_rights, "no network namespace: "),
    ],
)
def test_without_namespaces_it_takes_loopback_addresses(
    monkeypatch: pytest.MonkeyPatch, lacking: Callable[[pytest.MonkeyPatch], None], reason: str
) -> None:
    lacking(monkeypatch)
    with ExitStack() as stack:
        world = make_world(stack, loopback=False)
    assert not world.is_apart
    assert reason in world.description


def test_a_namespace_is_entered_by_one_call_and_gone_when_closed() -> None:
    require_namespaces()
    before = Path("/proc/thread-self/ns/net").readlink()
    namespace = Namespace()
    inside = namespace.call(lambda: Path("/proc/thread-self/ns/net").readlink())
    assert inside != before
    assert namespace.call(lambda: [name for _, name in socket.if_nameindex()]) == ["lo"]
    assert Path("/proc/thread-self/ns/net").readlink() == before
    namespace.close()
    with pytest.raises(NamespaceError, match="Bad file descriptor"):
        namespace.call(lambda: None)


def test_what_ip_says_is_in_the_error() -> None:
    require_namespaces()
    with ExitStack() as stack:
        world = demo_world.namespaces_world(stack)
        assert isinstance(world.near, Namespace)
        with pytest.raises(NamespaceError, match=r"ip link set nothing up: .*nothing"):
            world.near.ip("link", "set", "nothing", "up")
        assert world.dial_directly() == "Network is unreachable"


# Two zones


LINKS_AT_LAST = [("shop@a1.az-a.internal", "az-b"), ("desk@b1.az-b.internal", "from")]
"""The near node of each, and which way it goes."""


@pytest.mark.interop
def test_two_zones_are_linked_through_one_port(folder: Path) -> None:
    require_namespaces()
    require("nft", "nftables")
    out = shown_to_its_end(folder, command=ZONES)
    lines = out.splitlines()
    assert "  shop@a1.az-a.internal dialled stock@b1.az-b.internal" in lines
    assert "  zone A's edge -> 10.78.2.5 port 9001: Network is unreachable" in lines
    assert "  zone A's edge -> 10.78.0.2 port 4369: no answer" in lines
    assert "  zone A's edge -> 10.78.0.2 port 4370: connected" in lines
    assert_checks(lines)
    assert "  desk@b1.az-b.internal still has the link that it had" in lines
    near = {line[line.index("near") + 1]: line[3] for line in last_table(out) if "near" in line}
    assert near == dict(LINKS_AT_LAST)


def assert_checks(lines: list[str]) -> None:
    """See that of three looks at both gateways the first is good, and what is wrong with the others."""
    states = [line.split()[-1] for line in lines if re.match(r"10\.78\.0\.[23]:4370 .* (good|bad) *$", line)]
    assert states == ["good", "good", "bad", "bad", "bad", "good"]
    assert "10.78.0.2:4370 asks for a certificate of ours: set cert and key" in lines
    assert "10.78.0.2 port 4370: Connection refused" in lines
    assert lines.count("exit status 1") == 2


def test_without_erl_the_zones_are_shown_without_nodes(tmp_path: Path) -> None:
    require_namespaces()
    empty, folder = tmp_path / "empty", tmp_path / "folder"
    empty.mkdir()
    folder.mkdir()
    lines = shown_to_its_end(folder, command=ZONES, PATH=str(empty)).splitlines()
    for gateway in ("10.78.0.2:4370", "10.78.0.3:4370"):
        assert f"{gateway}: CONNECT 10.78.2.5:4369: 200 OK" in lines
    assert list(folder.iterdir()) == []
    ended(folder)


@pytest.mark.interop
def test_a_signal_ends_the_zones_quietly(folder: Path) -> None:
    require_namespaces()
    with Program(ZONES, env=clean_env(TMPDIR=str(folder))) as program:
        eventually(lambda: children(program, "serve"), within=BOOT_WITHIN, what="an edge's process")
        program.signal(signal.SIGINT)
        assert program.wait(END_WITHIN) == 0
        assert program.stderr == ""


def test_the_firewall_drops_all_but_one_port() -> None:
    require_namespaces()
    require("nft", "nftables")
    with ExitStack() as stack:
        zones = make_zones(stack)
        assert zones.no_firewall is None
        assert dial(zones.edge_a, FIRST_B, 4369) == "no answer"
        assert dial(zones.edge_a, FIRST_B, 4370) == "Connection refused"
        with pytest.raises(NamespaceError, match=r"nft -f -: (?s:.*)syntax error"):
            zones.edge_a.nft("nonsense")


def test_without_nft_there_is_no_firewall_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    require_namespaces()
    find = namespaces.find_program
    monkeypatch.setattr(namespaces, "find_program", lambda name: None if name == "nft" else find(name))
    with ExitStack() as stack:
        zones = make_zones(stack)
        assert zones.no_firewall == "no `nft` (Debian package nftables)"
        assert dial(zones.edge_a, FIRST_B, 4369) == "Connection refused"


def test_the_zones_need_root(monkeypatch: pytest.MonkeyPatch) -> None:
    not_root(monkeypatch)
    with pytest.raises(EpmdlessError, match="only root can make"):
        demo_zones.run(1, None)
