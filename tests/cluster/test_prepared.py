"""A configuration is checked as a whole before any of it is in force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from epmdless.cluster import prepared as preparing
from epmdless.cluster.prepared import Prepared, prepare
from epmdless.cluster.sources.build import Surroundings, build
from epmdless.config import SourceSection, decode
from epmdless.errors import ConfigError
from epmdless.metrics import Metrics
from tests.cluster.clusters import SOURCE, FakeSource
from tests.support.relays import Lines

FILE = "e.toml"
AROUND = Surroundings(Metrics(), Lines(), {}, "h1.test", lambda: ())


@pytest.fixture(autouse=True)
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sources that are made."""
    made: list[str] = []

    def build(name: str, section: SourceSection, _around: Surroundings, file: str) -> FakeSource:
        made.append(name)
        if name == "bad":
            raise ConfigError(file, f"cluster.source.{name}", "no such thing")
        return FakeSource(section)

    monkeypatch.setattr(preparing, "build", build)
    return made


def cookie(path: Path, mode: int = 0o600) -> Path:
    path.write_text("a-cookie\n")
    path.chmod(mode)
    return path


def prepared(text: str, running: Prepared | None = None) -> Prepared | None:
    section = decode(text, FILE).cluster
    return prepare(section, AROUND, FILE, running.sources if running else {})


def whole(folder: Path, *sources: str, more: str = "") -> str:
    head = f'[cluster]\ncookie_file = "{folder}/cookie"\n'
    return head + "".join(map(SOURCE.format, sources)) + more


def test_without_a_source_there_is_nothing(builds: list[str]) -> None:
    assert prepared("") is None
    assert builds == []


def test_sources_that_stay_as_they_are_are_not_made_anew(tmp_path: Path, builds: list[str]) -> None:
    cookie(tmp_path / "cookie")
    before = prepared(whole(tmp_path, "dns", "file"))
    assert before is not None
    changed = SOURCE.format("file").replace("never", "ever")
    after = prepared(whole(tmp_path, "new", "dns", more=changed), before)
    assert after is not None
    assert builds == ["dns", "file", "new", "file"]
    assert list(after.sources) == ["new", "dns", "file"]
    assert after.sources["dns"] is before.sources["dns"]
    assert after.sources["file"][1] is not before.sources["file"][1]


def test_a_secret_that_was_changed_is_taken_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "build", build)
    cookie(tmp_path / "cookie")
    secret = cookie(tmp_path / "secret")
    gossip = f'[cluster.source.near]\nkind = "gossip"\nsecret_file = "{secret}"\n'
    before = prepared(whole(tmp_path, more=gossip))
    assert before is not None
    same = prepared(whole(tmp_path, more=gossip), before)
    assert same is not None
    assert same.sources["near"] is before.sources["near"]
    secret.write_text("another\n")
    after = prepared(whole(tmp_path, more=gossip), before)
    assert after is not None
    assert after.sources["near"][1] is not before.sources["near"][1]
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match=r"cluster\.source\.near\.secret_file"):
        prepared(whole(tmp_path, more=gossip), before)


@pytest.mark.parametrize(("key", "goes_on"), [("local = true", False), ('hosts = ["b1.test"]', True)])
def test_a_host_that_is_called_otherwise_names_its_nodes_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, goes_on: bool
) -> None:
    monkeypatch.setattr(preparing, "build", build)
    cookie(tmp_path / "cookie")
    text = whole(tmp_path, more=f'[cluster.source.here]\nkind = "epmd"\n{key}\n')
    before = prepared(text)
    assert before is not None
    after = prepare(decode(text, FILE).cluster, replace(AROUND, own_host="h2.test"), FILE, before.sources)
    assert after is not None
    assert (after.sources["here"] is before.sources["here"]) == goes_on


@pytest.mark.parametrize("key", ["cluster.cookie_file", "cluster.group.web.cookie_file"])
@pytest.mark.parametrize("mode", [None, 0o644, 0o640])
def test_a_cookie_file_that_others_may_read_or_that_is_not_there(
    tmp_path: Path, builds: list[str], key: str, mode: int | None
) -> None:
    files = {"cluster.cookie_file": tmp_path / "cookie", "cluster.group.web.cookie_file": tmp_path / "web"}
    for path in files.values():
        cookie(path)
    if mode is None:
        files[key].unlink()
    else:
        files[key].chmod(mode)
    group = f'[cluster.group.web]\nnodes = ["*"]\ncookie_file = "{files["cluster.group.web.cookie_file"]}"\n'
    with pytest.raises(ConfigError) as caught:
        prepared(whole(tmp_path, "dns", more=group))
    assert (caught.value.source, caught.value.key) == (str(files[key]), key)
    assert "a-cookie" not in str(caught.value)
    assert builds == []


def test_a_cookie_of_the_environment_that_is_not_there(tmp_path: Path, builds: list[str]) -> None:
    text = whole(tmp_path, "dns").replace(f'cookie_file = "{tmp_path}/cookie"', 'cookie_variable = "SECRET"')
    with pytest.raises(ConfigError, match=r"cluster\.cookie_variable: the variable that it names is not set"):
        prepared(text)
    assert builds == []
    made = prepare(decode(text, FILE).cluster, replace(AROUND, environ={"SECRET": "a-cookie"}), FILE, {})
    assert made is not None
    assert made.groups.all[0].cookie.variable == "SECRET"


def test_a_source_that_cannot_be_made(tmp_path: Path) -> None:
    cookie(tmp_path / "cookie")
    with pytest.raises(ConfigError, match=r"cluster\.source\.bad: no such thing"):
        prepared(whole(tmp_path, "dns", "bad"))


@pytest.mark.parametrize(
    ("node", "group"),
    [
        ("web-1@a.test", "web"),
        ("web-1@b.test", None),
        ("work@a.test", "work"),
        ("far@c.test", "work"),
        ("other@c.test", None),
    ],
)
def test_a_local_node_is_of_a_group_if_it_is_to_be_joined(
    tmp_path: Path, node: str, group: str | None
) -> None:
    cookie(tmp_path / "cookie")
    text = whole(
        tmp_path, "dns", more='[cluster.group.web]\nnodes = ["web*"]\n[cluster.group.work]\nnodes = ["*"]\n'
    )
    keys = 'nodes = ["*@a.test"]\nnamed = ["far@c.test"]\n[cluster.source.dns]'
    made = prepared(text.replace("[cluster.source.dns]", keys))
    assert made is not None
    found = made.group_of(node)
    assert (found.name if found else None) == group
