"""The registry: rules one by one, and all of them against a model."""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from epmdless.registry import LOWEST_CREATION, REMEMBERED_NAMES, Registration, Registry
from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import PortReply, decode_names_reply, decode_port_reply

NOW = 1_700_000_000
EPMD_PORT = 4369


def register(registry: Registry, name: str, fd: int, now: int = NOW) -> Registration:
    """Register a name that must be free, with its port made of the descriptor."""
    registration = registry.register(Node(40000 + fd, name), fd, now)
    assert registration is not None
    return registration


def filled(names: Iterable[str]) -> Registry:
    registry = Registry()
    for fd, name in enumerate(names, start=10):
        register(registry, name, fd)
    return registry


def test_an_empty_registry_knows_nobody() -> None:
    registry = Registry()
    assert (len(registry), list(registry), registry.get("a")) == (0, [], None)
    assert registry.names_reply(EPMD_PORT) == EPMD_PORT.to_bytes(4, "big")


def test_a_registration_is_found_with_its_encoded_answer() -> None:
    node = Node(40010, "a", node_type=72, highest=5, extra=b"extra")
    registry = Registry()
    registration = registry.register(node, 10, NOW)
    assert registration is not None
    assert registry.get("a") is registration
    assert (registration.node, registration.fd) == (node, 10)
    assert decode_port_reply(registration.answer, closed=True) == PortReply(node)


def test_a_new_name_starts_after_the_clock() -> None:
    assert register(Registry(), "a", 10).creation == NOW + 1


@pytest.mark.parametrize("now", [-5, 0, 1, 2, 3, 0xFFFFFFFE, 0xFFFFFFFF, 0x1_0000_0000, 0x1_0000_0001])
def test_a_creation_is_never_below_4_and_fits_32_bits(now: int) -> None:
    assert LOWEST_CREATION <= register(Registry(), "a", 10, now).creation <= 0xFFFFFFFF


def test_the_same_name_again_counts_on_whatever_the_clock_says() -> None:
    registry = Registry()
    creations = []
    for now in (NOW, NOW - 1000, NOW + 1000, 0):
        creations.append(register(registry, "a", 10, now).creation)
        registry.unregister(10)
    assert creations == [NOW + 1, NOW + 2, NOW + 3, NOW + 4]


def test_a_counter_that_passes_32_bits_starts_again_at_4() -> None:
    registry = Registry()
    assert register(registry, "a", 10, 0xFFFFFFFE).creation == 0xFFFFFFFF
    registry.unregister(10)
    assert register(registry, "a", 10).creation == LOWEST_CREATION


def test_a_taken_name_is_refused_and_its_holder_stays() -> None:
    registry = filled(["a"])
    holder = registry.get("a")
    assert registry.register(Node(1, "a"), 11, NOW) is None
    assert list(registry) == [holder]
    assert registry.unregister(11) is None
    assert registry.get("a") is holder


def test_a_descriptor_holds_one_registration() -> None:
    registry = filled(["a"])
    assert registry.register(Node(1, "b"), 10, NOW) is None
    assert registry.get("b") is None


def test_a_refusal_costs_no_creation() -> None:
    registry = filled(["a"])
    registry.register(Node(1, "a"), 11, NOW)
    registry.unregister(10)
    assert register(registry, "a", 11).creation == NOW + 2


def test_unregistering_returns_what_was_removed_once() -> None:
    registry = filled(["a"])
    holder = registry.get("a")
    assert registry.unregister(10) is holder
    assert registry.unregister(10) is None
    assert (len(registry), registry.get("a")) == (0, None)


def test_every_change_and_nothing_else_is_counted() -> None:
    registry = filled(["a", "b"])
    assert registry.changes == 2
    assert registry.register(Node(1, "a"), 50, NOW) is None
    assert registry.unregister(51) is None
    assert registry.changes == 2
    registry.unregister(10)
    assert registry.changes == 3


def test_names_that_left_are_remembered_oldest_first() -> None:
    registry = filled(["a", "b"])
    registry.unregister(11)
    registry.unregister(10)
    seen = [(name, left.creation, left.port, left.fd) for name, left in registry.departed()]
    assert seen == [("b", NOW + 1, 40011, 11), ("a", NOW + 1, 40010, 10)]


def test_a_name_that_came_back_is_not_among_those_that_left() -> None:
    registry = filled(["a"])
    registry.unregister(10)
    register(registry, "a", 11)
    assert list(registry.departed()) == []


def test_1000_names_that_left_are_remembered_first_in_first_out() -> None:
    names = [f"n{number}" for number in range(REMEMBERED_NAMES + 2)]
    registry = filled(names)
    for fd in range(10, 10 + len(names)):
        registry.unregister(fd)
    assert [name for name, _ in registry.departed()] == names[2:]
    assert register(registry, "n0", 10, now=5).creation == 6
    assert register(registry, "n2", 11, now=5).creation == NOW + 2


def test_names_are_listed_newest_first_and_a_name_that_returns_is_new() -> None:
    registry = filled(["a", "b", "c"])
    assert listed(registry) == ["c", "b", "a"]
    registry.unregister(10)
    register(registry, "a", 20)
    assert listed(registry) == ["a", "c", "b"]


def test_the_listing_is_made_once_for_a_port() -> None:
    registry = filled(["a"])
    first = registry.names_reply(EPMD_PORT)
    assert registry.names_reply(EPMD_PORT) is first
    assert decode_names_reply(registry.names_reply(5000)).port == 5000
    assert registry.names_reply(EPMD_PORT) == first


def test_20000_nodes_are_held_and_listed() -> None:
    registry = filled(f"node-{number}" for number in range(20_000))
    assert len(decode_names_reply(registry.names_reply(EPMD_PORT)).nodes) == len(registry) == 20_000


def listed(registry: Registry) -> list[str]:
    return [name for name, _ in decode_names_reply(registry.names_reply(EPMD_PORT)).nodes]


NAMES = st.sampled_from(["a", "b", "c", "app-9001", "имя"])
FDS = st.integers(3, 9)
CLOCK = st.integers(0, 20)
CROWD = REMEMBERED_NAMES - 2
"""Of these a few more departures forget the oldest."""


class RegistryMachine(RuleBasedStateMachine):
    """The registry against lists that are searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.live: list[tuple[str, int, int, int]] = []
        """(name, port, descriptor, creation), oldest first."""
        self.left: list[tuple[str, int, int, int]] = []
        self.crowded = False

    @rule(name=NAMES, fd=FDS, port=st.integers(0, 65535), now=CLOCK)
    def register(self, name: str, fd: int, port: int, now: int) -> None:
        seen = self.registry.register(Node(port, name), fd, now)
        if any(name == holder[0] or fd == holder[2] for holder in self.live):
            assert seen is None
            return
        known = [creation for left, _, _, creation in self.left if left == name]
        self.left = [each for each in self.left if each[0] != name]
        creation = max(4, (known[0] if known else now) + 1)
        assert seen is not None
        assert seen.creation == creation
        self.live.append((name, port, fd, creation))

    @rule(fd=FDS)
    def unregister(self, fd: int) -> None:
        seen = self.registry.unregister(fd)
        gone = [each for each in self.live if each[2] == fd]
        assert (seen.node.name if seen else None) == (gone[0][0] if gone else None)
        self.live = [each for each in self.live if each[2] != fd]
        self.left = (self.left + gone)[-REMEMBERED_NAMES:]

    @precondition(lambda self: not self.crowded)
    @rule()
    def a_crowd_comes_and_goes(self) -> None:
        self.crowded = True
        for number in range(CROWD):
            self.registry.register(Node(1, f"crowd-{number}"), 1000, 100)
            self.registry.unregister(1000)
            self.left.append((f"crowd-{number}", 1, 1000, 101))
        self.left = self.left[-REMEMBERED_NAMES:]

    @rule()
    def another_port_is_asked(self) -> None:
        self.check_listing(5000)

    @invariant()
    def the_listing_is_newest_first_after_every_change(self) -> None:
        self.check_listing(EPMD_PORT)

    def check_listing(self, port: int) -> None:
        reply = decode_names_reply(self.registry.names_reply(port))
        assert reply.port == port
        assert list(reply.nodes) == [(name, node_port) for name, node_port, _, _ in reversed(self.live)]

    @rule(name=NAMES)
    def look_up(self, name: str) -> None:
        seen = self.registry.get(name)
        known = [each for each in self.live if each[0] == name]
        assert ([(name, seen.node.port, seen.fd, seen.creation)] if seen else []) == known

    @invariant()
    def the_living_and_the_departed_agree(self) -> None:
        assert len(self.registry) == len(self.live)
        seen = [(r.node.name, r.node.port, r.fd, r.creation) for r in self.registry]
        assert seen == self.live[::-1]
        left = [(name, each.port, each.fd, each.creation) for name, each in self.registry.departed()]
        assert left == self.left


TestRegistryAgainstItsModel = RegistryMachine.TestCase
TestRegistryAgainstItsModel.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
