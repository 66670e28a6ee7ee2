"""Answers from live registrations."""

from epmdless.registry import Registry
from epmdless.resolve.outcomes import Found, Query, Verdict
from epmdless.resolve.registered import RegisteredResolver
from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import PortReply, decode_port_reply

QUERY = Query("app", "b1.internal")
HIDDEN = Node(40001, "app", node_type=72, highest=5, extra=b"extra")


async def test_a_registered_name_is_found_with_all_that_the_node_said() -> None:
    registry = Registry()
    registry.register(HIDDEN, 10, 1000)
    outcome = RegisteredResolver(registry).answer_now(QUERY)
    assert isinstance(outcome, Found)
    assert (outcome.node, outcome.resolver) == (HIDDEN, "registered")
    assert decode_port_reply(outcome.answer, closed=True) == PortReply(HIDDEN)
    assert await RegisteredResolver(registry).answer(QUERY) == outcome


async def test_a_name_that_nobody_registered_may_be_anothers() -> None:
    resolver = RegisteredResolver(Registry())
    assert resolver.answer_now(QUERY) is await resolver.answer(QUERY) is Verdict.NOT_MINE


def test_a_transient_node_is_found_while_it_is_registered() -> None:
    registry = Registry()
    registry.register(Node(40001, "remsh-1"), 10, 1000)
    assert isinstance(RegisteredResolver(registry).answer_now(Query("remsh-1", "b1")), Found)


def test_an_answer_ends_with_its_registration() -> None:
    registry = Registry()
    resolver = RegisteredResolver(registry)
    registry.register(HIDDEN, 10, 1000)
    registry.unregister(10)
    assert resolver.answer_now(QUERY) is Verdict.NOT_MINE


def test_a_name_that_registers_again_is_found_at_its_new_port() -> None:
    registry = Registry()
    resolver = RegisteredResolver(registry)
    for fd, port in ((10, 40001), (11, 40002)):
        registry.register(Node(port, "app"), fd, 1000)
        outcome = resolver.answer_now(QUERY)
        assert isinstance(outcome, Found)
        assert outcome.node.port == port
        registry.unregister(fd)
