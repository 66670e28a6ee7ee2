"""Ports of stand-in addresses: kept numbers, the range, what is idle, what is listed, and the limit."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from epmdless import metrics
from epmdless.addresses import Endpoint
from epmdless.config import PortRange, RouteSection
from epmdless.errors import ListenError
from epmdless.metrics import Metrics
from epmdless.relay.ports import Ports
from epmdless.relay.routes import Route, RouteTable
from epmdless.rules import Glob
from tests.support.link_sides import FAR_ADDRESS, HOST, STAND_IN
from tests.support.ports import free_port
from tests.support.relays import Lines


def route_of(listen: str = STAND_IN, ports: tuple[int, ...] = (), names: str = "*") -> Route:
    listed = tuple(PortRange(port, port) for port in ports)
    section = RouteSection(host=HOST, listen=listen, dial=FAR_ADDRESS, ports=listed, names=names)
    return Route(section, None, Glob(names))


@dataclass
class Bench:
    """Ports, and what they told the acceptor: the listeners that it has now."""

    range: PortRange = field(default_factory=lambda: PortRange(free_port(), 65535))
    most: int = 100
    accepting: list[socket.socket] = field(default_factory=list)
    counts: Metrics = field(default_factory=Metrics)
    lines: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        self.ports = Ports(self.counts, self.lines, self.accepting.append, self.accepting.remove)

    def take_on(self, *routes: Route, now: float = 0.0) -> None:
        self.ports.take_on(RouteTable(routes), self.range, self.most, now)

    def opened(self, result: str) -> float:
        return self.counts.value(metrics.ON_DEMAND, result)

    @property
    def numbers(self) -> set[int]:
        """The ports that are open, as all who know of them have it."""
        numbers = {opening.where.port for opening in self.ports}
        assert numbers == {sock.getsockname()[1] for sock in self.accepting}
        assert all(is_listening(port) for port in numbers)
        return numbers


def is_listening(port: int) -> bool:
    try:
        socket.create_connection((STAND_IN, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.ports.close()
    assert bench.accepting == []
    assert len(bench.ports) == 0


@contextmanager
def taken(port: int = 0) -> Iterator[int]:
    """A port that somebody else has on the stand-in address."""
    with socket.socket() as holder:
        holder.bind((STAND_IN, port))
        holder.listen()
        yield holder.getsockname()[1]


def test_the_far_number_is_kept_where_it_is_free(bench: Bench) -> None:
    route, port = route_of(), free_port()
    bench.take_on(route)
    assert bench.ports.for_node(route, port, 1.0) == port
    opening = bench.ports.at(Endpoint(STAND_IN, port))
    assert opening is not None
    assert (opening.far_port, opening.listed) == (port, False)
    assert bench.numbers == {port}
    assert bench.opened("same") == 1


def test_asked_again_the_port_is_the_same(bench: Bench) -> None:
    route, port = route_of(), free_port()
    bench.take_on(route)
    assert [bench.ports.for_node(route, port, 1.0) for _ in range(2)] == [port, port]
    assert bench.opened("same") == 1


def test_a_number_that_is_taken_is_replaced_and_the_replacement_stays(bench: Bench) -> None:
    route = route_of()
    bench.take_on(route)
    with taken() as port:
        other = bench.ports.for_node(route, port, 1.0)
    assert other is not None
    assert other != port
    assert other in bench.range
    assert bench.ports.for_node(route, port, 2.0) == other
    assert bench.ports.local_port(route, port) == other
    assert bench.opened("other") == 1


def test_two_routes_with_one_far_number_get_two_ports(bench: Bench) -> None:
    one, two, port = route_of(names="b*"), route_of(names="c*"), free_port()
    bench.take_on(one, two)
    assert bench.ports.for_node(one, port, 1.0) == port
    other = bench.ports.for_node(two, port, 1.0)
    assert other not in (None, port)
    assert bench.ports.local_port(two, port) == other
    assert bench.ports.local_port(one, port) == port


def test_a_range_that_is_used_up_is_said_and_counted() -> None:
    with taken() as only, taken() as port:
        bench = Bench(range=PortRange(only, only))
        route = route_of()
        bench.take_on(route)
        assert bench.ports.for_node(route, port, 1.0) is None
        assert bench.opened("failed") == 1
        assert bench.lines[-1]["event"] == "no port for a far node"
        assert bench.ports.local_port(route, port) == port


def test_listed_ports_are_open_from_the_start_and_never_idle(bench: Bench) -> None:
    ports = free_port(), free_port()
    bench.take_on(route_of(ports=ports))
    assert bench.numbers == set(ports)
    bench.ports.close_idle(1e9, 1.0)
    assert bench.numbers == set(ports)


def test_a_port_on_demand_closes_when_it_was_idle_for_long(bench: Bench) -> None:
    route, port, busy = route_of(), free_port(), free_port()
    bench.take_on(route)
    for number in (port, busy):
        bench.ports.for_node(route, number, 10.0)
    opening = bench.ports.at(Endpoint(STAND_IN, busy))
    assert opening is not None
    opening.links = 1
    bench.ports.close_idle(15.0, 5.0)
    assert bench.numbers == {port, busy}
    bench.ports.for_node(route, port, 15.0)
    bench.ports.close_idle(20.0, 5.0)
    assert bench.numbers == {port, busy}
    bench.ports.close_idle(20.5, 5.0)
    assert bench.numbers == {busy}
    assert not is_listening(port)


def test_beyond_the_limit_the_port_that_was_idle_for_longest_makes_room() -> None:
    bench, route = Bench(most=3), route_of()
    first, second, third, fourth, fifth = (free_port() for _ in range(5))
    bench.take_on(route)
    for now, port in enumerate((first, second, third)):
        bench.ports.for_node(route, port, float(now))
    opening = bench.ports.at(Endpoint(STAND_IN, first))
    assert opening is not None
    opening.links = 1
    assert bench.ports.for_node(route, fourth, 4.0) == fourth
    assert bench.numbers == {first, third, fourth}
    for opening in bench.ports:
        opening.links = 1
    assert bench.ports.for_node(route, fifth, 5.0) is None
    assert bench.lines[-1]["problem"] == "too many ports are open"
    assert bench.numbers == {first, third, fourth}
    bench.ports.close()


def test_what_is_closed_opens_nothing_any_more(bench: Bench) -> None:
    route = route_of()
    bench.take_on(route)
    bench.ports.close()
    assert bench.ports.for_node(route, free_port(), 1.0) is None
    assert bench.numbers == set()


# Reload.


def test_routes_that_go_take_their_ports_along_and_the_others_stay(bench: Bench) -> None:
    listed, on_demand, kept = free_port(), free_port(), free_port()
    going, staying = route_of(ports=(listed,), names="b*"), route_of(ports=(kept,), names="c*")
    bench.take_on(going, staying)
    bench.ports.for_node(going, on_demand, 1.0)
    before = bench.ports.at(Endpoint(STAND_IN, kept))
    again = route_of(ports=(kept,), names="c*")
    bench.take_on(again)
    assert bench.numbers == {kept}
    after = bench.ports.at(Endpoint(STAND_IN, kept))
    assert after is before
    assert after is not None
    assert after.route is again


def test_a_port_on_demand_stays_with_its_route(bench: Bench) -> None:
    bench.take_on(route := route_of())
    with taken() as far_port:
        port = bench.ports.for_node(route, far_port, 1.0)
    bench.take_on(again := route_of())
    assert bench.ports.for_node(again, far_port, 2.0) == port


def test_a_port_that_is_listed_no_more_closes_when_it_is_idle(bench: Bench) -> None:
    port = free_port()
    bench.take_on(route_of(ports=(port,)))
    bench.take_on(route_of())
    assert bench.numbers == {port}
    bench.ports.close_idle(100.0, 5.0)
    assert bench.numbers == set()


def test_a_port_on_demand_that_becomes_listed_leads_to_its_own_number(bench: Bench) -> None:
    bench.take_on(route := route_of())
    with taken() as far_port:
        port = bench.ports.for_node(route, far_port, 1.0)
    assert port is not None
    bench.take_on(route_of(ports=(port,)))
    opening = bench.ports.at(Endpoint(STAND_IN, port))
    assert opening is not None
    assert (opening.far_port, opening.listed) == (port, True)


def test_a_listed_port_that_cannot_be_had_leaves_all_as_it_was(bench: Bench) -> None:
    port, new = free_port(), free_port()
    bench.take_on(route_of(ports=(port,)))
    with taken() as held, pytest.raises(ListenError, match="Address already in use"):
        bench.take_on(route_of(ports=(new, held), names="other"))
    assert bench.numbers == {port}
    assert not is_listening(new)
