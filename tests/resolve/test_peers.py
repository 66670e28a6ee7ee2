"""Answers from what the cluster's sources told."""

from __future__ import annotations

from epmdless.cluster.peers import Known, Peer
from epmdless.cluster.roster import Roster
from epmdless.config import ResolveSection
from epmdless.metrics import Metrics
from epmdless.registry import Registry
from epmdless.resolve.build import build_chain, build_sources
from epmdless.resolve.outcomes import Found, Query, Verdict
from epmdless.resolve.peers import PeersResolver
from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import PortReply, decode_port_reply
from tests.support.relays import Lines

TOLD = {("app", "b1.test"): 9001}


def told(alive: str, host: str) -> int | None:
    return TOLD.get((alive, host))


async def test_a_port_that_a_source_told_is_found() -> None:
    resolver = PeersResolver(told)
    outcome = resolver.answer_now(Query("app", "b1.test"))
    assert isinstance(outcome, Found)
    assert (outcome.node, outcome.resolver) == (Node(9001, "app"), "peers")
    assert decode_port_reply(outcome.answer, closed=True) == PortReply(outcome.node)
    assert await resolver.answer(Query("app", "b1.test")) == outcome


async def test_any_other_node_is_not_its_own() -> None:
    resolver = PeersResolver(told)
    for query in (Query("app", "b2.test"), Query("app2", "b1.test"), Query("", "")):
        assert resolver.answer_now(query) is await resolver.answer(query) is Verdict.NOT_MINE


async def test_the_chain_asks_it_in_its_place() -> None:
    section = ResolveSection(chain=("registered", "peers", "scheme"))
    chain = build_chain(section, Registry(), Metrics(), Lines(), port_of_peer=told)
    for query, resolver, port in (
        (Query("app", "b1.test"), "peers", 9001),
        (Query("app-9002", "b1.test"), "scheme", 9002),
    ):
        outcome = await chain.answer(query)
        assert isinstance(outcome, Found)
        assert (outcome.resolver, outcome.node.port) == (resolver, port)


async def test_far_hosts_are_answered_for_out_of_the_same_lists() -> None:
    section = ResolveSection(chain=("registered",))
    own = build_chain(section, Registry(), Metrics(), Lines())
    (resolver,) = build_sources({"peers"}, section, Metrics(), own, port_of_peer=told).values()
    assert isinstance(await resolver.answer(Query("app", "b1.test")), Found)


def test_without_a_cluster_nothing_is_told() -> None:
    section = ResolveSection(chain=("peers",))
    chain = build_chain(section, Registry(), Metrics(), Lines())
    assert not isinstance(chain.answer_now(Query("app", "b1.test")), Found)


def test_whatever_a_source_tells_can_be_answered() -> None:
    roster = Roster()
    roster.have([("dns", "dns")])
    ports = (0, 1, 65_535, 65_536, -1)
    roster.take("dns", Known(tuple(Peer(f"n{port % 70_000}@b1", port) for port in ports)), 0)
    resolver = PeersResolver(lambda alive, host: roster.port_of(f"{alive}@{host}"))
    found = [resolver.answer_now(Query(f"n{port % 70_000}", "b1")) for port in ports]
    assert [isinstance(outcome, Found) for outcome in found] == [False, True, True, False, False]
