"""Nodes that no server has registered, found by their names alone: the port is in the name."""

import pytest

from tests.support.beam import Beam, Flavour, fixed_port
from tests.support.epmd_client import lookup, names
from tests.support.ports import closed_port, free_port
from tests.support.servers import Server, running

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("ours_only")]

HOST = "127.0.0.1"


@pytest.mark.parametrize(("found", "finder"), [("otp25", "otp27"), ("otp27", "otp25")])
def test_a_node_that_never_registered(server: Server, found: Flavour, finder: Flavour) -> None:
    port = free_port()
    name = f"app-{port}@{HOST}"
    # -erl_epmd_port: without it a node that cannot register does not boot
    flags = [*fixed_port(port), "-erl_epmd_port", str(port)]
    with (
        closed_port() as nothing,
        Beam(found, name, epmd_port=nothing, args=flags) as app,
        Beam(finder, f"finder@{HOST}", epmd_port=server.port) as asking,
    ):
        assert list(names(server.port)) == ["finder"]
        assert asking.eval(f"net_adm:ping('{name}').") == "pong"
        assert app.eval("nodes().") == f"['finder@{HOST}']"


def test_a_node_that_another_server_registered(server: Server) -> None:
    """As on another host: its own server knows it, the one that is asked does not."""
    port = free_port()
    name = f"app-{port}@{HOST}"
    with (
        running("serve") as other,
        Beam("otp27", name, epmd_port=other.port, args=fixed_port(port)),
        Beam("otp25", f"finder@{HOST}", epmd_port=server.port) as asking,
    ):
        assert names(other.port) == {f"app-{port}": port}
        assert list(names(server.port)) == ["finder"]
        assert asking.eval(f"net_adm:ping('{name}').") == "pong"


def test_a_made_up_answer_is_marked_and_never_listed(server: Server) -> None:
    found = lookup(server.port, "app-9001")
    assert found is not None
    assert (found.port, found.kind, found.protocol, found.high, found.low) == (9001, 77, 0, 6, 5)
    assert found.alive == "app-9001"
    assert names(server.port) == {}


@pytest.mark.parametrize("alive", ["app", "app9001", "app-80", "app-70000", "rem-4f2a-9001"])
def test_a_name_without_a_port_is_nobody(server: Server, alive: str) -> None:
    assert lookup(server.port, alive) is None


def test_a_registration_goes_before_the_name(server: Server) -> None:
    with Beam("otp25", f"app-9001@{HOST}", epmd_port=server.port):
        found = lookup(server.port, "app-9001")
        assert found is not None
        assert found.port == names(server.port)["app-9001"] != 9001
