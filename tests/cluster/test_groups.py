"""Who belongs together, who is linked across groups, and who of a pair connects."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from epmdless.cluster import groups as grouping
from epmdless.cluster.groups import DEFAULT_GROUP, Groups, connects_first, node_matches
from epmdless.config import ClusterSection, decode
from epmdless.rules import Glob

NODES = st.from_regex(r"[a-z][a-z0-9-]{0,12}@[a-z0-9.]{1,20}", fullmatch=True)

SOURCES = """
[cluster]
cookie_file = "/etc/cookie"
[cluster.source.dns]
kind = "static"
nodes = ["a@b1"]
[cluster.source.file]
kind = "static"
nodes = ["a@b1"]
"""

WEB_AND_WORK = f"""{SOURCES}
[cluster.group.web]
nodes = ["web*"]
sources = ["file"]
cookie_file = "/etc/web-cookie"
[cluster.group.work]
nodes = ["*@*.work.internal", "web-9"]
[[cluster.link]]
groups = ["web", "work"]
nodes = ["web-1", "*@gate.work.internal"]
"""


def section_of(text: str) -> ClusterSection:
    return decode(text, "test.toml").cluster


def groups_of(text: str) -> Groups:
    return Groups.of(section_of(text))


def group_name(groups: Groups, node: str) -> str | None:
    group = groups.group_of(node)
    return group.name if group else None


def test_without_groups_there_is_one_of_all() -> None:
    groups = groups_of(SOURCES)
    group = groups.group_of("a@b1")
    assert groups.all == (group,)
    assert group is not None
    assert (group.name, group.sources, group.cookie.file) == (DEFAULT_GROUP, ("dns", "file"), "/etc/cookie")


def test_a_group_has_its_own_sources_and_cookie_or_all_and_the_clusters() -> None:
    web, work = groups_of(WEB_AND_WORK).all
    assert (web.sources, web.cookie.file) == (("file",), "/etc/web-cookie")
    assert (work.sources, work.cookie.file) == (("dns", "file"), "/etc/cookie")


def test_a_node_belongs_to_the_first_group_that_matches_or_to_none() -> None:
    groups = groups_of(WEB_AND_WORK)
    for node, name in (
        ("web-1@h1", "web"),
        ("web-1@x.work.internal", "web"),
        ("web-9@h1", "web"),
        ("db@x.work.internal", "work"),
        ("db@h1", None),
        ("db-web@h1", None),
    ):
        assert group_name(groups, node) == name
        assert group_name(groups, node) == name, "as it is remembered"


def test_the_members_of_a_group_are_in_the_order_of_the_names() -> None:
    groups = groups_of(WEB_AND_WORK)
    web, work = groups.all
    named = ["web-3@h", "db@a.work.internal", "web-1@h", "other@h"]
    assert groups.members(web, named) == ["web-3@h", "web-1@h"]
    assert groups.members(work, named) == ["db@a.work.internal"]


def test_only_nodes_that_a_link_chooses_are_linked_and_to_the_other_group() -> None:
    groups = groups_of(WEB_AND_WORK)
    web, work = groups.all
    chosen = (Glob("web-1"), Glob("*@gate.work.internal"))
    assert groups.linked_to("web-1@h1", web) == [(work, chosen)]
    assert groups.linked_to("x@gate.work.internal", work) == [(web, chosen)]
    assert groups.linked_to("web-2@h1", web) == []
    assert groups.linked_to("x@a.work.internal", work) == []


def test_ever_new_names_are_forgotten_and_found_again() -> None:
    groups = groups_of(WEB_AND_WORK)
    for number in range(grouping.REMEMBERED_GROUPS + 10):
        groups.group_of(f"web-{number}@h1")
    assert len(groups._known) <= grouping.REMEMBERED_GROUPS
    assert group_name(groups, "web-0@h1") == "web"


def test_a_glob_with_an_at_is_of_the_whole_name() -> None:
    assert node_matches([Glob("a*")], "app@b1")
    assert not node_matches([Glob("*b1")], "app@b1")
    assert node_matches([Glob("*@b1")], "app@b1")
    assert not node_matches([Glob("app@b")], "app@b1")
    assert not node_matches([], "app@b1")


@given(NODES, NODES)
def test_of_a_pair_exactly_one_goes_first(node: str, peer: str) -> None:
    if node != peer:
        assert connects_first(node, peer) != connects_first(peer, node)


def test_each_node_connects_about_half_of_its_pairs() -> None:
    nodes = [f"app-{number}@10.0.0.{number}" for number in range(100)]
    shares = [sum(connects_first(node, peer) for peer in nodes if peer != node) for node in nodes]
    assert sum(shares) == 100 * 99 // 2
    assert min(shares) > 25
    assert max(shares) < 75
