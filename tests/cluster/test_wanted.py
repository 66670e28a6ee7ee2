"""Whom a node is joined with, of those that are named: its group, its links, and a limit."""

from __future__ import annotations

import pytest

from epmdless.cluster.groups import Groups, Want
from epmdless.cluster.peers import Known, Peer, Unknown
from epmdless.cluster.prepared import Prepared
from epmdless.cluster.roster import Roster
from epmdless.cluster.users import Users
from epmdless.cluster.wanted import Wanted
from epmdless.config import decode
from epmdless.rules import Glob
from tests.cluster.clusters import SOURCE

GROUPS = """
[cluster.group.web]
nodes = ["web*"]
[cluster.group.work]
nodes = ["work*"]
[[cluster.link]]
groups = ["web", "work"]
nodes = ["web-1", "work-1", "work-2"]
[[cluster.link]]
groups = ["web", "work"]
nodes = ["web-1", "work-3"]
"""

WEB = [f"web-{number}@h" for number in (1, 2, 3)]
WORK = [f"work-{number}@h" for number in (1, 2, 3)]


class World:
    """Sources `dns` and `file`, and what nodes want of what they say."""

    def __init__(self, text: str = "", keys: str = "") -> None:
        whole = f'[cluster]\ncookie_file = "/c"\n{keys}\n{SOURCE.format("dns")}{SOURCE.format("file")}{text}'
        section = decode(whole, "test.toml").cluster
        prepared = Prepared(section, Groups.of(section), tuple(map(Glob, section.nodes)), Users((), ""), {})
        self.now = 0.0
        self.roster = Roster()
        self.roster.have([("dns", "static"), ("file", "static")])
        self.wanted = Wanted(self.roster, prepared, lambda: self.now)

    def knows(self, source: str, *names: str) -> None:
        self.roster.take(source, Known(tuple(map(Peer, names))), self.now)

    def names(self, node: str) -> list[str]:
        wants, _ = self.wanted.of(node)
        return [want.name for want in wants.peers]

    def left_out(self, node: str) -> int:
        return self.wanted.of(node)[1]


def test_a_node_wants_all_but_itself() -> None:
    world = World()
    world.knows("dns", "a@h", "b@h", "c@h")
    assert world.names("b@h") == ["a@h", "c@h"]
    assert world.names("x@h") == ["a@h", "b@h", "c@h"]
    assert world.left_out("x@h") == 0


def test_names_are_in_the_order_of_their_sources_and_then_their_own() -> None:
    world = World()
    world.knows("file", "b@h", "a@h")
    world.knows("dns", "d@h", "c@h", "b@h")
    assert world.names("x@h") == ["b@h", "c@h", "d@h", "a@h"]


def test_a_change_is_seen_and_no_change_costs_nothing() -> None:
    world = World()
    world.knows("dns", "a@h")
    version = world.wanted.version
    before = world.wanted.of("x@h")[0].peers
    world.knows("dns", "a@h")
    assert world.wanted.version == version
    assert world.wanted.of("x@h")[0].peers[0] is before[0]
    world.knows("dns", "a@h", "b@h")
    assert world.wanted.version != version
    assert world.names("x@h") == ["a@h", "b@h"]


def test_a_list_that_grows_too_old_is_a_change() -> None:
    world = World(keys='max_age = "10m"')
    world.knows("dns", "a@h")
    world.roster.take("dns", Unknown("timeout", ""), 0)
    version = world.wanted.version
    assert world.wanted.of("x@h")[0].peers == (Want("a@h", hidden=False, is_current=True),)
    world.now = 601
    assert world.wanted.version != version
    assert world.wanted.of("x@h")[0].peers == (Want("a@h", hidden=False, is_current=False),)
    world.knows("dns", "a@h")
    assert world.wanted.of("x@h")[0].peers == (Want("a@h", hidden=False, is_current=True),)


@pytest.mark.parametrize("node", ["a00@h", "a05@h", "a39@h", "x@h"])
def test_no_more_than_so_many_the_first_ones(node: str) -> None:
    world = World(keys="max_peers = 10")
    names = [f"a{number:02}@h" for number in range(40)]
    world.knows("dns", *reversed(names))
    others = [name for name in names if name != node]
    assert world.names(node) == others[:10]
    assert world.left_out(node) == len(others) - 10


def test_those_that_links_choose_come_last_and_hidden() -> None:
    world = World(GROUPS)
    world.knows("dns", *WORK, *WEB, "other@h")
    wants, cut = world.wanted.of("web-1@h")
    assert [(want.name, want.hidden) for want in wants.peers] == [
        ("web-2@h", False),
        ("web-3@h", False),
        *((name, True) for name in WORK),
    ]
    assert cut == 0
    assert world.names("web-2@h") == ["web-1@h", "web-3@h"]
    assert world.names("work-3@h") == ["work-1@h", "work-2@h", "web-1@h"]


@pytest.mark.parametrize(("most", "names", "left_out"), [(2, 2, 3), (3, 3, 2), (4, 4, 1), (5, 5, 0)])
def test_links_count_for_the_limit(most: int, names: int, left_out: int) -> None:
    world = World(GROUPS, keys=f"max_peers = {most}")
    world.knows("dns", *WORK, *WEB)
    everybody = ["web-2@h", "web-3@h", *WORK]
    assert world.names("web-1@h") == everybody[:names]
    assert world.left_out("web-1@h") == left_out


@pytest.mark.parametrize("node", ["other@h", "web-1@elsewhere"])
def test_a_node_of_no_group_or_that_is_not_to_be_joined_wants_nobody(node: str) -> None:
    world = World(GROUPS, keys='nodes = ["*@h"]')
    world.knows("dns", *WEB)
    wants, cut = world.wanted.of(node)
    assert (wants.group, wants.peers, cut) == (None, (), 0)


def test_what_groups_know_is_told_by_name() -> None:
    world = World()
    world.knows("file", "a@h")
    world.now = 7
    world.knows("dns", "a@h", "b@h")
    group, _ = world.wanted.of("x@h")[0]
    assert group is not None
    named = world.wanted.namings(group)
    assert (named["a@h"].sources, named["a@h"].since) == (("dns", "file"), 0)
    assert (named["b@h"].sources, named["b@h"].since) == (("dns",), 7)
