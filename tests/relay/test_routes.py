"""Routes: found by address, name, host and destination."""

import pytest

from epmdless.config import RouteSection
from epmdless.policy import Network
from epmdless.relay.routes import Cookies, Route, RouteTable, Target
from epmdless.rules import Glob

ONE, TWO = "10.0.1.9", "10.0.1.10"


def stand_in(host: str, listen: str = ONE, names: str = "*", dial: str | None = None) -> Route:
    return Route(RouteSection(host=host, listen=listen, names=names, dial=dial), None, Glob(names))


def transparent(net: str) -> Route:
    return Route(RouteSection(net=Network.parse(net)), None, Glob("*"))


APPS = stand_in("b1.internal", names="app-*")
DATABASES = stand_in("b2.internal", names="db-*", dial="10.0.2.7")
REST = stand_in("b3.internal", TWO)
SUBNET = transparent("10.0.2.0/24")
SUBNET6 = transparent("fd00:2::/64")
TABLE = RouteTable([APPS, DATABASES, REST, SUBNET, SUBNET6])


def test_all_routes_and_their_stand_in_addresses() -> None:
    assert list(TABLE) == [APPS, DATABASES, REST, SUBNET, SUBNET6]
    assert TABLE.addresses == (ONE, TWO)
    assert list(TABLE.at(ONE)) == [APPS, DATABASES]
    assert list(TABLE.at("10.9.9.9")) == []


@pytest.mark.parametrize(
    ("address", "alive", "route"),
    [
        (ONE, "app-9001", APPS),
        (ONE, "db-1", DATABASES),
        (ONE, "other", None),
        (TWO, "other", REST),
        ("10.9.9.9", "app-9001", None),
    ],
)
def test_by_alive_name(address: str, alive: str, route: Route | None) -> None:
    assert TABLE.for_name(address, alive) is route


@pytest.mark.parametrize(
    ("address", "host", "route"),
    [(ONE, "B2.Internal", DATABASES), (ONE, "b3.internal", None), (TWO, "b3.internal", REST)],
)
def test_by_host(address: str, host: str, route: Route | None) -> None:
    assert TABLE.for_host(address, host) is route


@pytest.mark.parametrize(
    ("address", "route"),
    [
        ("10.0.2.7", SUBNET),
        ("::ffff:10.0.2.7", SUBNET),
        ("fd00:2::7", SUBNET6),
        ("10.0.3.7", None),
        ("fd00:3::7", None),
        (ONE, None),
    ],
)
def test_by_original_destination(address: str, route: Route | None) -> None:
    assert TABLE.for_destination(address) is route


def test_a_route_is_the_same_after_a_reload_by_address_host_and_names() -> None:
    later = RouteTable([stand_in("b2.internal", names="db-*", dial="10.0.2.8"), stand_in("b1.internal")])
    assert later.by_key(DATABASES.key) is later.routes[0]
    assert later.by_key(APPS.key) is None
    assert later.by_key(SUBNET.key) is None


def test_what_is_dialled_and_how_it_is_called() -> None:
    assert (APPS.dial_host, APPS.label) == ("b1.internal", "b1.internal")
    assert (DATABASES.dial_host, DATABASES.label) == ("10.0.2.7", "b2.internal")
    assert SUBNET.label == "10.0.2.0/24"
    assert str(Target(SUBNET, "10.0.2.7", 9001)) == "10.0.2.7:9001"
    assert str(Target(SUBNET6, "fd00:2::7", 9001)) == "[fd00:2::7]:9001"


@pytest.mark.parametrize(
    ("route", "host", "ours"),
    [
        (APPS, "b1.internal", True),
        (APPS, "B1.INTERNAL", True),
        (APPS, "b1", False),
        (APPS, "", False),
        (APPS, None, False),
        (SUBNET, "anything", True),
        (SUBNET, None, True),
    ],
)
def test_a_route_is_for_its_own_host_and_a_network_s_for_any(
    route: Route, host: str | None, ours: bool
) -> None:
    assert route.is_for_host(host) is ours


def test_cookies_and_hidden_change_handshakes_and_cookies_are_never_shown() -> None:
    cookies = Cookies(b"near-secret", b"far-secret")
    bridge = Route(RouteSection(host="b", listen=ONE), cookies, Glob("*"))
    hidden = Route(RouteSection(host="b", listen=ONE, hidden=True), None, Glob("*"))
    assert (APPS.rewrites, bridge.rewrites, hidden.rewrites) == (False, True, True)
    assert "secret" not in repr(bridge)


def test_tls_passes_where_no_route_to_the_same_host_on_the_same_address_changes_handshakes() -> None:
    hidden = Route(
        RouteSection(host="b1.internal", listen=ONE, names="secret-*", hidden=True), None, Glob("secret-*")
    )
    without = Route(RouteSection(host="b9.internal", listen=TWO, tls=False), None, Glob("*"))
    elsewhere = stand_in("b1.internal", TWO)
    table = RouteTable([hidden, APPS, DATABASES, SUBNET, without, elsewhere])
    passing = [route for route in table if table.passes_tls(route)]
    assert passing == [DATABASES, SUBNET, elsewhere]
