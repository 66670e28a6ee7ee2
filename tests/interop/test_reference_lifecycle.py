"""What the C epmd and ours do over several requests: creations, names that leave, stop and kill."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.deadline import eventually
from tests.support.epmd_client import DUMP, KILL, STOP, Registration, ask, lookup, names, read_to_end
from tests.support.servers import Kind, Server, running

pytestmark = pytest.mark.interop

RELAXED_ENV = {"ERL_EPMD_RELAXED_COMMAND_CHECK": ""}


@pytest.fixture(params=["reference", "ours"])
def either(request: pytest.FixtureRequest, kind: Kind) -> Kind:
    """The C epmd first, to prove the test; then ours."""
    if request.param == "reference":
        return "c"
    return "c" if kind == "c" else "epmd"


@contextmanager
def left(server: Server, *alive: str) -> Iterator[None]:
    """Wait, after the context, until the names have left."""
    yield
    eventually(lambda: not set(alive) & set(names(server.port)), within=5, what=f"the end of {alive}")


def test_creations_count_up_for_a_name(either: Kind) -> None:
    with running(either) as server:
        seen = []
        for _ in range(4):
            with left(server, "a"), Registration(server.port, "a", 40001) as registration:
                seen.append(registration.creation)
        assert seen[0] > 1_500_000_000  # seconds since 1970, at the time
        assert seen == list(range(seen[0], seen[0] + 4))


def test_an_old_node_gets_one_of_three_creations(either: Kind) -> None:
    with running(either) as server:
        with left(server, "a"), Registration(server.port, "a", 40001) as new:
            pass
        for step in range(1, 5):
            with left(server, "a"), Registration(server.port, "a", 40001, high=5) as old:
                assert old.creation == (new.creation + step) % 3 + 1


def test_names_that_left_are_dumped(either: Kind) -> None:
    with running(either) as server, Registration(server.port, "a", 40001):
        for name, port in {"b": 40002, "c": 40003}.items():
            with left(server, name), Registration(server.port, name, port):
                pass
        dump = re.sub(rb"fd = \d+", b"fd = F", ask(server.port, DUMP)[4:])
        assert dump == (
            b"active name     <a> at port 40001, fd = F\n\0"
            b"old/unused name <b>, port = 40002, fd = F \n\0"
            b"old/unused name <c>, port = 40003, fd = F \n\0"
        )


def test_a_byte_on_a_registration_ends_it(either: Kind) -> None:
    with running(either) as server, Registration(server.port, "a", 40001) as registration:
        registration.socket.sendall(b"!")
        assert read_to_end(registration.socket) == b""
        assert lookup(server.port, "a") is None


def test_newest_first(either: Kind) -> None:
    with running(either) as server, ExitStack() as stack:
        for port, name in enumerate("bac"):
            stack.enter_context(Registration(server.port, name, port))
        assert names(server.port) == {"c": 2, "a": 1, "b": 0}
        assert list(names(server.port)) == ["c", "a", "b"]


def test_kill_ends_an_empty_server(either: Kind) -> None:
    with running(either) as server:
        assert ask(server.port, KILL) == b"OK"
        assert server.program.wait(5) == 0


def test_kill_ends_a_relaxed_server_under_living_nodes(either: Kind) -> None:
    with (
        running(either, "-relaxed_command_check") as server,
        Registration(server.port, "a", 40001) as registration,
    ):
        assert ask(server.port, KILL) == b"OK"
        assert read_to_end(registration.socket) == b""
        assert server.program.wait(5) == 0


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_stop_unregisters_when_relaxed(either: Kind, by: str) -> None:
    flags = ["-relaxed_command_check"] if by == "flag" else []
    env = RELAXED_ENV if by == "environment" else {}
    with running(either, *flags, env=env) as server, Registration(server.port, "a", 40001) as registration:
        assert ask(server.port, STOP + b"nobody") == b"NOEXISTSTOPPED"
        assert list(names(server.port)) == ["a"]
        assert ask(server.port, STOP) == b""
        assert ask(server.port, STOP + b"a") == b"STOPPED"
        assert read_to_end(registration.socket) == b""
        assert names(server.port) == {}
