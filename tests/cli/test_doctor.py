"""`epmdless doctor`: what it prints for people and for programs, and with which status it ends."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from epmdless.cli import doctor_lines
from epmdless.doctor.report import EXIT_STATUS, STEPS, Finding, Report, Step
from tests.cli.command import as_json, complaint, epmdless
from tests.support.hops import tables
from tests.support.ports import closed_port

HOST = "127.0.0.1"


@contextmanager
def saying(data: bytes) -> Iterator[int]:
    """A server on a port that says this to everybody, whatever is asked."""

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with accepted:
                accepted.recv(65_536)
                accepted.sendall(data)

    with socket.create_server((HOST, 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_closed_epmd_in_lines_for_people() -> None:
    with closed_port() as port:
        done = epmdless("doctor", f"app@{HOST}", "--epmd-port", str(port), LC_ALL="C.UTF-8")
    assert (done.status, done.stderr) == (12, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == f"app@{HOST}"
    assert [line.split()[0] for line in lines[1:10]] == ["✓", "✓", "✗", *"······"]
    assert lines[3].endswith(f"EPMD at port {port}: refused: nobody listens there")
    assert lines[4].endswith("tcp                 not reached")
    assert lines[10].startswith("The way ends at epmd (exit status 12): EPMD at port ")
    assert lines[11].startswith("  → start an EPMD server there")


def test_the_same_where_the_locale_has_no_signs() -> None:
    with closed_port() as port:
        env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        done = epmdless("doctor", f"app@{HOST}", "--epmd-port", str(port), **env)
    assert done.status == 12
    assert done.stdout.isascii()
    assert "\\u" not in done.stdout
    assert [line[0] for line in done.stdout.splitlines()[1:10]] == [*"++x", *"------"]


def test_the_same_for_programs() -> None:
    with closed_port() as port:
        found = as_json("doctor", f"app@{HOST}", "--epmd-port", str(port), status=12)
    assert (found["node"], found["status"], found["ended_at"]) == (f"app@{HOST}", 12, "epmd")
    assert [step["step"] for step in found["steps"]] == list(STEPS)
    assert found["steps"][2]["verdict"] == "failed"
    assert found["steps"][3]["milliseconds"] is None
    assert found["advice"]


@pytest.mark.parametrize("words", [["--json"], []])
def test_what_comes_from_the_network_commands_no_terminal(words: list[str]) -> None:
    with saying(b"HTTP/1.1 200 \x1b]0;owned\x07\x9b31m\r\n\r\n") as port:
        done = epmdless("doctor", f"app@{HOST}", "--epmd-port", str(port), *words)
    assert done.status == 12
    assert "a web server" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()


def test_the_port_of_the_environment() -> None:
    with saying(b"SSH-2.0-x\r\n") as port:
        found = as_json("doctor", f"app@{HOST}", status=12, ERL_EPMD_PORT=str(port))
    assert found["steps"][2]["answers"][0]["trouble"] == "foreign"


def test_half_a_name() -> None:
    assert as_json("doctor", "app", status=10, EPMDLESS_HOST="b1.test")["advice"][0].endswith("app@b1.test")


def test_the_schemes_port_without_epmd() -> None:
    with saying(b"SSH-2.0-x\r\n") as port:
        found = as_json("doctor", f"app-{port}@{HOST}", "--no-epmd", status=15)
    assert found["steps"][2]["verdict"] == "skipped"
    assert found["steps"][5]["heard"] == "“SSH-2.0-x”"


def test_a_cookie_file_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    path.write_text("secret")
    path.chmod(0o644)
    line = complaint(2, "doctor", f"app@{HOST}", "--cookie-file", path)
    assert line.startswith(f"{path}: --cookie-file: ")
    assert "secret" not in line


def test_the_configurations_cookie_is_read_unless_told_otherwise(tmp_path: Path) -> None:
    config = tmp_path / "e.toml"
    source = tables("cluster.source.list", {"kind": "static", "nodes": ["never@asked"]})
    config.write_text(tables("cluster", {"cookie_file": str(tmp_path / "none")}) + source)
    words = ["doctor", f"app@{HOST}", "--config", str(config)]
    assert "cluster.cookie_file" in complaint(2, *words)
    with closed_port() as port:
        assert epmdless(*words, "--no-cookie", "--epmd-port", str(port)).status == 12


def test_options_that_say_opposite_things(tmp_path: Path) -> None:
    done = epmdless("doctor", f"app@{HOST}", "--no-cookie", "--cookie-file", tmp_path)
    assert (done.status, done.stdout) == (2, "")


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    config = tmp_path / "e.toml"
    cookie = tmp_path / "cookie"
    cookie.touch(mode=0o600)
    cookie.write_text("secret")
    source = tables("cluster.source.list", {"kind": "static", "nodes": ["never@asked"]})
    tls = tables("cluster.tls", {"ca": str(tmp_path / "ca")})
    config.write_text(tables("cluster", {"cookie_file": str(cookie)}) + source + tls)
    line = complaint(2, "doctor", f"app@{HOST}", "--config", config)
    assert line.startswith(f"{config}: cluster.tls.ca: {tmp_path / 'ca'}: cannot be read")


def test_the_help_tells_every_status_and_what_a_cookie_means() -> None:
    help_text = epmdless("doctor", "--help").stdout
    for name, status in EXIT_STATUS.items():
        assert f"{status} {name.replace('_', ' ')}" in help_text
    assert "easily said" in help_text


# What a report looks like


def shown(report: Report, *, is_terminal: bool = False) -> str:
    console = Console(force_terminal=is_terminal, width=200, file=io.StringIO())
    doctor_lines.show(console, report)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def report(**findings: Finding) -> Report:
    ok = Finding("ok", "well")
    return Report("app@b1", [Step(name, findings.get(name, ok), 0.0123) for name in STEPS])


def test_all_well() -> None:
    lines = shown(report()).splitlines()
    assert lines[1].split() == ["✓", "name", "12.3", "ms", "well"]
    assert lines[9].split() == ["✓", "round", "trip", "12.3", "ms", "well"]
    assert lines[10:] == ["The node is reached"]


def test_warnings_are_pointed_at() -> None:
    text = shown(report(dns=Finding("warning", "odd", ("look at it",))))
    assert text.splitlines()[10:] == ["The node is reached; look at dns", "  → look at it"]


def test_colours_on_a_terminal() -> None:
    text = shown(report(tcp=Finding("failed", "no \x1b[2J")), is_terminal=True)
    assert "\x1b[31m✗" in text
    assert "\x1b[32m✓" in text
    assert "\x1b[2J" not in text


def test_json_is_one_line() -> None:
    assert "\n" not in json.dumps(report().to_json())
