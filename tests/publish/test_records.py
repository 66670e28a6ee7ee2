"""Which nodes are published, and by which records."""

import dns.name
import dns.rdata
import pytest

from epmdless.publish.lease import Lease
from epmdless.publish.records import LEFT_OUT, MAX_NODES, Choice, Terms, choose, records_of
from epmdless.resolve.dns_records import Record
from epmdless.resolve.srv_records import QuestionTemplate
from epmdless.rules import Glob
from tests.publish.keeping import ZONE, terms


def shown(records: list[Record]) -> set[tuple[str, str, str]]:
    """Records as dnspython shows them: owner relative to the zone, type, data."""
    plain = set()
    for record in records:
        owner = dns.name.from_wire(record.owner, 0)[0].relativize(dns.name.from_text(ZONE))
        rdata = dns.rdata.from_wire("IN", record.rdtype.name, record.rdata, 0, len(record.rdata))
        plain.add((str(owner), record.rdtype.name, rdata.to_text()))
    return plain


def judged(alive: str, port: int = 9001, **changed: object) -> Lease:
    verdict = terms(**changed).judge(alive, port)
    assert isinstance(verdict, Lease), verdict
    return verdict


def test_a_node_stands_under_its_name_among_all_and_in_each_service() -> None:
    lease = judged("shop-9001")
    srv = "0 0 9001 b1.nodes.internal."
    txt = '"node=shop-9001@b1.nodes.internal" "port=9001" "until=0" "address=10.0.1.23" "service=shop"'
    assert shown(list(records_of(lease, ZONE))) == {
        ("_shop-9001._tcp", "SRV", srv),
        ("_epmdless._tcp", "SRV", srv),
        ("_epmdless._tcp", "TXT", txt),
        ("_shop._tcp", "SRV", srv),
        ("_shop._tcp", "TXT", txt),
        ("b1", "A", "10.0.1.23"),
    }


def test_both_families_of_addresses_have_their_type() -> None:
    lease = judged("a", addresses=("10.0.1.23", "fd00::23"))
    records = shown(list(records_of(lease, ZONE)))
    assert {("b1", "A", "10.0.1.23"), ("b1", "AAAA", "fd00::23")} <= records


@pytest.mark.parametrize("target", ["b1.elsewhere", "b1nodes.internal", "internal"])
def test_the_addresses_of_a_target_elsewhere_are_somebody_elses(target: str) -> None:
    lease = judged("a", target=target)
    assert {rdtype for _, rdtype, _ in shown(list(records_of(lease, ZONE)))} == {"SRV", "TXT"}


def test_a_node_may_be_in_many_services_or_in_none() -> None:
    services = (("a", (Glob("x*"),)), ("b", (Glob("y"), Glob("*1"))), ("c", (Glob("*"),)))
    assert judged("x1", services=services).services == ("a", "b", "c")
    assert judged("z", services=services).services == ("c",)
    assert judged("z", services=()).services == ()


def test_a_node_that_is_called_like_its_service_has_each_record_once() -> None:
    records = list(records_of(judged("shop", services=(("shop", (Glob("shop"),)),)), ZONE))
    assert len(shown(records)) == 5


@pytest.mark.parametrize("alive", ["shop-9001", "Shop_9001", "a" * 62])
def test_the_resolver_asks_for_what_is_published(alive: str) -> None:
    question = QuestionTemplate("_{name}._tcp." + ZONE).expand(alive, "b1.nodes.internal")
    assert question in {f"{owner}.{ZONE}" for owner, _, _ in shown(list(records_of(judged(alive), ZONE)))}


def test_a_name_that_is_no_host_name_is_a_label_all_the_same() -> None:
    """A dot in it does not lead into another zone."""
    owners = {owner for owner, _, _ in shown(list(records_of(judged("a.b*é"), ZONE)))}
    assert r"_a\.b*\195\169._tcp" in owners


@pytest.mark.parametrize(
    ("alive", "port", "reason"),
    [
        ("rem-1a2b-shop", 9001, "transient"),
        ("shop", 0, "no_port"),
        ("a" * 63, 9001, "name_too_long"),
        ("é" * 32, 9001, "name_too_long"),
        ("a@b", 9001, "no_node_name"),
        ("a\u202eb", 9001, "no_node_name"),
        ("a\ud800", 9001, "name_too_long"),
    ],
)
def test_who_cannot_be_published_is_left_out(alive: str, port: int, reason: str) -> None:
    assert terms().judge(alive, port) == reason
    assert reason in LEFT_OUT


def test_names_that_are_too_long_together_are_left_out() -> None:
    """A string of a TXT record has 255 bytes, a domain name too."""
    zone = ".".join(["a" * 62] * 3)
    assert terms(zone=zone, host="h", target="h").judge("b" * 62, 9001) == "name_too_long"
    assert isinstance(terms(zone=zone, host="h", target="h").judge("b" * 50, 9001), Lease)
    assert terms(host=".".join(["h" * 60] * 4)).judge("b" * 10, 9001) == "name_too_long"


def test_who_is_not_wanted_is_nobody() -> None:
    assert terms(nodes=(Glob("shop-*"),)).judge("stock-9002", 9002) is None


def chosen(*names: str, **changed: object) -> Choice:
    own = terms(**changed)
    return choose(((alive, own.judge(alive, 9001 + at)) for at, alive in enumerate(names)), own.host)


def test_dns_does_not_tell_upper_from_lower_case() -> None:
    choice = chosen("Shop", "shop", "SHOP", "other")
    assert [lease.alive for lease in choice.leases.values()] == ["Shop", "other"]
    assert choice.left_out == dict.fromkeys(("shop@b1.nodes.internal", "SHOP@b1.nodes.internal"), "same_name")


def test_but_it_tells_letters_beyond_ascii() -> None:
    assert len(chosen("é", "É").leases) == 2


def test_the_first_of_too_many_stay() -> None:
    choice = chosen(*(f"a{number}" for number in range(MAX_NODES + 3)))
    assert len(choice.leases) == MAX_NODES
    assert choice.left_out == {
        f"a{number}@b1.nodes.internal": "too_many" for number in range(MAX_NODES, MAX_NODES + 3)
    }


def test_terms_take_every_node_by_themselves() -> None:
    bare = Terms(zone=ZONE, host="b1", target=f"b1.{ZONE}")
    assert isinstance(bare.judge("anything", 1), Lease)
