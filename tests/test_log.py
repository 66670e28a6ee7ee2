"""Log lines: how they look, which pass, and how many of a kind."""

import json
import logging.handlers
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from epmdless import log as logs
from epmdless.log import BURST, LINES_A_SECOND, LONGEST_LINE, RateLimit


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    """Logging is set up for a whole process: put it back."""
    before = structlog.get_config()
    yield
    factory = structlog.get_config()["logger_factory"]
    for handler in getattr(factory(), "handlers", ()):
        handler.close()
    structlog.configure(**before)


def passes(limit: RateLimit, event: str = "refused") -> dict[str, Any] | None:
    """The line as it passes the limit, None if it is held back."""
    try:
        return dict(limit(None, "info", {"event": event}))
    except structlog.DropEvent:
        return None


def test_a_burst_passes_and_the_next_line_is_held_back() -> None:
    limit = RateLimit(Clock())
    assert all(passes(limit) for _ in range(BURST))
    assert passes(limit) is None


def test_the_next_line_that_passes_says_how_many_were_held_back() -> None:
    clock = Clock()
    limit = RateLimit(clock)
    for _ in range(BURST + 7):
        passes(limit)
    clock.now += 1 / LINES_A_SECOND
    assert passes(limit) == {"event": "refused", "held_back": 7}
    clock.now += 1 / LINES_A_SECOND
    assert passes(limit) == {"event": "refused"}


def test_lines_pass_at_their_rate_after_the_burst() -> None:
    clock = Clock()
    limit = RateLimit(clock)
    for _ in range(BURST):
        passes(limit)
    passed = 0
    for _ in range(1000):
        clock.now += 0.01
        passed += passes(limit) is not None
    assert passed == pytest.approx(10 * LINES_A_SECOND, abs=1)


def test_after_a_long_silence_a_burst_passes_and_no_more() -> None:
    clock = Clock()
    limit = RateLimit(clock)
    passes(limit)
    clock.now += 86400
    assert sum(passes(limit) is not None for _ in range(2 * BURST)) == BURST


def test_each_kind_of_line_has_a_limit_of_its_own() -> None:
    limit = RateLimit(Clock())
    for _ in range(BURST + 1):
        passes(limit, "refused")
    assert passes(limit, "refused") is None
    assert passes(limit, "registered") == {"event": "registered"}


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged; stdout must hold nothing."""
    out, err = capfd.readouterr()
    assert out == ""
    return err.splitlines()


def test_json_is_one_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.configure("info", "json")
    log.info("registered", name='имя "x"\n', port=9001, listen=["[::]:4369"])
    log.warning("refused", peer="10.0.0.1")
    first, second = map(json.loads, lines(capfd))
    assert list(first)[:3] == ["timestamp", "level", "event"]
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "info",
        "event": "registered",
        "name": 'имя "x"\n',
        "port": 9001,
        "listen": ["[::]:4369"],
    }
    assert (second["level"], second["event"], second["peer"]) == ("warning", "refused", "10.0.0.1")


@pytest.mark.parametrize(
    "fields",
    [
        {"listen": [f"10.0.{number}.11:4369" for number in range(1000)], "routes": 1000},
        {"listen": ["10.0.0.1:4369", "x" * 10_000]},
        {"error": "é" * 10_000, "source": "y" * 3000},
        {"error": '"' * 5000},
        {"why": {"x": "y" * 5000}},
        {f"n{number}": "x" * 60 for number in range(50)},
    ],
)
def test_a_line_that_would_be_too_long_is_json_all_the_same(
    fields: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", "json").info("started", pid=1, **fields)
    (line,) = lines(capfd)
    assert len(line.encode()) < LONGEST_LINE
    shown = json.loads(line)
    assert (shown["event"], shown["pid"]) == ("started", 1)
    assert shown.keys() >= fields.keys()
    assert "…" in line or len(fields) == 50


def test_the_console_form_is_a_line_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "console").info("registered", name="app", port=9001)
    (line,) = lines(capfd)
    assert "registered" in line
    assert line.endswith("name=app port=9001")
    assert "\x1b" not in line


@pytest.mark.parametrize("style", ["console", "json"])
@pytest.mark.parametrize("name", ["a\n2024 forged", "a\rb", "a\x1b[31m"])
def test_a_name_cannot_forge_a_line_or_reach_the_terminal(
    style: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names of lookups that fail are logged, and they come from anybody."""
    logs.configure("info", style).info("source failed", name=name)
    (line,) = lines(capfd)
    assert not any(character in line for character in "\r\x1b")


def test_auto_is_json_where_stderr_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto").info("started")
    (line,) = lines(capfd)
    assert json.loads(line)["event"] == "started"


@pytest.mark.parametrize(
    ("level", "passed"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_a_level_lets_through_itself_and_what_is_worse(
    level: str, passed: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    log = logs.configure(level, "json")
    for say in (log.debug, log.info, log.warning, log.error):
        say("something")
    assert [json.loads(line)["level"] for line in lines(capfd)] == passed


def test_a_configured_log_is_rate_limited(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.configure("info", "json")
    for _ in range(3 * BURST):
        log.warning("refused")
    log.warning("registered")
    found = [json.loads(line)["event"] for line in lines(capfd)]
    assert BURST <= found.count("refused") < 2 * BURST
    assert found[-1] == "registered"


def test_what_the_level_keeps_out_uses_up_no_burst(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.configure("info", "json")
    for _ in range(2 * BURST):
        log.debug("looked up")
    log.info("looked up")
    assert len(lines(capfd)) == 1


@pytest.fixture
def dev_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The system log's socket, in the place of /dev/log."""
    path = str(tmp_path / "log")
    plain = logging.handlers.SysLogHandler.__init__

    def init(self: logging.handlers.SysLogHandler, address: str, **rest: Any) -> None:
        assert address == "/dev/log"
        plain(self, path, **rest)

    monkeypatch.setattr(logging.handlers.SysLogHandler, "__init__", init)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(5)
        yield sock


@pytest.mark.parametrize(("level", "priority"), [("warning", 28), ("error", 27), ("info", 30)])
def test_a_daemon_writes_to_the_system_log(
    dev_log: socket.socket, capfd: pytest.CaptureFixture[str], level: str, priority: int
) -> None:
    log = logs.configure("info", "auto", syslog=True)
    getattr(log, level)("stopped", registered=3)
    tag, _, rest = dev_log.recv(4096).rstrip(b"\0").decode().partition("epmdless: ")
    assert tag == f"<{priority}>"
    assert json.loads(rest)["registered"] == 3
    assert lines(capfd) == []
