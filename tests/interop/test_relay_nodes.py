"""Six real nodes in two subnets that only the relay connects: all that nodes do with each other works."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.interop.relay_world import (
    RELEASES,
    Relay,
    both_ways,
    configuration,
    node,
    ping,
    relaying,
    wait_nodes,
    wait_value,
)
from tests.support.beam import Beam
from tests.support.epmd_client import lookup, names
from tests.support.subnets import EPMD_PORT, World, subnets

pytestmark = pytest.mark.interop

Six = tuple[Beam, ...]
"""a1, a2 and a3, then b1, b2 and b3. OTP 25: a1, a3, b2. OTP 27: a2, b1, b3."""

PAIRS = [(0, 4), (0, 3), (1, 4), (1, 3), (4, 2), (5, 0)]
"""Who and whom: both releases at both ends, and two that dial from far to near."""

MIXED = [(0, 3), (1, 4), (3, 0)]
"""Pairs of different releases, in both directions across the relay."""

LARGE = 100_000_000
"""Bytes of the largest term here, 100 MB."""

# Each node evaluates this itself: a fun of another release's erl_eval would not run.
ECHO = """
    register(echo, spawn(fun Echo() ->
        receive {From, Term} -> From ! {echoed, Term}, Echo() end
    end)).
"""

VICTIM = """
    catch unregister(victim),
    register(victim, spawn(fun() -> receive {stop, Why} -> exit(Why) end end)).
"""

ENDINGS = [("Pid ! {stop, {gone, [1, 2]}}", "{gone,[1,2]}"), ("exit(Pid, kill)", "killed")]
"""How a process is ended, and what a monitor says of that."""

TERMS = {
    "atoms": '[list_to_atom("atom_" ++ integer_to_list(N)) || N <- lists:seq(1, 3000)]',
    "odd atoms": "['', list_to_atom(lists:duplicate(255, $x)), list_to_atom([1046, 8364, 128512])]",
    "references": "[make_ref(), monitor(process, self()), alias()]",
    "processes and ports": "[self(), whereis(init), hd(erlang:ports()), node()]",
    "numbers": "[0, -1, 1 bsl 64, -(1 bsl 4096), 1.5, -0.0]",
    "binaries": '[<<>>, <<5:3>>, binary:copy(<<"x">>, 100), <<"one", 1:1>>]',
    "maps and lists": '#{a => [1, 2 | 3], {} => "text", "k" => #{}, 1.0 => lists:seq(1, 1000)}',
    "external funs": "[fun lists:reverse/1, fun erlang:node/0]",
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with subnets() as world:
        yield world


@pytest.fixture(scope="module")
def relay(world: World) -> Iterator[Relay]:
    with relaying(world, configuration(both_ways(world))) as relay:
        yield relay


@pytest.fixture(scope="module")
def six(world: World, relay: Relay) -> Iterator[Six]:
    with ExitStack() as stack:
        beams = []
        for number, host in enumerate(world.hosts):
            beam = stack.enter_context(node(RELEASES[number % 2], host, f"app-{host.place.short}"))
            beam.eval(ECHO)
            beams.append(beam)
        yield tuple(beams)


def test_nothing_crosses_but_through_the_relay(world: World) -> None:
    near, far = world.near[0], world.far[0]

    def dial() -> None:
        socket.create_connection((far.address, EPMD_PORT), 1).close()

    before = world.dropped()
    with pytest.raises(TimeoutError):
        near.call(dial)
    assert world.dropped() > before
    world.forward()
    try:
        near.call(dial)  # so it is the rule that keeps them apart
    finally:
        world.forward_nothing()


@pytest.mark.parametrize(("who", "whom"), PAIRS)
def test_two_nodes_find_each_other(six: Six, who: int, whom: int) -> None:
    a, b = six[who], six[whom]
    assert ping(a, b) == "pong"
    assert a.eval(f"rpc:call('{b.name}', erlang, node, []).") == f"'{b.name}'"
    assert a.eval(f"lists:member('{b.name}', nodes()).") == "true"
    assert b.eval(f"lists:member('{a.name}', nodes()).") == "true"


def test_two_meshes_become_one(six: Six) -> None:
    for mesh in (six[:3], six[3:]):
        assert [ping(mesh[0], other) for other in mesh[1:]] == ["pong", "pong"]
    assert ping(six[0], six[3]) == "pong"
    for one in six:
        wait_nodes(one, [other for other in six if other is not one])


@pytest.mark.parametrize(("asker", "asked"), [(1, 3), (5, 1)])
def test_the_relay_answers_for_the_other_subnet(world: World, six: Six, asker: int, asked: int) -> None:
    here, host = world.hosts[asker], world.hosts[asked]
    alive = six[asked].name.partition("@")[0]
    real = host.call(partial(names, EPMD_PORT))
    assert list(real) == [alive]
    assert here.call(partial(names, EPMD_PORT, host.stand_in)) == real
    found = here.call(partial(lookup, EPMD_PORT, alive, host.stand_in))
    assert found is not None
    assert (found.alive, found.port) == (alive, real[alive])  # the port is free here, so it is kept
    assert here.call(partial(lookup, EPMD_PORT, "nobody", host.stand_in)) is None
    assert six[asker].eval(f"net_adm:names('{host.name}').") == f'{{ok,[{{"{alive}",{real[alive]}}}]}}'


@pytest.mark.parametrize(("who", "whom"), MIXED)
def test_global_names(six: Six, who: int, whom: int) -> None:
    a, b = six[who], six[whom]
    assert ping(a, b) == "pong"
    name = f"name_{who}_{whom}"
    assert a.eval(f"global:register_name({name}, whereis(echo)).") == "yes"
    wait_value(b, f"is_pid(global:whereis_name({name})).", "true")
    assert b.eval(f"node(global:whereis_name({name})).") == f"'{a.name}'"
    sent = f"global:send({name}, {{self(), hello}}), receive {{echoed, Term}} -> Term end."
    assert b.eval(sent) == "hello"


@pytest.mark.parametrize("kind", TERMS)
@pytest.mark.parametrize(("who", "whom"), MIXED)
def test_terms_come_back_as_they_went(six: Six, who: int, whom: int, kind: str) -> None:
    assert echoed(six[who], six[whom], TERMS[kind]) == "true"


def echoed(a: Beam, b: Beam, term: str, within: float = 15.0) -> str:
    """Send a term to the other node and back; tell whether it is still the same one."""
    there_and_back = f"""
        Term = {term},
        {{echo, '{b.name}'}} ! {{self(), Term}},
        receive {{echoed, Back}} -> Back =:= Term end.
    """
    return a.eval(there_and_back, within)


@pytest.mark.parametrize(("who", "whom"), MIXED)
def test_a_fun_comes_back_and_still_runs(six: Six, who: int, whom: int) -> None:
    there_and_back = f"""
        Two = 2,
        {{echo, '{six[whom].name}'}} ! {{self(), fun(N) -> N * Two end}},
        receive {{echoed, Fun}} -> Fun(21) end.
    """
    assert six[who].eval(there_and_back) == "42"


@pytest.mark.parametrize(("who", "whom"), MIXED[:2])
def test_a_term_of_100_megabytes(six: Six, who: int, whom: int) -> None:
    parts = f"[{{N, crypto:strong_rand_bytes({LARGE // 10})}} || N <- lists:seq(1, 10)]"
    assert echoed(six[who], six[whom], parts, within=60) == "true"


@pytest.mark.parametrize(("ending", "reason"), ENDINGS)
@pytest.mark.parametrize(("who", "whom"), MIXED)
def test_a_monitor_hears_why_a_process_ended(six: Six, who: int, whom: int, ending: str, reason: str) -> None:
    a, b = six[who], six[whom]
    b.eval(VICTIM)
    watched = f"""
        Pid = rpc:call('{b.name}', erlang, whereis, [victim]),
        First = monitor(process, Pid),
        {ending},
        receive {{'DOWN', First, process, Pid, Why}} -> ok end,
        Second = monitor(process, Pid),
        receive {{'DOWN', Second, process, Pid, Later}} -> {{node(Pid), Why, Later}} end.
    """
    assert a.eval(watched) == f"{{'{b.name}',{reason},noproc}}"


@pytest.mark.parametrize(("who", "whom"), MIXED)
def test_a_link_takes_a_process_along(six: Six, who: int, whom: int) -> None:
    a, b = six[who], six[whom]
    b.eval(VICTIM)
    linked = f"""
        Pid = rpc:call('{b.name}', erlang, whereis, [victim]),
        process_flag(trap_exit, true),
        link(Pid),
        Pid ! {{stop, because}},
        receive {{'EXIT', Pid, Why}} -> process_flag(trap_exit, false), Why end.
    """
    assert a.eval(linked) == "because"
    b.eval(VICTIM)
    other_way = f"""
        Victim = rpc:call('{b.name}', erlang, whereis, [victim]),
        Ref = monitor(process, Victim),
        spawn(fun() -> link(Victim), exit(dragged) end),
        receive {{'DOWN', Ref, process, Victim, Why}} -> Why end.
    """
    assert a.eval(other_way) == "dragged"


@pytest.mark.parametrize(("who", "whom"), MIXED)
def test_what_observer_asks_of_another_node(six: Six, who: int, whom: int) -> None:
    a, b = six[who], six[whom]
    asked = f"proplists:get_value(otp_release, rpc:call('{b.name}', observer_backend, sys_info, []))."
    assert a.eval(asked) == b.eval("erlang:system_info(otp_release).")
    procs = f"length(rpc:call('{b.name}', observer_backend, get_table_list, [ets, []])) > 0."
    assert a.eval(procs) == "true"
