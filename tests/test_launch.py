"""Where EPMD is served: what the configuration says, and the stand-in addresses beside it."""

import pytest

from epmdless import config
from epmdless.addresses import Endpoint, ListenPlan
from epmdless.launch import Loaded

STAND_INS = """
[[relay.route]]
host = "b1.internal"
listen = "10.0.1.11"
dial = "10.0.2.7"
names = "shop-*"

[[relay.route]]
host = "b2.internal"
listen = "10.0.1.11"
dial = "10.0.2.8"
names = "stock-*"

[[relay.route]]
host = "b3.internal"
listen = "fd00::3"
dial = "10.0.2.9"
"""

FACES = (Endpoint("10.0.1.11", 4369), Endpoint("fd00::3", 4369))


def loaded(plan: ListenPlan, text: str = STAND_INS) -> Loaded:
    return Loaded(config.decode(text, "test"), plan, "test")


def test_each_stand_in_address_is_listened_on_once() -> None:
    assert loaded(ListenPlan(())).epmd_plan([]) == ListenPlan(FACES)


@pytest.mark.parametrize(
    ("own", "left"),
    [
        (ListenPlan((Endpoint("0.0.0.0", 4369),), (Endpoint("::", 4369),)), ()),
        (ListenPlan((Endpoint("0.0.0.0", 4369),)), FACES[1:]),
        (ListenPlan((Endpoint("0.0.0.0", 4370),)), FACES),
        (ListenPlan((Endpoint("127.0.0.1", 4369),)), FACES),
    ],
)
def test_what_listens_on_all_interfaces_serves_the_stand_in_addresses_too(
    own: ListenPlan, left: tuple[Endpoint, ...]
) -> None:
    assert loaded(own).epmd_plan([]) == ListenPlan((*own.required, *left), own.optional)


def test_sockets_that_were_handed_over_stand_in_for_the_configured_addresses() -> None:
    plan = loaded(ListenPlan((Endpoint("127.0.0.1", 4369),))).epmd_plan([Endpoint("0.0.0.0", 4369)])
    assert plan == ListenPlan(FACES[1:])


def test_without_routes_nothing_is_added() -> None:
    own = ListenPlan((Endpoint("127.0.0.1", 4369),))
    assert loaded(own, "").epmd_plan([]) == own
