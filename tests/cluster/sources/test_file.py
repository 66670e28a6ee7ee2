"""The source `file`: what its looks see while somebody else writes the file."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from epmdless.cluster.peers import Known, LookError, Peer, Unknown
from epmdless.cluster.sources.build import build
from epmdless.cluster.sources.file import NamesFile
from epmdless.cluster.sources.listing import SETTLE_SECONDS, WatchedList
from epmdless.cluster.sources.name_text import MAX_BYTES, parse_names
from epmdless.config import Duration, FileSource
from epmdless.net import files
from tests.cluster.sources.saying import AROUND
from tests.support.tools import require_root


class Watched:
    """A file that a source watches, and its looks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source = NamesFile(FileSource(path=str(path)))

    def write(self, *names: str) -> None:
        self.path.write_text("".join(f"{name}\n" for name in names))

    def replace(self, *names: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text("".join(f"{name}\n" for name in names))
        new.rename(self.path)

    async def look(self) -> set[str]:
        return {peer.name for peer in await self._source.look()}

    async def failure(self) -> LookError:
        with pytest.raises(LookError) as caught:
            await self._source.look()
        assert str(self.path) in caught.value.detail or caught.value.reason == "malformed"
        return caught.value


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "nodes")


async def test_names_that_are_added_count_at_once(watched: Watched) -> None:
    watched.write("app@b1")
    assert await watched.look() == {"app@b1"}
    watched.write("app@b1", "app@b2")
    assert await watched.look() == {"app@b1", "app@b2"}
    watched.replace("app@b1", "app@b2", "app@b3")
    assert await watched.look() == {"app@b1", "app@b2", "app@b3"}


async def test_names_that_are_taken_out_have_left_at_the_second_look(watched: Watched) -> None:
    watched.write("app@b1", "app@b2")
    await watched.look()
    watched.replace("app@b2", "app@b3")
    assert await watched.look() == {"app@b1", "app@b2", "app@b3"}
    assert await watched.look() == {"app@b2", "app@b3"}


@pytest.mark.parametrize("between", ["", "app@b1\n", "app@b1\napp@b2", "[]"])
async def test_what_stands_there_between_two_writes_of_an_editor_takes_nobody_away(
    watched: Watched, between: str
) -> None:
    watched.write("app@b1", "app@b22")
    await watched.look()
    watched.path.write_text(between)
    assert await watched.look() >= {"app@b1", "app@b22"}
    watched.write("app@b1", "app@b22", "app@b3")
    assert await watched.look() >= {"app@b1", "app@b22", "app@b3"}
    assert await watched.look() == {"app@b1", "app@b22", "app@b3"}


@pytest.mark.parametrize("between", ["[", '["app@b1", "app@', "app@b1\napp", '{"nodes": ['])
async def test_half_of_a_list_that_cannot_be_read_is_unknown(watched: Watched, between: str) -> None:
    watched.write("app@b1", "app@b22")
    await watched.look()
    watched.path.write_text(between)
    assert (await watched.failure()).reason == "malformed"
    watched.write("app@b22", "app@b3")
    assert await watched.look() == {"app@b1", "app@b22", "app@b3"}
    assert await watched.look() == {"app@b22", "app@b3"}


@pytest.mark.parametrize("empty", ["", "[]", "# nobody\n"])
async def test_an_empty_file_is_believed_by_the_second_look(watched: Watched, empty: str) -> None:
    watched.write("app@b1")
    await watched.look()
    watched.path.write_text(empty)
    assert await watched.look() == {"app@b1"}
    assert await watched.look() == set()
    assert await watched.look() == set()


async def test_of_a_file_that_is_empty_from_the_start_the_first_look_says_nothing(watched: Watched) -> None:
    watched.write()
    assert (await watched.failure()).reason == "malformed"
    assert await watched.look() == set()
    watched.write("app@b1")
    assert await watched.look() == {"app@b1"}


async def test_a_file_that_is_gone_is_unknown_and_never_nobody(watched: Watched) -> None:
    assert (await watched.failure()).reason == "failed"
    watched.write("app@b1")
    assert await watched.look() == {"app@b1"}
    watched.path.unlink()
    for _ in range(3):
        error = await watched.failure()
        assert (error.reason, "No such file" in error.detail) == ("failed", True)
    watched.write()
    assert await watched.look() == {"app@b1"}, "the first look after that which sees it empty"


async def test_a_bad_file_is_unknown_and_read_again_when_it_is_mended(watched: Watched) -> None:
    watched.write("app@b1")
    await watched.look()
    watched.write("app@b1", "<html>")
    for _ in range(3):
        assert (await watched.failure()).detail == "line 2: '<html>' is not NAME@HOST"
    watched.write("app@b2")
    assert await watched.look() == {"app@b1", "app@b2"}
    assert await watched.look() == {"app@b2"}


async def test_ports_come_along_and_the_newest_counts(watched: Watched) -> None:
    source = NamesFile(FileSource(path=str(watched.path)))
    watched.path.write_text('[{"name": "app@b1", "port": 9001}, "app@b2"]')
    assert await source.look() == (Peer("app@b1", 9001), Peer("app@b2"))
    watched.path.write_text('[{"name": "app@b1", "port": 9002}]')
    assert await source.look() == (Peer("app@b1", 9002), Peer("app@b2"))


async def test_a_link_is_followed_and_its_turning_is_seen(watched: Watched, tmp_path: Path) -> None:
    """As Kubernetes renews a mounted ConfigMap."""
    for number in (1, 2):
        (tmp_path / f"{number}").write_text(f"app@b{number}\n")
    watched.path.symlink_to("1")
    assert await watched.look() == {"app@b1"}
    (tmp_path / "link").symlink_to("2")
    (tmp_path / "link").rename(watched.path)
    assert await watched.look() == {"app@b1", "app@b2"}
    assert await watched.look() == {"app@b2"}


@pytest.mark.parametrize("kind", ["folder", "fifo", "too long", "a file in the way"])
async def test_what_is_no_such_file_is_unknown(watched: Watched, kind: str) -> None:
    if kind == "folder":
        watched.path.mkdir()
    elif kind == "fifo":
        os.mkfifo(watched.path)
    elif kind == "too long":
        watched.path.write_bytes(b"\n" * (MAX_BYTES + 1))
    else:
        watched.path.write_text("")
        watched = Watched(watched.path / "nodes")
    assert (await watched.failure()).reason == "failed"


async def test_what_may_not_be_read_is_denied(watched: Watched) -> None:
    require_root("it becomes somebody who may not read a file")
    watched.write("app@b1")
    watched.path.chmod(0)
    os.seteuid(65534)
    try:
        error = await watched.failure()
    finally:
        os.seteuid(0)
    assert error.reason == "denied"
    watched.path.chmod(0o644)
    assert await watched.look() == {"app@b1"}


# How often it is read.


class Reads:
    """A list in a file whose readings are counted, over a clock of the test's."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.parsed = 0
        self.list = WatchedList(str(path), self._parse, MAX_BYTES, "list", lambda: self.now)

    def _parse(self, content: bytes) -> dict[str, Peer]:
        self.parsed += 1
        return parse_names(content)

    async def look(self, later: float) -> set[str]:
        self.now += later
        return set(await self.list.look())


async def test_a_file_that_does_not_change_is_read_no_more(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text("app@b1\n")
    reads = Reads(path)
    for _ in range(10):
        assert await reads.look(SETTLE_SECONDS) == {"app@b1"}
    assert reads.parsed == 2


async def test_a_change_that_leaves_no_trace_is_seen_if_it_came_soon_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within one tick of the file system's clock, of the same length."""
    monkeypatch.setattr(files, "fingerprint", lambda _: (1, 2, 3))
    path = tmp_path / "nodes"
    path.write_text("app@b1\n")
    reads = Reads(path)
    assert await reads.look(0.0) == {"app@b1"}
    path.write_text("app@b2\n")
    assert await reads.look(0.1) == {"app@b1", "app@b2"}
    assert await reads.look(0.1) == {"app@b2"}


async def test_a_change_behind_a_settled_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text("app@b1\n")
    reads = Reads(path)
    for _ in range(3):
        await reads.look(SETTLE_SECONDS)
    path.write_text("app@b1\napp@b2\n")
    assert await reads.look(SETTLE_SECONDS) == {"app@b1", "app@b2"}


# A file system that hangs.


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """Readings hang until the test lets them go on; counts up for each that begins."""
    begun, ends = threading.Semaphore(0), threading.Event()

    def read(*_: object, **__: object) -> bytes:
        begun.release()
        ends.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(files, "read", read)
    yield begun
    ends.set()


async def test_a_file_system_that_hangs_costs_one_thread_and_is_a_time_out(
    watched: Watched, stuck: threading.Semaphore, autojump_clock: MockClock
) -> None:
    watched.write("app@b1")
    for _ in range(5):
        assert (await watched.failure()).reason == "timeout"
    assert stuck.acquire(timeout=10)
    assert not stuck.acquire(blocking=False)


# Run as the supervisor does.


async def test_it_says_what_its_looks_see(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    source = build("f", FileSource(path=str(path), poll=Duration(0.1)), AROUND, "epmdless.toml")
    assert isinstance(source, NamesFile)
    send, receive = trio.open_memory_channel[Known | Unknown](1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.run, send.send_nowait)
        with trio.fail_after(20):
            assert isinstance(await receive.receive(), Unknown)
            path.with_suffix(".new").write_text("app@b1\n")
            path.with_suffix(".new").rename(path)
            while isinstance(said := await receive.receive(), Unknown):
                assert said.reason == "failed"
            assert said == Known((Peer("app@b1"),))
        nursery.cancel_scope.cancel()
