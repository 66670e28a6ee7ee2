"""`epmdless hop check` against real gateways: what it prints, and its exit statuses."""

import contextlib
import io
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from epmdless.cli import hop_table
from epmdless.cli.hop_table import Checked
from epmdless.config import HostPort, decode
from epmdless.hop.hops import prepare
from epmdless.hop.probe import Allowed, Certificate, ProbeError, Report, Secured, Told
from epmdless.wire.connect import Response
from epmdless.wire.proxy_status import ProxyStatus
from tests.cli.command import as_json, complaint, epmdless, printed
from tests.support.hops import ALLOW, CLIENT, GATEWAY, GATEWAY_ADDRESS, HOP, Certified, gateway_text, hop_text
from tests.support.ports import closed_port
from tests.support.relays import RelayHere, Settings

DAY = 86_400


class Zone(NamedTuple):
    """A configuration's folder, and the certificates of both ends."""

    folder: Path
    certified: Certified

    def config(self, *gateways: str, tls: str | None = None, **keys: object) -> Path:
        """A configuration whose one hop has these gateways."""
        path = self.folder / "epmdless.toml"
        path.write_text(hop_text(self.certified.hop_tls() if tls is None else tls, *gateways, **keys))
        return path

    @contextlib.contextmanager
    def gateway(self, *allows: Settings) -> Iterator[str]:
        """A real gateway, and where it is."""
        with RelayHere(gateway_text(0, self.certified.gateway_tls(), *allows)) as far:
            yield f"{GATEWAY_ADDRESS}:{far.gateway_port}"


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path, Certified.in_folder(tmp_path))


def check(config: Path, *words: str, status: int = 0) -> list[str]:
    """The lines of a check that complains of nothing."""
    return printed("hop", "check", *words, "--config", config, status=status).splitlines()


# For people


def test_a_good_gateway_is_a_line_and_what_it_allows_another(zone: Zone) -> None:
    with zone.gateway({**ALLOW, "hosts": ["*.az-b.test", "127.0.0.0/8"], "nodes": ["app-*"]}) as where:
        heading, titles, found, allowed_titles, allowed = check(zone.config(where))
    assert heading == f"hop {HOP}: our certificate is for {CLIENT}; days left: 29"
    assert titles.split() == ["GATEWAY", "ADDRESS", "TLS", "CERTIFICATE", "DAYS", "RTT", "ms", "STATE"]
    gateway, address, version, cipher, names, days, rtt, state = found.split()
    assert (gateway, address, version, names) == (where, GATEWAY_ADDRESS, "1.3", GATEWAY)
    assert cipher in ("AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
    assert (days, state) == ("29", "good")
    assert float(rtt) > 0
    assert allowed_titles.split() == ["GATEWAY", "ALLOWED", "HOSTS", "PORTS", "NODES"]
    assert allowed.split() == [where, "*.az-b.test,", "127.0.0.0/8", "1-65535", "app-*"]


def test_one_gateway_that_is_bad_is_said_and_told_by_the_exit_status(zone: Zone) -> None:
    with zone.gateway() as good, closed_port() as port:
        bad = f"127.0.0.1:{port}"
        lines = check(zone.config(good, bad), HOP, status=1)
    assert [line.split()[-1] for line in lines[2:4]] == ["good", "bad"]
    assert lines[3].split() == [bad, "-", "-", "-", "-", "-", "bad"]
    assert lines[-1] == f"127.0.0.1 port {port}: Connection refused"


def test_a_target_is_asked_for(zone: Zone) -> None:
    with zone.gateway({**ALLOW, "ports": [4369]}) as where:
        config = zone.config(where)
        lines = check(config, HOP, "--target", "127.0.0.1:9001", status=1)
    refused = "403 Forbidden"
    assert lines[-2] == f"{where}: CONNECT 127.0.0.1:9001: {refused}, epmdless says http_request_denied"
    assert lines[-1] == f"{where} answered {refused}: gateway.allow[0].ports: port 9001 is not in the ports"


def test_the_timeout_is_for_each_step(zone: Zone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        lines = check(zone.config(where, connect_timeout="1h"), "--timeout", "0.2", status=1)
    assert lines[-1] == f"{where} did not finish the TLS handshake in time"


def test_every_hop_is_checked_unless_one_is_named(zone: Zone) -> None:
    with zone.gateway() as where, closed_port() as port:
        config = zone.config(where)
        config.write_text(config.read_text() + f'[hop.az-c]\ngateways = ["127.0.0.1:{port}"]\ntls = false\n')
        headings = [line for line in check(config, status=1) if line.startswith("hop ")]
        assert [heading.partition(":")[0] for heading in headings] == [f"hop {HOP}", "hop az-c"]
        assert headings[1] == "hop az-c: without TLS"
        check(config, HOP)
        check(config, "az-c", status=1)


# For programs


def test_json_has_all_of_it(zone: Zone) -> None:
    with zone.gateway({**ALLOW, "ports": [4369]}) as where, closed_port() as port:
        config = zone.config(where, f"127.0.0.1:{port}")
        words = ("hop", "check", HOP, "--target", "127.0.0.1:9001", "--config", config)
        document = as_json(*words, status=1)
    (hop,) = document.pop("hops")
    assert document == {"target": "127.0.0.1:9001"}
    good, bad = hop.pop("gateways")
    assert hop.pop("certificate").keys() == {"names", "not_after", "days_left"}
    assert hop == {"hop": HOP}
    assert good["tls"].keys() == {"version", "cipher"}
    assert good["certificate"]["names"] == [GATEWAY]
    assert 29 < good["certificate"]["days_left"] <= 30
    assert good["round_trip_ms"] > 0
    assert good["client"] == [CLIENT]
    assert good["allow"] == [{"hosts": ["127.0.0.0/8"], "ports": ["4369"], "nodes": ["*"]}]
    rule = "gateway.allow[0].ports: port 9001 is not in the ports"
    assert good["answer"] == {
        "status": 403,
        "reason": "Forbidden",
        "error": "http_request_denied",
        "details": rule,
    }
    assert good["problem"] == {"code": "target_refused", "text": f"{where} answered 403 Forbidden: {rule}"}
    nothing = dict.fromkeys(("address", "tls", "certificate", "round_trip_ms", "client", "allow"))
    text = f"127.0.0.1 port {port}: Connection refused"
    assert bad == {
        "gateway": f"127.0.0.1:{port}",
        **nothing,
        "problem": {"code": "not_reached", "text": text},
    }


# What is wrong with the call, or the configuration


def test_a_configuration_without_that_hop(zone: Zone, tmp_path: Path) -> None:
    config = zone.config("127.0.0.1:4370")
    said = complaint(2, "hop", "check", "az-x", "--config", config)
    assert said == f"{config}: hop: there is no hop 'az-x', only {HOP}"
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert complaint(2, "hop", "check", "--config", empty) == f"{empty}: hop: no hop is configured"


def test_a_key_of_another_certificate(zone: Zone) -> None:
    tls = zone.certified.hop_tls(key=str(zone.certified.gateway.key))
    said = complaint(2, "hop", "check", "--config", zone.config("127.0.0.1:4370", tls=tls))
    assert f"hop.{HOP}.tls.key: " in said
    assert "not the key of the certificate that comes first in" in said


@pytest.mark.parametrize("target", ["b1.test", "b1.test:0", "b1.test:70000", ":9001", "a b:9001"])
def test_a_target_that_is_none(zone: Zone, target: str) -> None:
    config = zone.config("127.0.0.1:4370")
    said = complaint(2, "hop", "check", HOP, "--target", target, "--config", config)
    assert said.startswith(f"--target: {target!r} is not HOST:PORT")


def test_a_target_needs_a_hop(zone: Zone) -> None:
    config = zone.config("127.0.0.1:4370")
    done = epmdless("hop", "check", "--target", "b1.test:9001", "--config", config)
    assert (done.status, done.stdout) == (2, "")
    assert "--target needs the NAME of a hop" in done.stderr


# The table


def shown(report: Report, *, terminal: bool = False) -> str:
    """What is printed of a hop with this one gateway, in colours on a terminal."""
    section = decode(hop_text("", str(report.gateway)), "test.toml").hop
    checked = Checked(HOP, prepare(section, "test.toml")[HOP], [report])
    out = io.StringIO()
    console = Console(
        file=out, width=200, force_terminal=terminal, color_system="standard" if terminal else None
    )
    hop_table.show(console, [checked], HostPort("b1.test", 9001), time.time())
    return out.getvalue()


def report(**changed: object) -> Report:
    """A good gateway."""
    tls = Secured("1.3", "TLS_AES", Certificate(("gw.test",), time.time() + 100 * DAY))
    usual: Mapping[str, object] = {
        "address": "10.0.0.1",
        "tls": tls,
        "round_trip": 0.00123,
        "told": Told((), ()),
    }
    return Report(HostPort("gw.test", 4370), **{**usual, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("days", "text", "colour"),
    [
        (100.5, "100", ""),
        (14.5, "14", ""),
        (13.5, "13", "yellow"),
        (0.5, "0", "yellow"),
        (-0.5, "ended", "red"),
    ],
)
def test_days_are_coloured_from_two_weeks_on(days: float, text: str, colour: str) -> None:
    found = hop_table.days(days * DAY, now=0)
    assert (found.plain, str(found.style)) == (text, colour)


def test_a_certificate_that_tells_no_end() -> None:
    assert hop_table.days(float("inf"), now=0).plain == "-"


def test_a_proxy_that_does_not_tell_is_said_to_be_one() -> None:
    lines = shown(report(told=None)).splitlines()
    assert lines[-1].split() == [
        "gw.test:4370",
        "a",
        "CONNECT",
        "proxy,",
        "which",
        "does",
        "not",
        "tell",
        "-",
        "-",
    ]


def test_good_is_green_and_bad_is_red() -> None:
    assert "\x1b[32mgood" in shown(report(), terminal=True)
    bad = shown(report(problem=ProbeError("expired", "it has expired")), terminal=True)
    assert "\x1b[31mbad" in bad
    assert "\x1b[31mit has expired" in bad


def test_what_a_gateway_says_cannot_reach_the_terminal() -> None:
    hostile = "evil\x1b[2J\n\u202e[red]"
    tls = Secured("1.3", hostile, Certificate((hostile,), time.time()))
    told = Told((hostile,), (Allowed((hostile,), (hostile,), (hostile,)),))
    answer = Response(403, hostile, ProxyStatus("dns_error", hostile, hostile), b"")
    text = shown(report(tls=tls, told=told, answer=answer, problem=ProbeError("x", hostile)))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count(r"evil\x1b[2J\n\u202e[red]") == 8
