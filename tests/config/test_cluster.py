"""`[cluster]`: the sample, every default, and every mistake with its key."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.cli import show
from epmdless.config import (
    ClusterSection,
    ClusterTlsSection,
    Config,
    Duration,
    FileSource,
    GroupLinkSection,
    GroupSection,
    ReadySection,
    StaticSource,
    decode,
    to_plain,
)
from epmdless.config.checks import MAX_GLOBS
from epmdless.config.cluster import MAX_GROUP_LINKS, MAX_GROUPS, MAX_NAMED, MAX_SOURCES
from epmdless.errors import ConfigError

SAMPLE = """
[cluster]
cookie_file = "/etc/epmdless/cookie"
nodes = ["shop-*", "stock@b?.internal"]
named = ["couchdb@127.0.0.1"]
disconnect = "gone"
hold = "90s"
max_peers = 30
max_age = "1h"
[cluster.ready]
peers = 2
[cluster.tls]
ca = "/etc/epmdless/ca.crt"
cert = "/etc/epmdless/b1.crt"
key = "/etc/epmdless/b1.key"
server_name = "b1.internal"
min_version = "1.3"
[cluster.group.shop]
nodes = ["shop-*"]
sources = ["file", "list.2"]
cookie_file = "/etc/epmdless/shop.cookie"
[cluster.group."st.ock"]
nodes = ["*"]
[[cluster.link]]
groups = ["shop", "st.ock"]
nodes = ["shop-9001", "stock@b1.internal"]
[cluster.source."list.2"]
kind = "static"
nodes = ["shop-9001@b1.internal"]
[cluster.source.file]
kind = "file"
path = "/etc/epmdless/nodes"
"""

SOURCE = "source.file = {kind = 'file', path = '/nodes'}"
COOKIE = "cookie_file = '/cookie'"
TWO_GROUPS = "group.a.nodes = ['a*']\ngroup.b.nodes = ['b*']"


def cluster(keys: str = "") -> str:
    """A cluster with a source and a cookie, and these keys."""
    return f"[cluster]\n{COOKIE}\n{SOURCE}\n{keys}\n"


def link(*groups: str, nodes: str = "['*']") -> str:
    return f"{{groups = {list(groups)}, nodes = {nodes}}}"


def linked(*links: str) -> str:
    """Two groups, ``a`` and ``b``, and these links."""
    return f"{TWO_GROUPS}\nlink = [{', '.join(links)}]"


def without_cookie(keys: str) -> str:
    return f"[cluster]\n{SOURCE}\n{keys}\n"


def mistake(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        decode(text, "e.toml")
    assert str(caught.value).startswith("e.toml: ")
    assert "\n" not in str(caught.value)
    return caught.value


# What is read.


def test_without_a_table_nothing_is_joined() -> None:
    assert Config().cluster == ClusterSection()
    assert Config().cluster.source == {}
    assert decode("[cluster]", "").cluster == ClusterSection()


def test_the_sample_is_read() -> None:
    read = decode(SAMPLE, "").cluster
    assert read.cookie_file == "/etc/epmdless/cookie"
    assert (read.nodes, read.named) == (("shop-*", "stock@b?.internal"), ("couchdb@127.0.0.1",))
    assert (read.disconnect, read.hold, read.max_peers) == ("gone", Duration(90), 30)
    assert (read.max_age, read.ready) == (Duration(3600), ReadySection(peers=2))
    assert read.tls == ClusterTlsSection(
        ca="/etc/epmdless/ca.crt",
        cert="/etc/epmdless/b1.crt",
        key="/etc/epmdless/b1.key",
        server_name="b1.internal",
        min_version="1.3",
    )
    assert list(read.group) == ["shop", "st.ock"]
    assert read.group["shop"] == GroupSection(
        nodes=("shop-*",), sources=("file", "list.2"), cookie_file="/etc/epmdless/shop.cookie"
    )
    assert read.group["st.ock"] == GroupSection(nodes=("*",))
    assert read.link == (
        GroupLinkSection(groups=("shop", "st.ock"), nodes=("shop-9001", "stock@b1.internal")),
    )
    assert list(read.source) == ["list.2", "file"]
    assert read.source["list.2"] == StaticSource(nodes=("shop-9001@b1.internal",))
    assert read.source["file"] == FileSource(path="/etc/epmdless/nodes")


def test_every_default() -> None:
    read = decode(cluster(), "").cluster
    assert (read.nodes, read.named, read.group, read.link) == (("*",), (), {}, ())
    assert (read.disconnect, read.hold, read.max_peers) == ("never", Duration(60), 1000)
    assert (read.max_age, read.ready.peers) == (Duration(86400), 0)
    group = GroupSection(nodes=("*",))
    assert (group.sources, group.cookie_file) == (None, None)
    assert read.tls is None
    tls = ClusterTlsSection(ca="/ca")
    assert (tls.cert, tls.key, tls.server_name, tls.min_version) == (None, None, None, "1.2")


@pytest.mark.parametrize("text", ["", "[cluster]", SAMPLE, cluster(), cluster(TWO_GROUPS)])
def test_what_is_shown_is_read_back(text: str) -> None:
    read = decode(text, "")
    assert decode(show.toml(to_plain(read)), "") == read


def test_tables_are_shown_with_their_names() -> None:
    shown = show.toml(to_plain(decode(SAMPLE, "")))
    for line in (
        "[cluster]",
        "[cluster.ready]",
        '[cluster.group."st.ock"]',
        "[[cluster.link]]",
        '[cluster.source."list.2"]',
        'kind = "static"',
        'max_age = "1h"',
    ):
        assert f"\n{line}\n" in shown


@pytest.mark.parametrize("name", ["a", "b1-dns", "b_1.x", "1", "a" * 63])
def test_sources_and_groups_are_named_as_hops(name: str) -> None:
    read = decode(
        f"[cluster]\n{COOKIE}\n[cluster.source.'{name}']\nkind = 'file'\npath = '/nodes'\n"
        f"[cluster.group.'{name}']\nnodes = ['*']",
        "",
    ).cluster
    assert list(read.source) == list(read.group) == [name]


def test_groups_may_each_have_a_cookie() -> None:
    groups = "group.a = {nodes = ['a'], cookie_file = '/a'}\ngroup.b = {nodes = ['b'], cookie_file = '/b'}"
    read = decode(without_cookie(groups), "").cluster
    assert [read.cookie_file, *(group.cookie_file for group in read.group.values())] == [None, "/a", "/b"]


@pytest.mark.parametrize(
    "keys",
    [
        "nodes = []\nnamed = ['a@b']",
        "ready.peers = 1000",
        "ready.peers = 7\nmax_peers = 7",
        "hold = '0s'\ndisconnect = 'gone'",
        "max_age = '0s'",
        linked(link("b", "a")),
        "group.a = {nodes = ['*']}\ngroup.b = {nodes = ['*'], sources = ['file']}",
    ],
)
def test_at_the_edge_of_what_is_allowed(keys: str) -> None:
    assert decode(cluster(keys), "").cluster.source


def test_as_many_tables_as_are_allowed() -> None:
    sources = "\n".join(f"source.s{n} = {{kind = 'file', path = '/n'}}" for n in range(MAX_SOURCES - 1))
    groups = "\n".join(f"group.g{n}.nodes = ['*']" for n in range(MAX_GROUPS))
    links = ", ".join([link("g0", "g1")] * MAX_GROUP_LINKS)
    named = [f"n{n}@b1" for n in range(MAX_NAMED)]
    read = decode(cluster(f"{sources}\n{groups}\nlink = [{links}]\nnamed = {named}"), "").cluster
    assert (len(read.source), len(read.group)) == (MAX_SOURCES, MAX_GROUPS) == (32, 64)
    assert (len(read.link), len(read.named)) == (MAX_GROUP_LINKS, MAX_NAMED) == (2016, 1000)


# Mistakes.


@pytest.mark.parametrize(
    ("keys", "key", "problem"),
    [
        ("users = ['app', 'a b']", "users[1]", "'a b' is neither a user's name or number"),
        ("users = ['']", "users[0]", "is neither a user's name or number"),
        ("users = [1001]", "users[0]", "expected `str`, got `int`"),
        ("users = ['app', 'app']", "users[1]", "app is users[0] again"),
        (f"users = {[f'u{n}' for n in range(101)]}", "users", "101 are more than 100"),
        (
            "cookie = '/c'",
            "cookie",
            "unknown key; allowed: cookie_file, cookie_variable, nodes, users, named, disconnect",
        ),
        ("disconnect = 'always'", "disconnect", "'always' is not one of the choices; allowed: gone, never"),
        ("hold = 60", "hold", "60 is not a duration"),
        ("max_age = '-1s'", "max_age", "'-1s' is not a duration"),
        ("max_peers = 0", "max_peers", "expected `int` >= 1"),
        ("max_peers = 20001", "max_peers", "expected `int` <= 20000"),
        ("ready.peers = -1", "ready.peers", "expected `int` >= 0"),
        ("ready.nodes = 1", "ready.nodes", "unknown key; allowed: peers"),
        ("ready.peers = 1001", "ready.peers", "1001 are more than the 1000 of cluster.max_peers"),
        ("tls = true", "tls", "got `bool`"),
        ("tls = {}", "tls.ca", "this key is required"),
        ("tls.ca = 'ca.crt'", "tls.ca", "'ca.crt' is not an absolute path"),
        ("tls = {ca = '/ca', name = 'b1'}", "tls.name", "unknown key; allowed: ca, cert, key, server_name"),
        ("tls = {ca = '/ca', cert = '/c'}", "tls.key", "missing: cert and key come together or not at all"),
        ("tls = {ca = '/ca', key = '/k'}", "tls.cert", "missing: cert and key come together or not at all"),
        ("tls = {ca = '/ca', server_name = 'a b'}", "tls.server_name", "'a b'"),
        ("tls = {ca = '/ca', min_version = '1.1'}", "tls.min_version", "allowed: 1.2, 1.3"),
        ("nodes = '*'", "nodes", "got `str`"),
        ("nodes = []", "nodes", "an empty list joins nobody, as `named` is empty too"),
        ("nodes = ['a', '']", "nodes[1]", "a pattern has 1 to 1024 characters; `*` matches everything"),
        (f"nodes = {['a'] * (MAX_GLOBS + 1)}", "nodes", "1001 are more than 1000"),
        ("named = ['app']", "named[0]", "'app' is not a node's whole name, as in app@b1.internal"),
        ("named = ['a@b', 'a@b c']", "named[1]", "'a@b c' is not a node's whole name"),
        ("named = ['a@b', 'c@d', 'a@b']", "named[2]", "a@b is named[0] again"),
        (f"named = {[f'a{n}@b' for n in range(1001)]}", "named", "1001 are more than 1000"),
        ("group.a = {}", "group.a.nodes", "this key is required"),
        ("group.a.node = ['*']", "group.a.node", "unknown key; allowed: nodes, sources, cookie_file"),
        (
            "group.a.nodes = []",
            "group.a.nodes",
            "an empty list matches nothing: take the whole group out for that",
        ),
        (
            "group.a.nodes = ['*']\ngroup.'b.c'.nodes = ['x', '']",
            'group."b.c".nodes[1]',
            "a pattern has 1 to 1024 characters",
        ),
        (
            "group.a = {nodes = ['*'], sources = []}",
            "group.a.sources",
            "an empty list names nobody: leave the key out for all sources",
        ),
        (
            "group.a = {nodes = ['*'], sources = ['file', 'file']}",
            "group.a.sources[1]",
            "file is sources[0] again",
        ),
        (
            "group.'a.b' = {nodes = ['*'], sources = ['file', 'dns']}",
            'group."a.b".sources[1]',
            "'dns' is no source; allowed: file",
        ),
        (
            "group.a = {nodes = ['*'], cookie_file = 'cookie'}",
            "group.a.cookie_file",
            "this is not an absolute path",
        ),
        (
            "source.'x.y' = {kind = 'file', path = '/x'}\ngroup.a = {nodes = ['*'], sources = ['file']}",
            'source."x.y"',
            "is never used: every group has `sources`, and none of them names it",
        ),
        (linked("{groups = ['a', 'b']}"), "link[0].nodes", "this key is required"),
        (
            linked(link("a", "b", nodes="[]")),
            "link[0].nodes",
            "an empty list links nothing: take the whole link out for that",
        ),
        (
            linked(link("a", "b", nodes="['*', '']")),
            "link[0].nodes[1]",
            "a pattern has 1 to 1024 characters",
        ),
        (
            linked(link("b", "b")),
            "link[0].groups",
            "'b' twice: the nodes of one group are joined anyway",
        ),
        (
            linked(link("a", "b", "a")),
            "link[0].groups",
            "array` of length 2, got 3",
        ),
        (
            linked(link("a", "b"), link("a", "c")),
            "link[1].groups[1]",
            "'c' is no group; allowed: a, b",
        ),
        (
            f"link = [{link('default', 'b')}]",
            "link[0].groups[0]",
            "'default' is no group; allowed: none, for want of [cluster.group.NAME] tables",
        ),
        (f"link = {link('a', 'b')}", "link", "got `object`"),
    ],
)
def test_a_mistake_names_its_key(keys: str, key: str, problem: str) -> None:
    error = mistake(cluster(keys))
    assert error.key == f"cluster.{key}"
    assert problem in error.problem


@pytest.mark.parametrize(
    ("keys", "whose"),
    [
        ("", "that of the local nodes"),
        (TWO_GROUPS, "that of cluster.group.a"),
        (
            "group.a = {nodes = ['a'], cookie_file = '/a'}\ngroup.'b.c'.nodes = ['b']",
            'that of cluster.group."b.c"',
        ),
    ],
)
def test_to_join_nodes_takes_their_cookie(keys: str, whose: str) -> None:
    error = mistake(without_cookie(keys))
    assert error.key == "cluster.cookie_file"
    assert error.problem == f"missing: to join nodes, epmdless needs their cookie, here {whose}"


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        (COOKIE, "cookie_file"),
        ("cookie_variable = 'RELEASE_COOKIE'", "cookie_variable"),
        ("named = ['a@b']", "named"),
        ("disconnect = 'gone'", "disconnect"),
        ("ready.peers = 1", "ready.peers"),
        ("tls.ca = '/ca'", "tls"),
        (TWO_GROUPS, "group"),
        (f"link = [{link('a', 'b')}]", "link"),
    ],
)
def test_what_does_nothing_without_a_source_says_so(keys: str, key: str) -> None:
    error = mistake(f"[cluster]\n{keys}")
    assert error.key == f"cluster.{key}"
    assert error.problem == "does nothing without a source: [cluster.source.NAME] with a `kind`"


@pytest.mark.parametrize(
    ("key", "table", "most"),
    [
        ("source", "{kind = 'file', path = '/n'}", 32),
        ("group", "{nodes = ['*']}", 64),
    ],
)
def test_too_many_tables_are_refused(key: str, table: str, most: int) -> None:
    more = most if key == "source" else most + 1  # one source is there already
    error = mistake(cluster("\n".join(f"{key}.x{n} = {table}" for n in range(more))))
    assert (error.key, error.problem) == (f"cluster.{key}", f"{most + 1} are more than {most}")


def test_too_many_links_are_refused() -> None:
    error = mistake(cluster(linked(*[link("a", "b")] * (MAX_GROUP_LINKS + 1))))
    assert (error.key, error.problem) == ("cluster.link", "2017 are more than 2016")


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "a/b", "a" * 64, "a\t"])
@pytest.mark.parametrize(
    ("key", "what", "table"),
    [
        ("source", "a source", "{kind = 'file', path = '/n'}"),
        ("group", "a group", "{nodes = ['*']}"),
    ],
)
def test_what_is_no_name_for_a_table_is_refused(name: str, key: str, what: str, table: str) -> None:
    error = mistake(cluster(f"{key}.'{name}' = {table}"))
    assert error.key == f"cluster.{key}"
    assert f"{name!r} is no name for {what}: 1 to 63 letters, digits, dots, `_` and `-`" in error.problem


def test_a_cookie_may_be_in_the_environment() -> None:
    read = decode(without_cookie("cookie_variable = 'RELEASE_COOKIE'"), "").cluster
    assert (read.cookie_file, read.cookie_variable) == (None, "RELEASE_COOKIE")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (f"{COOKIE}\ncookie_variable = 'A'", "there is a cookie_file already: take one of them"),
        ("cookie_variable = 'sec-ret'", "not the name of a variable of the environment, as RELEASE_COOKIE"),
        ("cookie_variable = ''", "not the name of a variable of the environment, as RELEASE_COOKIE"),
    ],
)
def test_a_cookie_is_in_one_place_that_there_can_be(keys: str, problem: str) -> None:
    error = mistake(without_cookie(keys))
    assert (error.key, error.problem) == ("cluster.cookie_variable", problem)


@pytest.mark.parametrize(
    "text",
    [
        f"[cluster]\n{SOURCE}\ncookie_file = 'hunter2'",
        cluster("group.a = {nodes = ['*'], cookie_file = 'hunter2'}"),
    ],
)
def test_a_cookie_where_its_path_should_stand_is_not_repeated(text: str) -> None:
    error = mistake(text)
    assert error.problem == "this is not an absolute path"
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("cluster = 1", "cluster"),
        ("cluster.group = 1", "cluster.group"),
        ("cluster.group.a = 1", "cluster.group.a"),
        ("cluster.source.a = 1", "cluster.source.a"),
        ("cluster.ready = 1", "cluster.ready"),
    ],
)
def test_what_is_no_table_is_named(text: str, key: str) -> None:
    error = mistake(text)
    assert (error.key, error.problem) == (key, "expected `object`, got `int`")


# The resolver `peers`.


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("resolve.chain = ['registered', 'peers']", "resolve.chain"),
        ("relay.route = [{host = 'b1', listen = '10.0.1.9', resolve = ['peers']}]", "relay.route[0].resolve"),
    ],
)
def test_who_asks_the_peers_needs_a_source(text: str, key: str) -> None:
    error = mistake(text)
    assert error.key == key
    assert error.problem == 'names "peers", which needs a [cluster.source.NAME] table'
    assert decode(f"{text}\n{cluster()}", "").cluster.source


def test_a_source_needs_nobody_who_asks_the_peers() -> None:
    assert "peers" not in decode(cluster(), "").resolve.chain


# Whatever is accepted is read back.

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,9}", fullmatch=True)
GLOBS = st.lists(st.text(st.sampled_from("ab*?@"), min_size=1, max_size=5), min_size=1, max_size=3)
TIMES = st.sampled_from(["0s", "1500ms", "7s", "1d"])


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, Any]:
    """A `[cluster]` table whose parts go together."""
    sources = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    groups: dict[str, Any] = {name: {"nodes": draw(GLOBS)} for name in names}
    for group in groups.values():
        if draw(st.booleans()):
            group["sources"] = draw(st.permutations(sources))
    pairs = st.permutations(names).map(lambda order: order[:2])
    links = draw(st.lists(pairs, max_size=3)) if len(names) > 1 else []
    return {
        "cookie_file": "/cookie",
        "source": {name: {"kind": "static", "nodes": ["a@b"]} for name in sources},
        "group": groups,
        "link": [{"groups": list(pair), "nodes": draw(GLOBS)} for pair in links],
        **draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "nodes": GLOBS,
                    "named": st.just(["a@b", "имя@fd00::1"]),
                    "disconnect": st.sampled_from(["never", "gone"]),
                    "max_peers": st.integers(5, 20_000),
                    "ready": st.fixed_dictionaries({"peers": st.integers(0, 5)}),
                    **dict.fromkeys(("hold", "max_age"), TIMES),
                },
            )
        ),
    }


@given(clusters())
def test_any_cluster_that_is_shown_is_read_back(table: dict[str, Any]) -> None:
    read = decode(show.toml({"cluster": table}), "")
    assert list(read.cluster.source) == list(table["source"])
    assert list(read.cluster.group) == list(table["group"])
    assert decode(show.toml(to_plain(read)), "") == read
