"""What the kinds of `[cluster.source.NAME]` have in common: a kind, keys, names, polls, time-outs."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cli import show
from epmdless.config import SourceSection, decode, to_plain
from epmdless.errors import ConfigError
from tests.config.source_tables import refused, table

POLLED = {
    "dns": "basename = 'shop', addresses = ['shop.internal']",
    "epmd": "local = true",
    "command": "argv = ['psql']",
    "file": "path = '/nodes'",
    "ec2": "basename = 'shop', own_group = true",
    "ecs": "basename = 'shop', service = 'shop'",
    "cloudmap": "basename = 'shop', namespace = 'internal', service = 'shop'",
}
TIMED = {
    **{kind: keys for kind, keys in POLLED.items() if kind != "file"},
    "kubernetes": "basename = 'shop', service = 'shop'",
}
BASED = {
    "dns": "addresses = ['shop.internal']",
    "kubernetes": "service = 'shop'",
    "ec2": "own_group = true",
    "ecs": "service = 'shop'",
    "cloudmap": "namespace = 'internal', service = 'shop'",
}


def test_every_kind_that_is_shown_is_read_back() -> None:
    kinds = {**BASED, **POLLED, **TIMED, "static": "nodes = ['a@b']", "gossip": ""}
    tables = "\n".join(f"source.{kind} = {{kind = '{kind}', {keys}}}" for kind, keys in kinds.items() if keys)
    text = f"[cluster]\ncookie_file = '/cookie'\n{tables}\nsource.gossip.kind = 'gossip'\n"
    read = decode(text, "")
    assert len(read.cluster.source) == 10
    shown = show.toml(to_plain(read))
    assert decode(shown, "") == read
    for kind in kinds:
        assert f'\n[cluster.source.{kind}]\nkind = "{kind}"\n' in shown


@pytest.mark.parametrize("kind", POLLED)
@pytest.mark.parametrize("poll", ["99ms", "0s"])
def test_nobody_is_asked_too_often(kind: str, poll: str) -> None:
    key, problem = refused(kind, f"{POLLED[kind]}, poll = '{poll}'")
    assert (key, problem) == ("poll", "must be at least 100ms: every host of the cluster asks so often")
    assert decode(table(kind, f"{POLLED[kind]}, poll = '100ms'"), "").cluster.source


@pytest.mark.parametrize("kind", TIMED)
@pytest.mark.parametrize("timeout", ["9ms", "0s"])
def test_a_time_out_leaves_time_for_an_answer(kind: str, timeout: str) -> None:
    key, problem = refused(kind, f"{TIMED[kind]}, timeout = '{timeout}'")
    assert (key, problem) == ("timeout", "must be at least 10ms: no answer would come in time")
    assert decode(table(kind, f"{TIMED[kind]}, timeout = '10ms'"), "").cluster.source


@pytest.mark.parametrize("kind", BASED)
@pytest.mark.parametrize("basename", ["", "a@b", "a b", "a\\u0000", "a" * 256])
def test_a_basename_is_one_that_a_node_can_have(kind: str, basename: str) -> None:
    key, problem = refused(kind, f'{BASED[kind]}, basename = "{basename}"')
    assert key == "basename"
    assert problem.endswith(" is not what stands before the @ of a node's name, without blanks")
    assert refused(kind, BASED[kind]) == ("basename", "this key is required")


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("static", "kind nodes"),
        (
            "dns",
            "kind basename addresses srv srv_names families gather poll servers tcp timeout lifetime",
        ),
        ("epmd", "kind hosts dns hosts_file local port timeout poll"),
        ("gossip", "kind group port ttl interface secret_file heartbeat expire"),
        (
            "kubernetes",
            "kind basename service selector namespace names domain not_ready api token_file ca_file timeout",
        ),
        ("ec2", "kind basename tags states own_group names region endpoint poll timeout"),
        ("ecs", "kind basename service cluster region endpoint poll timeout"),
        ("cloudmap", "kind basename namespace service names health region endpoint poll timeout"),
        ("command", "kind argv poll timeout"),
        ("file", "kind path poll"),
    ],
)
def test_an_unknown_key_names_those_of_its_kind(kind: str, allowed: str) -> None:
    assert refused(kind, "nope = 1") == ("nope", f"unknown key; allowed: {', '.join(allowed.split())}")


def test_a_source_without_its_kind_names_the_kinds() -> None:
    kinds = "static, dns, epmd, gossip, kubernetes, ec2, ecs, cloudmap, command, file"
    with pytest.raises(
        ConfigError, match=rf"^cluster.source.x.kind: this key is required; allowed: {kinds}$"
    ):
        decode("cluster.source.x.path = '/nodes'", "")


@pytest.mark.parametrize("kind", ["1", "[]", "{}"])
def test_a_kind_that_is_no_text_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.source\.x\.kind: expected `str`, got"):
        decode(f"cluster.source.x.kind = {kind}", "")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
KINDS = {kind.__struct_config__.tag: kind for kind in get_args(SourceSection)}
VALUES = st.one_of(TEXTS, st.integers(), st.booleans(), st.sampled_from(["10.0.0.7", "/a", "1s"]))


@given(st.data(), st.sampled_from(list(KINDS)))
def test_any_table_is_a_source_or_one_error_that_names_it(data: st.DataObject, kind: str) -> None:
    keys = st.sampled_from(KINDS[kind].__struct_fields__) | TEXTS
    values = st.dictionaries(keys, VALUES | st.lists(VALUES, max_size=3), max_size=4)
    tables = {"cluster": {"cookie_file": "/c", "source": {"x": {**data.draw(values), "kind": kind}}}}
    try:
        read = decode(show.toml(tables), "")
    except ConfigError as error:
        assert_names_the_source(str(error))
    else:
        assert isinstance(read.cluster.source["x"], KINDS[kind])


def assert_names_the_source(problem: str) -> None:
    assert problem.startswith("cluster.source.x")
    assert "\n" not in problem
