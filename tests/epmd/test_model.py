"""The running server against a model of it: whoever registers, closes and speaks in any order."""

from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support.deadline import eventually
from tests.support.epmd_client import RefusedError, Registration, connect, lookup, names, read_to_end
from tests.support.servers import Server, running

ALIVE = st.sampled_from(["a", "b", "c", "app-9001", "app-9002", "rpc-0af-x"])
PROMISED = {"app-9001": 9001, "app-9002": 9002}
"""What the default scheme says of names that nobody registered."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running("serve") as server:
        yield server


def test_the_server_behaves_like_its_model(server: Server) -> None:
    class Machine(RuleBasedStateMachine):
        """Registrations that are alive, by name, and the last creation of each name."""

        held = Bundle("held")

        def __init__(self) -> None:
            super().__init__()
            eventually(lambda: names(server.port) == {}, within=5, what="an empty server")
            self.alive: dict[str, Registration] = {}
            self.ports: dict[str, int] = {}
            self.creations: dict[str, int] = {}

        @rule(target=held, alive=ALIVE, port=st.integers(1024, 65535))
        def register(self, alive: str, port: int) -> str:
            if alive in self.alive:
                with pytest.raises(RefusedError):
                    Registration(server.port, alive, port)
                return alive
            registration = Registration(server.port, alive, port)
            if alive in self.creations:
                assert registration.creation == self.creations[alive] + 1
            self.creations[alive] = registration.creation
            self.alive[alive], self.ports[alive] = registration, port
            return alive

        @rule(alive=consumes(held), how=st.sampled_from(["close", "speak"]))
        def leave(self, alive: str, how: str) -> None:
            registration = self.alive.pop(alive, None)
            if registration is None:
                return
            del self.ports[alive]
            if how == "speak":
                registration.socket.sendall(b"!")
                assert read_to_end(registration.socket) == b""
            registration.close()

        @rule(alive=ALIVE)
        def look_up(self, alive: str) -> None:
            node = lookup(server.port, alive)
            assert (node.port if node else None) == self.ports.get(alive, PROMISED.get(alive))

        @rule(data=st.binary(min_size=1, max_size=8))
        def disturb(self, data: bytes) -> None:
            with connect(server.port) as sock:
                sock.sendall(b"\xff" + data)

        @invariant()
        def names_are_the_living_newest_first(self) -> None:
            eventually(lambda: names(server.port) == self.ports, within=5, what="the names of the living")
            assert list(names(server.port)) == list(reversed(self.alive))

        def teardown(self) -> None:
            for registration in self.alive.values():
                registration.close()

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None)
    )
