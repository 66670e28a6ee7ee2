"""EPMD on stand-in addresses: what near nodes learn of far nodes, and what they may not ask there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.epmd_client import Registration, alive2, ask, connect, lookup, names, read_to_end
from tests.support.far_epmd import EXTRA, FarEpmd
from tests.support.link_sides import FAR_ADDRESS, HOST, STAND_IN, FarHost, Near, linked, passes
from tests.support.ports import free_port
from tests.support.relays import RelayProgram, Settings, config_text, serving
from tests.support.scripted_dns import ScriptedDns, answer

OTHER_ADDRESS = "127.0.1.8"
OTHER_HOST = "b8.test"


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


@pytest.fixture
def far_epmd(far_host: FarHost) -> Iterator[FarEpmd]:
    with FarEpmd({"b": far_host.port}) as far_epmd:
        yield far_epmd


def on_demand(**more: object) -> Settings:
    """A route without ports."""
    return {"host": HOST, "listen": STAND_IN, "dial": FAR_ADDRESS, **more}


@contextlib.contextmanager
def face(
    folder: Path,
    epmd_port: int,
    *routes: Settings,
    before: str = "[epmd]\nlisten = []\n",
    **relay: Any,
) -> Iterator[RelayProgram]:
    """A relay whose EPMD faces, and the far EPMD servers, are at this port."""
    text = config_text(*(routes or (on_demand(),)), before=before, epmd_port=epmd_port, drain="0s", **relay)
    with serving(folder, text) as program:
        yield program


def test_a_lookup_is_the_far_server_s_own_answer_and_its_port_leads_there(
    tmp_path: Path, far_host: FarHost, far_epmd: FarEpmd
) -> None:
    with face(tmp_path, far_epmd.port) as relay:
        node = lookup(far_epmd.port, "b", STAND_IN)
        assert node == lookup(far_epmd.port, "b", FAR_ADDRESS)
        assert node is not None
        assert (node.port, node.kind, node.extra) == (far_host.port, 72, EXTRA)
        with Near(STAND_IN, node.port) as near:
            assert passes(near, linked(near, far_host))
        assert lookup(far_epmd.port, "nobody", STAND_IN) is None
        assert len(relay.events("port opened")) == 1


def test_lookups_are_logged_when_all_lookups_are(
    tmp_path: Path, far_host: FarHost, far_epmd: FarEpmd
) -> None:
    before = '[epmd]\nlisten = []\n[log]\nlevel = "debug"\n'
    with face(tmp_path, far_epmd.port, before=before) as relay:
        lookup(far_epmd.port, "b", STAND_IN)
        lookup(far_epmd.port, "nobody", STAND_IN)
        relay.wait_for("lookup", 2)
        said = [(line["name"], line["resolver"], line["port"] is None) for line in relay.events("lookup")]
        assert said == [("b", "relay", False), ("nobody", "relay", True)]


def test_nothing_is_remembered_of_a_far_server(tmp_path: Path, far_host: FarHost, far_epmd: FarEpmd) -> None:
    with face(tmp_path, far_epmd.port):
        assert lookup(far_epmd.port, "c", STAND_IN) is None
        with FarHost() as another:
            far_epmd.nodes["c"] = another.port
            node = lookup(far_epmd.port, "c", STAND_IN)
            assert node is not None
            assert node.port == another.port
            del far_epmd.nodes["c"]
            assert lookup(far_epmd.port, "c", STAND_IN) is None


def test_a_far_server_that_is_down_is_a_miss_for_lookups_and_no_list(
    tmp_path: Path, far_host: FarHost
) -> None:
    with FarEpmd({}) as far_epmd:
        port = far_epmd.port
    with face(tmp_path, port) as relay:
        assert lookup(port, "b", STAND_IN) is None
        assert ask(port, b"n", STAND_IN) == b""
        assert "Connection refused" in relay.wait_for("source failed", 2)["error"]
        with FarEpmd({"b": far_host.port}, port=port):
            node = lookup(port, "b", STAND_IN)
            assert node is not None
            assert names(port, STAND_IN) == {"b": far_host.port}


@pytest.mark.parametrize("says", [b"", b"w", b"w\0\1", b"junk" * 100, b"w\0" + b"\xff" * 40])
def test_a_far_server_that_answers_badly_is_a_miss(tmp_path: Path, far_epmd: FarEpmd, says: bytes) -> None:
    far_epmd.says = says
    with face(tmp_path, far_epmd.port) as relay:
        assert lookup(far_epmd.port, "b", STAND_IN) is None
        assert relay.wait_for("source failed")["resolver"] == "epmd"
        assert relay.events("internal error") == []


def test_a_port_that_is_taken_here_is_replaced_by_one_of_the_range(
    tmp_path: Path, far_host: FarHost, far_epmd: FarEpmd
) -> None:
    with FarHost(STAND_IN) as spare, FarHost(STAND_IN, far_host.port):
        spare.close()
        with face(tmp_path, far_epmd.port, port_range=f"{spare.port}-{spare.port}"):
            node = lookup(far_epmd.port, "b", STAND_IN)
            assert node is not None
            assert node.port == spare.port
            assert names(far_epmd.port, STAND_IN) == {"b": spare.port}
            with Near(STAND_IN, node.port) as near:
                assert passes(near, linked(near, far_host))


def test_without_a_port_there_is_no_answer(tmp_path: Path, far_host: FarHost, far_epmd: FarEpmd) -> None:
    with FarHost(STAND_IN, far_host.port):
        port_range = f"{far_host.port}-{far_host.port}"
        with face(tmp_path, far_epmd.port, port_range=port_range) as relay:
            assert lookup(far_epmd.port, "b", STAND_IN) is None
            assert relay.wait_for("no port for a far node")["far_port"] == far_host.port


def test_the_list_is_the_far_server_s_own(tmp_path: Path, far_epmd: FarEpmd) -> None:
    far_epmd.nodes = {"b": 9001, "c": 9002, "d": 9003}
    with face(tmp_path, far_epmd.port, on_demand(names="[bc]"), on_demand(names="?")):
        assert names(far_epmd.port, STAND_IN) == far_epmd.nodes
    with face(tmp_path, far_epmd.port, on_demand(names="b*")):
        assert names(far_epmd.port, STAND_IN) == {"b": 9001}
        assert lookup(far_epmd.port, "c", STAND_IN) is None
        assert far_epmd.asked[-1] == b"n"


def test_two_routes_on_one_address_are_told_apart_by_names(
    tmp_path: Path, far_host: FarHost, far_epmd: FarEpmd
) -> None:
    far_epmd.nodes["x2"] = 2
    routes = on_demand(names="b*"), on_demand(host=OTHER_HOST, dial=OTHER_ADDRESS, names="x*")
    with (
        FarHost(OTHER_ADDRESS) as other_host,
        FarEpmd({"x1": other_host.port, "b": 1}, OTHER_ADDRESS, far_epmd.port),
        face(tmp_path, far_epmd.port, *routes),
    ):
        mine, others = (lookup(far_epmd.port, name, STAND_IN) for name in ("b", "x1"))
        assert mine is not None
        assert others is not None
        assert (mine.port, others.port) == (far_host.port, other_host.port)
        assert lookup(far_epmd.port, "x2", STAND_IN) is None
        assert names(far_epmd.port, STAND_IN) == {"b": far_host.port, "x1": other_host.port}


def test_two_far_hosts_with_the_same_port_get_two_ports_here(
    tmp_path: Path, far_host: FarHost, far_epmd: FarEpmd
) -> None:
    port = far_host.port
    with FarHost(OTHER_ADDRESS, port) as other_host, FarEpmd({"x": port}, OTHER_ADDRESS, far_epmd.port):
        routes = on_demand(names="b*"), on_demand(host=OTHER_HOST, dial=OTHER_ADDRESS, names="x*")
        with face(tmp_path, far_epmd.port, *routes, port_range="20000-20999") as relay:
            mine, others = (lookup(far_epmd.port, name, STAND_IN) for name in ("b", "x"))
            assert mine is not None
            assert others is not None
            assert mine.port == port
            assert others.port != port
            with Near(STAND_IN, others.port) as near:
                near.sock.sendall(b"\x16\x03")
                near.close()
                assert relay.end_of(near)["route"] == OTHER_HOST
            assert other_host.drain() == 0


def test_other_sources_answer_with_ports_that_lead_there(tmp_path: Path, far_host: FarHost) -> None:
    port, name = free_port(), f"b-{far_host.port}"
    static = f"[resolve.static]\nfixed = {far_host.port}\n"
    route = on_demand(resolve=["static", "scheme"])
    with face(tmp_path, port, route, before=f"[epmd]\nlisten = []\n{static}"):
        for alive in (name, "fixed"):
            node = lookup(port, alive, STAND_IN)
            assert node is not None
            assert (node.port, node.alive, node.high) == (far_host.port, alive, 6)
        assert lookup(port, "couchdb", STAND_IN) is None
        assert names(port, STAND_IN) == {}


def test_srv_answers_for_a_far_host(tmp_path: Path, far_host: FarHost) -> None:
    with ScriptedDns() as dns:
        question = f"_b._tcp.{HOST}."
        dns.script(question, "SRV", answer(f"{question} 60 IN SRV 0 0 {far_host.port} {HOST}."))
        srv = f'[resolve.srv]\nquestion = "_{{name}}._tcp.{{host}}"\nservers = ["127.0.0.1:{dns.port}"]\n'
        port = free_port()
        with face(tmp_path, port, on_demand(resolve=["srv"]), before=f"[epmd]\nlisten = []\n{srv}"):
            node = lookup(port, "b", STAND_IN)
            assert node is not None
            assert node.port == far_host.port
            assert lookup(port, "c", STAND_IN) is None


@pytest.mark.parametrize("request_", [b"d", b"k", b"sb"])
def test_what_is_for_a_host_s_own_nodes_is_refused(
    tmp_path: Path, far_epmd: FarEpmd, request_: bytes
) -> None:
    with face(tmp_path, far_epmd.port) as relay:
        assert ask(far_epmd.port, request_, STAND_IN) == b""
        assert relay.wait_for("refused")["reason"] == "stand-in"
        assert names(far_epmd.port, STAND_IN) == {"b": far_epmd.nodes["b"]}
        assert far_epmd.asked == [b"n"]


def test_no_node_registers_at_a_stand_in_address(tmp_path: Path, far_epmd: FarEpmd) -> None:
    with face(tmp_path, far_epmd.port), connect(far_epmd.port, STAND_IN) as sock:
        sock.sendall(alive2("local", 7001))
        assert read_to_end(sock) == b""
        assert "local" not in names(far_epmd.port, STAND_IN)


def test_one_listener_serves_the_registry_and_the_faces_by_address(tmp_path: Path, far_host: FarHost) -> None:
    """The far EPMD server holds the port on its address, so all interfaces are a namespace's matter; here
    the source is static."""
    port = free_port()
    before = f'[epmd]\nlisten = ["0.0.0.0:{port}"]\n[resolve.static]\nfar = {far_host.port}\n'
    with face(tmp_path, port, on_demand(resolve=["static"]), before=before) as relay:
        assert relay.wait_for("started")["listen"] == [f"0.0.0.0:{port}"]
        with Registration(port, "local", 7001):
            assert names(port) == {"local": 7001}
            assert names(port, "127.0.0.9") == {"local": 7001}
            assert names(port, STAND_IN) == {}
            assert lookup(port, "local", STAND_IN) is None
            assert lookup(port, "far") is None
            node = lookup(port, "far", STAND_IN)
            assert node is not None
            assert node.port == far_host.port


def test_access_lists_are_for_the_face_too(tmp_path: Path, far_epmd: FarEpmd) -> None:
    before = '[epmd]\nlisten = []\n[epmd.access]\nlookup = ["10.0.0.0/8"]\nnames = ["10.0.0.0/8"]\n'
    with face(tmp_path, far_epmd.port, before=before):
        assert ask(far_epmd.port, b"zb", STAND_IN) == b""
        assert ask(far_epmd.port, b"n", STAND_IN) == b""
        assert far_epmd.asked == []
