"""Other CONNECT proxies: Debian's tinyproxy, with and without a password; and a web proxy that is none."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from epmdless.config import decode
from epmdless.errors import ConfigError
from epmdless.hop.hops import prepare
from tests.hop.test_ends import near_of, refused_link
from tests.support.deadline import eventually
from tests.support.hops import GATEWAY_ADDRESS, hop_text
from tests.support.link_sides import FarHost, linked, passes
from tests.support.ports import closed_port, free_port
from tests.support.process import Program
from tests.support.relays import WITHIN, dialling
from tests.support.tools import clean_env, require

USER, PASSWORD = "relay", "not-to-be-seen"


@contextmanager
def running(argv: list[str | Path], port: int) -> Iterator[str]:
    """A proxy in the foreground; where it listens."""
    with Program(argv, env=clean_env()) as program:

        def listens() -> bool:
            assert not program.ended, program.report()
            with socket.socket() as sock:
                return sock.connect_ex((GATEWAY_ADDRESS, port)) == 0

        eventually(listens, within=WITHIN, what=program.report)
        yield f"{GATEWAY_ADDRESS}:{port}"


@contextmanager
def tinyproxy(folder: Path, *lines: str) -> Iterator[str]:
    port = free_port()
    path = folder / "tinyproxy.conf"
    usual = [f"Port {port}", f"Listen {GATEWAY_ADDRESS}", "Timeout 60", "MaxClients 50", "Allow 127.0.0.0/8"]
    path.write_text("\n".join([*usual, *lines]) + "\n")
    with running([require("tinyproxy"), "-d", "-c", path], port) as where:
        yield where


def auth_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "proxy-auth"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("ready", [0, 2])
def test_a_link_through_tinyproxy(far_host: FarHost, tmp_path: Path, ready: int) -> None:
    with tinyproxy(tmp_path) as where, near_of(far_host, hop_text("", where, ready=ready)) as relay:
        for _ in range(3):
            with dialling(far_host) as near:
                far = linked(near, far_host)
                assert passes(near, far)
                assert passes(far, near)
                far.close()
                assert near.sees_the_end()
            assert relay.code_of(near) in ("far_closed", "far_reset")


def test_a_target_that_tinyproxy_cannot_reach(far_host: FarHost, tmp_path: Path) -> None:
    with (
        closed_port() as port,
        tinyproxy(tmp_path) as where,
        near_of(far_host, hop_text("", where), {"ports": [str(port)]}) as relay,
    ):
        line = refused_link(relay, port)
        assert line["end"] == "dial_refused"
        assert f"{where} answered 500" in line["detail"]
        assert not [each for each in relay.lines if each["event"] == "gateway set aside"]


def test_a_port_that_tinyproxy_does_not_allow(far_host: FarHost, tmp_path: Path) -> None:
    with tinyproxy(tmp_path, "ConnectPort 1") as where, near_of(far_host, hop_text("", where)) as relay:
        line = refused_link(relay, far_host.port)
        assert line["end"] == "refused_by_gateway"
        assert f"{where} answered 403" in line["detail"]


def test_a_password(far_host: FarHost, tmp_path: Path) -> None:
    auth = auth_file(tmp_path, f"{USER}:{PASSWORD}\n")
    with (
        tinyproxy(tmp_path, f"BasicAuth {USER} {PASSWORD}") as where,
        near_of(far_host, hop_text("", where, auth=auth)) as relay,
        dialling(far_host) as near,
    ):
        assert passes(near, linked(near, far_host))
        assert PASSWORD not in repr(relay.lines)


@pytest.mark.parametrize("text", [None, f"{USER}:wrong", f"other:{PASSWORD}", f"{USER}:"])
def test_a_wrong_password(far_host: FarHost, tmp_path: Path, text: str | None) -> None:
    keys = {} if text is None else {"auth": auth_file(tmp_path, text)}
    with (
        tinyproxy(tmp_path, f"BasicAuth {USER} {PASSWORD}") as where,
        near_of(far_host, hop_text("", where, **keys)) as relay,
    ):
        line = refused_link(relay, far_host.port)
        assert line["end"] == "refused_by_gateway"
        assert f"{where} answered {407 if text is None else 401}" in line["detail"]
        assert PASSWORD not in repr(relay.lines)


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        (f"{USER}:{PASSWORD}", 0o640, "owner only"),
        (f"{USER}:{PASSWORD}", 0o604, "owner only"),
        (PASSWORD, 0o600, "user:password"),
        ("", 0o600, "user:password"),
        (f"{USER}:{PASSWORD}\nmore:{PASSWORD}", 0o600, "one line"),
        (f"{USER}:{PASSWORD}ä", 0o600, "ASCII"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_file_that_holds_no_secret_as_it_must(
    tmp_path: Path, text: str | None, mode: int, problem: str
) -> None:
    path = str(tmp_path / "none") if text is None else auth_file(tmp_path, text, mode)
    config = decode(hop_text("", "proxy.test:3128", auth=path), "test.toml")
    with pytest.raises(ConfigError, match=problem) as caught:
        prepare(config.hop, "test.toml")
    assert caught.value.key == "hop.az-b.auth"
    assert path in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_haproxy_is_no_connect_proxy(far_host: FarHost, tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "haproxy.cfg"
    path.write_text(
        "defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n"
        f"frontend web\n bind {GATEWAY_ADDRESS}:{port}\n http-request deny deny_status 405\n"
    )
    with (
        running([require("haproxy"), "-db", "-f", path], port) as where,
        near_of(far_host, hop_text("", where)) as relay,
    ):
        line = refused_link(relay, far_host.port)
        assert line["end"] == "refused_by_gateway"
        assert f"{where} answered 405" in line["detail"]
