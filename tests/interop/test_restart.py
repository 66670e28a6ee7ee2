"""The server goes away and comes back under live nodes, and `erl` starts one by itself."""

import shlex
import signal
from collections.abc import Iterator

import pytest

from tests.support.beam import Beam
from tests.support.deadline import eventually
from tests.support.epmd_client import names
from tests.support.ports import free_port
from tests.support.servers import OUR_EPMD, Kind, answers, end_daemon, start
from tests.support.tools import require

pytestmark = pytest.mark.interop

HOST = "127.0.0.1"
REGISTERED_AGAIN_WITHIN = 5.0
"""Seconds: a node tries every 2 s."""


def test_nodes_register_again_after_the_server_was_killed(kind: Kind) -> None:
    port = free_port()
    with (
        start(kind, port=port) as first,
        Beam("otp25", f"a@{HOST}", epmd_port=port) as a,
        Beam("otp27", f"b@{HOST}", epmd_port=port),
    ):
        before = names(port)
        first.signal(signal.SIGKILL)
        first.wait(5)
        with start(kind, port=port):
            eventually(
                lambda: names(port).items() == before.items(),
                within=REGISTERED_AGAIN_WITHIN,
                what=f"the same registrations as before: {before}",
            )
            assert a.eval(f"net_adm:ping('b@{HOST}').") == "pong"


def test_a_stopped_server_ends_cleanly_under_live_nodes(kind: Kind) -> None:
    port = free_port()
    with start(kind, port=port) as server, Beam("otp25", f"a@{HOST}", epmd_port=port) as a:
        status = server.stop()
        assert status == (-signal.SIGTERM if kind == "c" else 0)
        assert a.eval("node().") == f"'a@{HOST}'"


@pytest.fixture
def daemon_port() -> Iterator[int]:
    """A port whose daemon, if one is there at the end, is ended."""
    port = free_port()
    yield port
    end_daemon(port)


def test_erl_starts_a_daemon_at_boot(kind: Kind, daemon_port: int) -> None:
    command = [require("epmd", "erlang-base")] if kind == "c" else OUR_EPMD
    # relaxed, so that KILL ends it even when the node's end has not been seen yet
    args = ["-epmd", shlex.join([*command, "-daemon", "-relaxed_command_check"])]
    with Beam("host", f"a@{HOST}", epmd_port=daemon_port, args=args, start_epmd=True) as a:
        assert list(names(daemon_port)) == ["a"]
        with Beam("otp27", f"b@{HOST}", epmd_port=daemon_port):
            assert a.eval(f"net_adm:ping('b@{HOST}').") == "pong"
    eventually(lambda: names(daemon_port) == {}, within=2, what="no names")


def test_erl_that_starts_its_own_epmd_finds_the_port_served(kind: Kind, daemon_port: int) -> None:
    with start(kind, port=daemon_port) as server:
        with Beam("otp25", f"a@{HOST}", epmd_port=daemon_port, start_epmd=True):
            assert list(names(daemon_port)) == ["a"]
        server.stop()
        assert not answers(daemon_port)  # it was our server that answered, no second one
