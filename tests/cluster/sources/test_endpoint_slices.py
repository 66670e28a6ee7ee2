"""What a list and a watch of EndpointSlices mean, and what is no list and no event."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer
from epmdless.cluster.sources.endpoint_slices import (
    MAX_CONTINUE_CHARACTERS,
    MAX_SLICES,
    MAX_VERSION_CHARACTERS,
    Bookmark,
    Changed,
    Deleted,
    Failed,
    Naming,
    Slices,
    decode_event,
    decode_page,
)
from tests.support.kubernetes_api import Object, bookmark, endpoint, event, failure, page_of, slice_of


def naming(names: Literal["ip", "hostname", "dns"] = "ip", not_ready: bool = True) -> Naming:
    return Naming("app", names, "app", "prod", "cluster.local", not_ready)


def named(how: Naming, *slices: Object) -> list[str]:
    """The names in a list of slices."""
    kept = Slices(how)
    for each in decode_page(page_of(7, *slices)).items or ():
        kept.put(each)
    return [peer.name for peer in kept.peers()]


def changed(name: str, *endpoints: Object | str) -> Changed:
    decoded = decode_event(event("MODIFIED", slice_of(name, 7, endpoints)))
    assert isinstance(decoded, Changed)
    return decoded


# Names.


def test_an_endpoint_is_named_by_its_address() -> None:
    assert named(naming(), slice_of("a", 1, ["10.0.0.7", "10.0.0.8"])) == ["app@10.0.0.7", "app@10.0.0.8"]
    assert named(naming(), slice_of("a", 1, ["fd00::7"], "IPv6")) == ["app@fd00::7"]


def test_an_endpoint_is_named_by_its_host_name() -> None:
    slices = slice_of("a", 1, [endpoint("10.0.0.7", "app-0"), endpoint("10.0.0.8", "app-1")])
    expected = ["app@app-0.app.prod.svc.cluster.local", "app@app-1.app.prod.svc.cluster.local"]
    assert named(naming("hostname"), slices) == expected


def test_an_endpoint_is_named_by_its_pods_domain_name() -> None:
    assert named(naming("dns"), slice_of("a", 1, ["10.0.0.7"])) == ["app@10-0-0-7.prod.pod.cluster.local"]
    assert named(naming("dns"), slice_of("a", 1, ["fd00::7"], "IPv6")) == [
        "app@fd00--7.prod.pod.cluster.local"
    ]


def test_an_endpoint_without_a_host_name_has_no_such_name() -> None:
    slices = slice_of("a", 1, [endpoint("10.0.0.7", "app-0"), "10.0.0.8"])
    assert named(naming("hostname"), slices) == ["app@app-0.app.prod.svc.cluster.local"]


def test_a_service_whose_endpoints_have_no_host_names_at_all_is_a_mistake_and_not_empty() -> None:
    with pytest.raises(LookError, match=r"none of 2 endpoints has a host name") as caught:
        named(naming("hostname"), slice_of("a", 1, ["10.0.0.7", "10.0.0.8"]))
    assert caught.value.reason == "malformed"
    assert named(naming("hostname"), slice_of("a", 1, [])) == []


def test_domain_names_as_addresses_are_no_pods() -> None:
    assert named(naming(), slice_of("a", 1, ["db.example.com"], "FQDN")) == []


def test_of_several_addresses_the_first_counts() -> None:
    several = {**endpoint("10.0.0.7"), "addresses": ["10.0.0.7", "10.0.0.8"]}
    assert named(naming(), slice_of("a", 1, [several, {**several, "addresses": []}])) == ["app@10.0.0.7"]


CONDITIONS: list[tuple[dict[str, bool], bool]] = [
    ({"ready": True, "serving": True, "terminating": False}, True),
    ({}, True),
    ({"ready": False, "serving": False, "terminating": False}, False),
    ({"ready": False}, False),
    ({"ready": False, "serving": True, "terminating": True}, True),
    ({"ready": False, "serving": False, "terminating": True}, False),
]
"""Conditions, and whether such an endpoint is ready for work that is under way."""


@pytest.mark.parametrize(("conditions", "is_serving"), CONDITIONS)
def test_who_is_not_ready_counts_if_that_is_wanted(conditions: dict[str, bool], is_serving: bool) -> None:
    slices = slice_of("a", 1, [endpoint("10.0.0.7", None, **conditions)])
    assert named(naming(not_ready=True), slices) == ["app@10.0.0.7"]
    assert named(naming(not_ready=False), slices) == (["app@10.0.0.7"] if is_serving else [])


def test_conditions_may_be_absent() -> None:
    bare = {"addresses": ["10.0.0.7"]}
    assert named(naming(not_ready=False), slice_of("a", 1, [bare])) == ["app@10.0.0.7"]


# Slices.


def test_slices_come_change_and_go() -> None:
    slices = Slices(naming())
    assert slices.put(changed("a", "10.0.0.7").slice)
    assert slices.put(changed("b", "10.0.0.8").slice)
    assert not slices.put(changed("b", "10.0.0.8").slice), "a repeat"
    assert slices.put(changed("a", "10.0.0.9").slice)
    assert slices.peers() == (Peer("app@10.0.0.9"), Peer("app@10.0.0.8"))
    assert slices.remove(changed("a", "10.0.0.9").slice)
    assert not slices.remove(changed("a").slice), "a repeat"
    assert slices.put(changed("b").slice)
    assert slices.peers() == ()


def test_an_endpoint_in_two_slices_is_one_node() -> None:
    assert named(naming(), slice_of("a", 1, ["10.0.0.7"]), slice_of("b", 2, ["10.0.0.7"])) == ["app@10.0.0.7"]


def test_a_service_without_endpoints_has_no_nodes() -> None:
    assert named(naming()) == []
    assert named(naming(), slice_of("a", 1, None)) == []


def test_as_many_endpoints_as_names_are_allowed_and_no_more() -> None:
    slices = Slices(naming())
    addresses = [f"10.0.{n >> 8}.{n & 255}" for n in range(1000)]
    for number in range(MAX_NAMES // 1000):
        slices.put(changed(f"a{number}", *addresses).slice)
    with pytest.raises(LookError) as caught:
        slices.put(changed("b", "10.0.0.1").slice)
    assert caught.value.reason == "too_many"


def test_slices_that_went_away_count_no_more() -> None:
    slices = Slices(naming())
    addresses = [f"10.0.{n >> 8}.{n & 255}" for n in range(MAX_NAMES)]
    slices.put(changed("a", *addresses).slice)
    slices.remove(changed("a").slice)
    slices.put(changed("b", *addresses).slice)
    slices.put(changed("b", "10.0.0.1").slice)
    assert slices.peers() == (Peer("app@10.0.0.1"),)


def test_empty_slices_are_bounded_too() -> None:
    slices = Slices(naming())
    for number in range(MAX_SLICES):
        slices.put(changed(f"a{number}").slice)
    with pytest.raises(LookError) as caught:
        slices.put(changed("b").slice)
    assert caught.value.reason == "too_many"


# Pages and events.


def test_a_page_tells_its_version_and_the_way_to_the_next() -> None:
    page = decode_page(page_of(7, slice_of("a", 3, ["10.0.0.7"]), more="eyJ2Ijoi"))
    assert (page.metadata.resource_version, page.metadata.next_page) == ("7", "eyJ2Ijoi")
    assert not decode_page(page_of(7)).metadata.next_page


def test_events() -> None:
    shown = slice_of("a", 8, ["10.0.0.7"])
    kinds = [type(decode_event(event(kind, shown))) for kind in ("ADDED", "MODIFIED", "DELETED")]
    assert kinds == [Changed, Changed, Deleted]
    assert decode_event(bookmark(9)) == Bookmark("9")
    assert decode_event(failure(410)) == Failed(410)


def without_version() -> Object:
    return {**slice_of("a", 1, []), "metadata": {"name": "a"}}


def version_of(characters: int) -> Object:
    return {**slice_of("a", 1, []), "metadata": {"name": "a", "resourceVersion": "7" * characters}}


DEEP = b"[" * 100_000
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"<html>gateway time-out</html>",
    "half": page_of(7, slice_of("a", 3, ["10.0.0.7"]))[:-9],
    "two": page_of(7) * 2,
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "deep": DEEP,
    "deep inside": b'{"metadata": {"resourceVersion": "7"}, "x": ' + DEEP,
    "not UTF-8": b'{"metadata": {"resourceVersion": "\xff"}}',
    "a lone surrogate": b'{"metadata": {"resourceVersion": "\\ud800"}}',
    "no version": b'{"metadata": {}, "items": []}',
    "a version that is a number": b'{"metadata": {"resourceVersion": 7}, "items": []}',
    "a long version": json.dumps(
        {"metadata": {"resourceVersion": "7" * (MAX_VERSION_CHARACTERS + 1)}}
    ).encode(),
    "items that are none": b'{"metadata": {"resourceVersion": "7"}, "items": {"a": 1}}',
    "a slice without a kind": b'{"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {}}]}',
    "another object": b'{"kind": "Status", "status": "Failure", "code": 500}',
    "a long continue": page_of(7, more="x" * (MAX_CONTINUE_CHARACTERS + 1)),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(LookError) as caught:
        decode_page(body)
    assert caught.value.reason == "malformed"
    assert caught.value.__cause__ is None


NO_EVENTS: dict[str, bytes] = MALFORMED | {
    "another kind": event("RENAMED", slice_of("a", 1, [])),
    "no object": b'{"type": "ADDED"}',
    "an object that is none": b'{"type": "ADDED", "object": 7}',
    "a status as a slice": b'{"type": "ADDED", "object": {"kind": "Status", "code": 410}}',
    "no version in it": event("ADDED", without_version()),
    "a long version in it": event("ADDED", version_of(MAX_VERSION_CHARACTERS + 1)),
    "no version in a bookmark": b'{"type": "BOOKMARK", "object": {"metadata": {}}}',
    "a code that is none": b'{"type": "ERROR", "object": {"code": "410"}}',
    "addresses that are none": event("ADDED", {**slice_of("a", 1, []), "endpoints": [{"addresses": 7}]}),
    "deep in an object": b'{"type": "ADDED", "object": {"metadata": ' + DEEP,
}


@pytest.mark.parametrize("line", NO_EVENTS.values(), ids=NO_EVENTS)
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(LookError) as caught:
        decode_event(line)
    assert caught.value.reason == "malformed"
    assert caught.value.__cause__ is None


@given(st.data())
def test_any_change_of_an_event_is_an_event_or_one_error(data: st.DataObject) -> None:
    line = bytearray(event("ADDED", slice_of("a", 1, ["10.0.0.7"])))
    for _ in range(data.draw(st.integers(1, 4))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    reason = None
    try:
        decoded = decode_event(bytes(line))
        if isinstance(decoded, Changed):
            Slices(naming("hostname")).put(decoded.slice)
    except LookError as error:
        reason = error.reason
    assert reason in (None, "malformed")


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "metadata",
                    "items",
                    "name",
                    "resourceVersion",
                    "continue",
                    "endpoints",
                    "addresses",
                    "conditions",
                    "ready",
                    "hostname",
                    "addressType",
                    "labels",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(VALUES)
def test_any_object_is_a_page_or_one_error(value: object) -> None:
    reason = version = None
    try:
        version = decode_page(json.dumps(value).encode()).metadata.resource_version
    except LookError as error:
        reason = error.reason
    assert version or reason == "malformed"
