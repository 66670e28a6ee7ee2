"""Which local nodes are to be joined."""

from __future__ import annotations

from epmdless.cluster.local_node import LocalNode, belongs, local_nodes
from epmdless.registry import Registration, Registry
from epmdless.rules import Glob
from epmdless.wire.epmd import Node, NodeType

EVERYBODY = [Glob("*")]


def registered(*nodes: Node) -> list[Registration]:
    registry = Registry()
    for fd, node in enumerate(nodes, 10):
        assert registry.register(node, fd, 100 + fd)
    return list(registry)


def test_what_is_registered_is_joined_as_it_registered() -> None:
    registrations = registered(Node(9001, "a", highest=5), Node(9002, "b"))
    assert list(local_nodes(registrations, EVERYBODY, [])) == [
        LocalNode("b", 9002, 6, 112),
        LocalNode("a", 9001, 5, 111),
    ]


def test_hidden_and_transient_nodes_are_left_alone() -> None:
    registrations = registered(
        Node(9001, "shy", node_type=NodeType.HIDDEN), Node(9002, "remsh-1"), Node(9003, "rem-0af3-app")
    )
    assert list(local_nodes(registrations, EVERYBODY, [])) == []


def test_a_glob_over_whole_names_is_of_the_alive_name_until_the_host_is_known() -> None:
    registrations = registered(Node(9001, "a-1"), Node(9002, "b-1"), Node(9003, "c-1"))
    wanted = [Glob("a*"), Glob("b*@*.internal")]
    assert [local.name for local in local_nodes(registrations, wanted, [])] == ["b-1", "a-1"]
    assert belongs("b-1@x.internal", wanted)
    assert not belongs("b-1@x.test", wanted)


def test_nodes_that_the_configuration_names_have_to_be_looked_for() -> None:
    assert list(local_nodes([], EVERYBODY, ["a@b1"])) == [LocalNode("a@b1", port=0)]
    assert list(local_nodes(registered(Node(9001, "a")), [], ["a@b1"])) == [LocalNode("a@b1")]


def test_a_node_that_registers_again_is_another() -> None:
    registry = Registry()
    seen: list[LocalNode] = []
    for fd in (10, 11):
        registry.register(Node(9001, "a"), fd, 100)
        seen += local_nodes(registry, EVERYBODY, [])
        registry.unregister(fd)
    assert len(set(seen)) == 2
