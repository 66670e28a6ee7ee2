"""systemd's protocols, over real sockets: notices, and descriptors that a service is started with."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from epmdless.net.systemd import FIRST_DESCRIPTOR, Notifier, inherited_sockets
from tests.support.tools import PYTHON, clean_env

# Notices.


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(
            f"\0epmdless-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
        )
        sock.settimeout(5)
        yield sock


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    """What the manager puts into a service's environment."""
    name = manager.getsockname()
    text = "@" + name[1:].decode() if isinstance(name, bytes) else name
    return {"NOTIFY_SOCKET": text, "HOME": "/", **more}


def received(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_ready_comes_with_a_status_line(manager: socket.socket) -> None:
    with contextlib.closing(Notifier(environment(manager))) as notifier:
        notifier.ready("3 nodes registered")
    assert received(manager) == ["READY=1", "STATUS=3 nodes registered"]


def test_each_notice_says_what_systemd_expects(manager: socket.socket) -> None:
    with contextlib.closing(Notifier(environment(manager))) as notifier:
        notifier.status("имя")
        notifier.stopping()
        notifier.alive()
    assert [received(manager) for _ in range(3)] == [["STATUS=имя"], ["STOPPING=1"], ["WATCHDOG=1"]]


def test_reloading_carries_the_time_that_ready_is_matched_with(manager: socket.socket) -> None:
    with contextlib.closing(Notifier(environment(manager))) as notifier:
        notifier.reloading()
    first, second = received(manager)
    assert first == "RELOADING=1"
    key, _, microseconds = second.partition("=")
    assert key == "MONOTONIC_USEC"
    assert microseconds.isdigit()


def test_the_variables_are_taken_out_of_the_environment(manager: socket.socket) -> None:
    environ = environment(manager, WATCHDOG_USEC="10000000", WATCHDOG_PID=str(os.getpid()))
    with contextlib.closing(Notifier(environ)) as notifier:
        assert notifier.watchdog_seconds is not None
    assert environ == {"HOME": "/"}


def test_without_a_manager_notices_go_nowhere() -> None:
    notifier = Notifier({})
    notifier.ready("serving")
    notifier.alive()
    assert notifier.watchdog_seconds is None


def test_a_manager_that_has_gone_disturbs_nobody(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready("serving")
    assert list(tmp_path.iterdir()) == []


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    with contextlib.closing(Notifier(environment(manager))) as notifier:
        for _ in range(10_000):
            notifier.alive()
    assert received(manager) == ["WATCHDOG=1"]


OWN_PID: Final = str(os.getpid())


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": OWN_PID}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_this_process_or_it_is_off(variables: dict[str, str], seconds: float | None) -> None:
    assert Notifier(dict(variables)).watchdog_seconds == seconds


# Descriptors.

TAKE_OVER: Final = """\
import contextlib, json, os, sys
from epmdless.net.systemd import inherited_sockets

def is_open(fd):
    with contextlib.suppress(OSError):
        return bool(os.fstat(fd))

environ = {"LISTEN_PID": str(os.getpid()), "KEPT": "1", **json.loads(sys.argv[1])}
taken = inherited_sockets(environ)
print(json.dumps({
    "taken": [[each.name, each.listener.fileno(), *each.listener.getsockname()[:2]] for each in taken],
    "inheritable": [os.get_inheritable(each.listener.fileno()) for each in taken],
    "environ": environ,
    "open": [fd for fd in range(3, 10) if is_open(fd)],
}))
"""


def started_with(descriptors: list[int], **environ: str) -> dict[str, Any]:
    """Start a process with these descriptors from 3 on, as systemd does, and see what it takes over."""
    environ = {"LISTEN_FDS": str(len(descriptors)), **environ}
    redirections = " ".join(f"{3 + at}<&{fd}" for at, fd in enumerate(descriptors))
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {redirections}', "sh", PYTHON, "-c", TAKE_OVER, json.dumps(environ)],
        pass_fds=descriptors,
        env=clean_env(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(stack: ExitStack, family: int = socket.AF_INET) -> socket.socket:
    """A TCP listener at a high descriptor, which leaves those from 3 on to the child."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family) as low:
        return high(stack, low)


def high(stack: ExitStack, low: socket.socket) -> socket.socket:
    """The same socket at a descriptor from 100 on."""
    fd = fcntl.fcntl(low.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
    return stack.enter_context(socket.socket(fileno=fd))


def test_listening_sockets_are_taken_over_with_their_names(stack: ExitStack) -> None:
    first, second = listening(stack), listening(stack, socket.AF_INET6)
    found = started_with([first.fileno(), second.fileno()], LISTEN_FDNAMES="epmd:metrics")
    assert found["taken"] == [
        ["epmd", 3, "127.0.0.1", first.getsockname()[1]],
        ["metrics", 4, "::1", second.getsockname()[1]],
    ]
    assert found["inheritable"] == [False, False]
    assert found["environ"] == {"KEPT": "1"}


@pytest.mark.parametrize(("names", "taken"), [("", ["", ""]), ("epmd", ["epmd", ""]), ("a:b:c", ["a", "b"])])
def test_names_may_be_fewer_or_more_than_sockets(stack: ExitStack, names: str, taken: list[str]) -> None:
    fds = [listening(stack).fileno(), listening(stack).fileno()]
    found = started_with(fds, LISTEN_FDNAMES=names)
    assert [each[0] for each in found["taken"]] == taken


def test_what_is_no_listening_tcp_socket_is_closed(stack: ExitStack, tmp_path: Path) -> None:
    listener = listening(stack)
    unbound, datagram = (
        socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    )
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "local"))
    local.listen()
    others = []
    for low in (unbound, datagram, local):
        with low:
            others.append(high(stack, low).fileno())
    found = started_with([*others, listener.fileno()])
    assert [each[1] for each in found["taken"]] == found["open"] == [6]


def test_a_descriptor_that_is_no_socket_is_closed(stack: ExitStack) -> None:
    """systemd hands over FIFOs, files and devices as well (systemd.socket(5))."""
    listener = listening(stack)
    with Path(os.devnull).open("rb") as device:
        found = started_with([device.fileno(), listener.fileno()])
    assert [each[1] for each in found["taken"]] == found["open"] == [4]


@pytest.mark.parametrize(
    "variables",
    [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "x"}, {"LISTEN_FDS": "0"}],
)
def test_what_is_meant_for_another_process_is_left_alone(stack: ExitStack, variables: dict[str, str]) -> None:
    found = started_with([listening(stack).fileno()], **variables)
    assert found["taken"] == []
    assert found["environ"] == {"KEPT": "1"}
    assert FIRST_DESCRIPTOR in found["open"]


def test_without_variables_nothing_is_taken_over() -> None:
    environ = {"HOME": "/"}
    assert inherited_sockets(environ) == []
    assert environ == {"HOME": "/"}
