"""Listeners that change: what stays open, what is told to the server, and what a failure leaves."""

import contextlib
import socket
from collections.abc import Iterator, Sequence

import pytest
import structlog

from epmdless.addresses import Endpoint, ListenPlan
from epmdless.errors import ListenError
from epmdless.net.listener_set import ListenerSet
from epmdless.net.listeners import endpoint_of
from tests.support.namespaces import require_namespaces
from tests.support.ports import closed_port, free_port
from tests.support.process import run
from tests.support.tools import PYTHON, clean_env

HERE, THERE, ALL = "127.0.0.1", "127.0.0.2", "0.0.0.0"
NOT_OURS = Endpoint("192.0.2.1", 1)


class Server:
    """Keeps what it was told to accept on, and whether every one of these was open then."""

    def __init__(self) -> None:
        self.told: list[list[Endpoint]] = []

    def use(self, listeners: Sequence[socket.socket]) -> None:
        self.told.append([endpoint_of(listener) for listener in listeners])


@pytest.fixture
def listening() -> Iterator[ListenerSet]:
    listening = ListenerSet([], structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()]))
    with contextlib.closing(listening):
        yield listening


def plan(*required: Endpoint, optional: Sequence[Endpoint] = ()) -> ListenPlan:
    return ListenPlan(required, tuple(optional))


def where(listening: ListenerSet) -> list[Endpoint]:
    return [endpoint_of(listener) for listener in listening.listeners]


def test_what_stays_is_the_same_socket(listening: ListenerSet) -> None:
    port, server = free_port(), Server()
    listening.change(plan(Endpoint(HERE, port)), server.use)
    (first,) = listening.listeners
    listening.change(plan(Endpoint(THERE, port), Endpoint(HERE, port)), server.use)
    assert first in listening.listeners
    assert set(where(listening)) == {Endpoint(HERE, port), Endpoint(THERE, port)}
    assert server.told[-1] == where(listening)


def test_what_leaves_is_closed_after_the_server_was_told(listening: ListenerSet) -> None:
    port, server = free_port(), Server()
    listening.change(plan(Endpoint(HERE, port)), server.use)
    (first,) = listening.listeners
    listening.change(plan(Endpoint(THERE, port)), server.use)
    assert first.fileno() == -1
    assert server.told == [[Endpoint(HERE, port)], [Endpoint(THERE, port)]]


@pytest.mark.parametrize(("first", "then"), [(ALL, HERE), (HERE, ALL)])
def test_an_address_in_the_way_makes_way(listening: ListenerSet, first: str, then: str) -> None:
    port, server = free_port(), Server()
    listening.change(plan(Endpoint(first, port)), server.use)
    listening.change(plan(Endpoint(then, port)), server.use)
    assert where(listening) == [Endpoint(then, port)]
    assert server.told == [[Endpoint(first, port)], [], [Endpoint(then, port)]]


def test_a_failure_leaves_all_as_it_was(listening: ListenerSet) -> None:
    port, server = free_port(), Server()
    listening.change(plan(Endpoint(HERE, port)), server.use)
    before = listening.listeners
    with pytest.raises(ListenError, match=r"192\.0\.2\.1"):
        listening.change(plan(Endpoint(THERE, port), NOT_OURS), server.use)
    assert listening.listeners == before
    assert before[0].fileno() != -1


def test_a_failure_after_making_way_opens_again_what_was_there(listening: ListenerSet) -> None:
    port, server = free_port(), Server()
    listening.change(plan(Endpoint(ALL, port)), server.use)
    with closed_port() as taken, pytest.raises(ListenError):
        listening.change(plan(Endpoint(HERE, port), Endpoint(HERE, taken)), server.use)
    assert where(listening) == [Endpoint(ALL, port)]
    assert server.told[-1] == [Endpoint(ALL, port)]


def test_what_this_host_does_not_have_is_left_out_if_optional(listening: ListenerSet) -> None:
    port = free_port()
    listening.change(plan(Endpoint(HERE, port), optional=[NOT_OURS]), Server().use)
    assert where(listening) == [Endpoint(HERE, port)]


def test_an_empty_plan_closes_everything(listening: ListenerSet) -> None:
    server = Server()
    listening.change(plan(Endpoint(HERE, free_port())), server.use)
    listening.change(plan(), server.use)
    assert (listening.listeners, server.told[-1]) == ([], [])


LINK_LOCAL = """
import contextlib, socket
import structlog
from epmdless.addresses import Endpoint, ListenPlan
from epmdless.errors import ListenError
from epmdless.net.listener_set import ListenerSet

own, loopback = Endpoint.parse("fe80::9%d0", 4369), Endpoint("127.0.0.1", 4369)
listening = ListenerSet([], structlog.get_logger())
listening.change(ListenPlan((own, loopback)), lambda _: None)
before = list(listening.listeners)
listening.change(ListenPlan((loopback, own)), lambda _: None)
assert listening.listeners == before, "nothing changed"
with contextlib.suppress(ListenError):
    listening.change(ListenPlan((Endpoint("fe80::9%d0", 4370), Endpoint("192.0.2.1", 4369))), lambda _: None)
assert listening.listeners == before, "nothing could be changed"
with contextlib.suppress(ListenError):  # in place: the addresses are in the way of all
    listening.change(ListenPlan((Endpoint("::", 4369), Endpoint("192.0.2.1", 4369))), lambda _: None)
assert len(listening.listeners) == 2, "both are there again"
try:
    listening.change(ListenPlan((Endpoint("fe80::9%none", 4369),)), lambda _: None)
except ListenError as error:
    assert "nknown error" not in str(error), error
"""


def test_a_link_local_address_stays_with_its_interface() -> None:
    network = "ip link set lo up; ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up"
    script = f'{network}; ip address add fe80::9/64 dev d0 nodad; exec "$0" -c "$1"'
    done = run([require_namespaces(), "--net", "sh", "-ec", script, PYTHON, LINK_LOCAL], env=clean_env())
    assert (done.status, done.stderr) == (0, "")
