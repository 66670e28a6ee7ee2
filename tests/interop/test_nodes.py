"""Real nodes register, find each other and leave, through a server with no configuration."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.beam import Beam, BeamError, Flavour
from tests.support.deadline import eventually
from tests.support.epmd_client import lookup, names
from tests.support.process import run
from tests.support.servers import Server
from tests.support.tools import clean_env, require

pytestmark = pytest.mark.interop

HOST = "127.0.0.1"
VISIBLE = 77

RELEASES = ("otp25", "otp27")
LEAVES_WITHIN = 2.0

# net_adm:names/0 asks at the host's own name, which need not resolve where tests run.
NAMES_HERE = """
    {ok, Here} = inet:gethostname(),
    ok = inet_db:add_host({127, 0, 0, 1}, [Here]),
    ok = inet_db:set_lookup([file, native]),
    {net_adm:names(), net_adm:names('127.0.0.1')}.
"""


@contextmanager
def node(flavour: Flavour, alive: str, server: Server, *args: str) -> Iterator[Beam]:
    """Run a node that uses this server."""
    with Beam(flavour, f"{alive}@{HOST}", epmd_port=server.port, args=args) as beam:
        yield beam


def ping(beam: Beam, alive: str) -> str:
    return beam.eval(f"net_adm:ping('{alive}@{HOST}').")


@pytest.mark.parametrize("second", RELEASES)
@pytest.mark.parametrize("first", RELEASES)
def test_two_nodes_find_each_other(server: Server, first: Flavour, second: Flavour) -> None:
    with node(first, "a", server) as a, node(second, "b", server):
        listed = names(server.port)
        assert list(listed) == ["b", "a"]  # newest first
        assert ping(a, "b") == "pong"
        assert a.eval("nodes().") == f"['b@{HOST}']"
        assert ping(a, "nobody") == "pang"
        assert a.eval('erl_epmd:port_please("b", {127, 0, 0, 1}).') == f"{{port,{listed['b']},6}}"
        assert a.eval('erl_epmd:port_please("nobody", {127, 0, 0, 1}).') == "noport"


@pytest.mark.parametrize("release", RELEASES)
def test_names_seen_from_a_node(server: Server, release: Flavour) -> None:
    with node(release, "only", server) as only:
        answer = f'{{ok,[{{"only",{names(server.port)["only"]}}}]}}'
        assert only.eval(NAMES_HERE) == f"{{{answer},{answer}}}"
        assert only.eval("erl_epmd:names({127, 0, 0, 1}).") == answer


@pytest.mark.parametrize("release", RELEASES)
def test_what_a_node_says_of_itself(server: Server, release: Flavour) -> None:
    with node(release, "shy", server, "-hidden"):
        found = lookup(server.port, "shy")
        assert found is not None
        # erl_epmd announces a hidden node as a normal one: only C and Java nodes use type 72
        assert (found.kind, found.protocol, found.high, found.low) == (VISIBLE, 0, 6, 5)
        assert (found.alive, found.extra) == ("shy", b"")


def test_a_hidden_node_is_found(server: Server) -> None:
    with node("otp25", "seeker", server) as seeker, node("otp27", "shy", server, "-hidden"):
        assert ping(seeker, "shy") == "pong"
        assert seeker.eval("{nodes(), nodes(hidden)}.") == f"{{[],['shy@{HOST}']}}"


def test_the_c_program_lists_the_names(server: Server) -> None:
    epmd = require("epmd", "erlang-base")
    with node("otp25", "a", server):
        done = run([epmd, "-port", str(server.port), "-names"], env=clean_env())
        line = f"name a at port {names(server.port)['a']}\n"
        assert done.stdout == f"epmd: up and running on port {server.port} with data:\n{line}"
        assert (done.status, done.stderr) == (0, "")


def test_a_name_leaves_with_its_node(server: Server) -> None:
    with node("otp25", "stays", server) as stays:
        with node("otp27", "leaves", server) as leaves:
            assert ping(stays, "leaves") == "pong"
            leaves.program.kill()
            eventually(lambda: list(names(server.port)) == ["stays"], within=LEAVES_WITHIN, what="the end")
        assert ping(stays, "leaves") == "pang"
        with node("otp27", "leaves", server):
            assert ping(stays, "leaves") == "pong"


def test_a_name_in_use_is_refused(server: Server) -> None:
    with node("otp25", "one", server) as one:
        with pytest.raises(BeamError, match="in use"), node("otp27", "one", server):
            pass
        assert list(names(server.port)) == ["one"]
        assert one.eval("node().") == f"'one@{HOST}'"


def test_a_node_over_ipv6(server: Server) -> None:
    args = ["-proto_dist", "inet6_tcp"]
    with (
        Beam("otp25", "a@::1", epmd_port=server.port, args=args) as a,
        Beam("otp27", "b@::1", epmd_port=server.port, args=args),
    ):
        assert a.eval("net_adm:ping('b@::1').") == "pong"
        assert set(names(server.port, "::1")) == {"a", "b"}


def test_an_elixir_node_connects_to_an_erlang_node(server: Server) -> None:
    with node("elixir", "mix", server) as mix, node("otp27", "erl", server) as erl:
        assert mix.eval(f':net_adm.ping(:"erl@{HOST}")') == ":pong"
        assert mix.eval("Node.list()") == f'[:"erl@{HOST}"]'
        assert erl.eval("nodes().") == f"['mix@{HOST}']"
