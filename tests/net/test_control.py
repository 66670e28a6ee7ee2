"""The control socket: where it is, who may open it, what it answers."""

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from epmdless.errors import ListenError
from epmdless.net.control import ControlServer, default_control_path, open_control_socket
from tests.support.process import run
from tests.support.tools import require


class FakeLinks:
    """Links that only have numbers."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def views(self) -> list[dict[str, Any]]:
        return [{"id": number, "near": {"node": "näh@a", "otp": None}} for number in self.numbers]

    def end(self, link_id: int) -> bool:
        if link_id not in self.numbers:
            return False
        self.numbers.remove(link_id)
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
async def links(nursery: trio.Nursery, path: Path) -> FakeLinks:
    """Three links, served at `path` until the test ends."""
    links = FakeLinks(1, 2, 10**18)
    await nursery.start(ControlServer(links).serve, open_control_socket(path))
    return links


async def request(path: Path, words: str) -> tuple[int, str]:
    """The status and the body that come for a request line without its version."""
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(f"{words} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b"".join([data async for data in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


# What it answers


async def test_links_are_listed_with_the_monotonic_time(
    mock_clock: MockClock, links: FakeLinks, path: Path
) -> None:
    mock_clock.jump(3.5)
    status, body = await request(path, "GET /links")
    assert status == 200
    document = json.loads(body)
    assert document == {"now": trio.current_time(), "links": links.views()}


async def test_a_query_in_the_target_is_ignored(links: FakeLinks, path: Path) -> None:
    status, body = await request(path, "GET /links?all")
    assert (status, len(json.loads(body)["links"])) == (200, 3)


async def test_a_link_is_ended_once(links: FakeLinks, path: Path) -> None:
    assert await request(path, "DELETE /links/2") == (200, "ended\n")
    assert links.numbers == [1, 10**18]
    assert await request(path, "DELETE /links/2") == (404, "no such link\n")
    assert await request(path, f"DELETE /links/{10**18}") == (200, "ended\n")
    assert links.numbers == [1]


async def test_a_process_without_a_cluster_says_so(links: FakeLinks, path: Path) -> None:
    assert await request(path, "GET /cluster") == (404, "no cluster is configured\n")


async def test_the_cluster_is_shown_as_it_is_at_that_moment(
    mock_clock: MockClock, nursery: trio.Nursery, path: Path
) -> None:
    told = {"ready": False, "groups": [{"name": "näh"}]}
    clusters: list[dict[str, Any] | None] = [told, None]  # the second as after a reload without one
    server = ControlServer(FakeLinks(), lambda: clusters.pop(0))
    await nursery.start(server.serve, open_control_socket(path))
    mock_clock.jump(3.5)
    status, body = await request(path, "GET /cluster?all")
    assert (status, json.loads(body)) == (200, {"now": trio.current_time(), **told})
    assert (await request(path, "GET /cluster"))[0] == 404


async def test_what_is_published_is_shown_where_anything_is(nursery: trio.Nursery, path: Path) -> None:
    told: list[dict[str, Any] | None] = [{"zone": "nodes.internal"}, None]
    server = ControlServer(FakeLinks(), publish=lambda: told.pop(0))
    await nursery.start(server.serve, open_control_socket(path))
    status, body = await request(path, "GET /publish")
    assert (status, json.loads(body)["zone"]) == (200, "nodes.internal")
    assert await request(path, "GET /publish") == (404, "nothing is published\n")
    assert await request(path, "GET /cluster") == (404, "no cluster is configured\n")


async def test_a_cluster_that_cannot_be_shown_does_not_end_the_server(
    nursery: trio.Nursery, path: Path
) -> None:
    server = ControlServer(FakeLinks(1), lambda: {"sources": object()})
    await nursery.start(server.serve, open_control_socket(path))
    assert await request(path, "GET /cluster") == (500, "internal error: TypeError\n")
    assert (await request(path, "GET /links"))[0] == 200


@pytest.mark.parametrize("number", ["", "-1", "1/", "%31", "x", "1.0", "1_0", "9" * 5000, "%C2%B2"])
async def test_what_is_no_number_is_no_link(links: FakeLinks, path: Path, number: str) -> None:
    assert await request(path, f"DELETE /links/{number}") == (404, "no such link\n")
    assert len(links.numbers) == 3


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("DELETE /links", 405),
        ("POST /links", 405),
        ("GET /links/1", 405),
        ("DELETE /cluster", 405),
        ("DELETE /publish", 405),
        ("GET /publish/1", 404),
        ("POST /cluster", 405),
        ("GET /cluster/1", 404),
        ("GET /", 404),
        ("GET /link", 404),
        ("DELETE /", 404),
    ],
)
async def test_nothing_else_is_there(links: FakeLinks, path: Path, words: str, status: int) -> None:
    assert (await request(path, words))[0] == status
    assert len(links.numbers) == 3


async def test_links_that_cannot_be_shown_do_not_end_the_server(
    links: FakeLinks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(links, "views", lambda: [object()])
        assert await request(path, "GET /links") == (500, "internal error: TypeError\n")
    assert (await request(path, "GET /links"))[0] == 200


async def test_curl_can_ask(links: FakeLinks, path: Path) -> None:
    argv: list[str | Path] = [require("curl"), "-sS", "--unix-socket", path, "http://epmdless/links"]
    done = await trio.to_thread.run_sync(run, argv)
    assert (done.status, done.stderr) == (0, "")
    assert json.loads(done.stdout)["links"] == links.views()


# The socket


def test_it_is_for_its_owner_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        listener = open_control_socket(path)
    finally:
        os.umask(before)
    with listener:
        assert stat.filemode(path.stat().st_mode) == "srw-------"
        assert stat.filemode(path.parent.stat().st_mode) == "drwx------"


async def serve_and_then(path: Path, meanwhile: Callable[[], None]) -> None:
    """Serve at a path, do something else, and end the server."""
    async with trio.open_nursery() as nursery:
        await nursery.start(ControlServer(FakeLinks()).serve, open_control_socket(path))
        meanwhile()
        nursery.cancel_scope.cancel()


def test_its_file_goes_with_the_server(path: Path) -> None:
    seen = []
    trio.run(serve_and_then, path, lambda: seen.append(path.is_socket()))
    assert (seen, path.exists()) == ([True], False)


def test_a_file_that_is_not_ours_any_more_stays(path: Path) -> None:
    successors = []

    def succeed() -> None:
        path.unlink()
        successors.append(open_control_socket(path))

    trio.run(serve_and_then, path, succeed)
    with successors[0] as successor:
        assert path.is_socket()
        assert successor.getsockname() == str(path)


def test_a_file_that_is_gone_already_is_no_trouble(path: Path) -> None:
    trio.run(serve_and_then, path, path.unlink)
    assert not path.exists()


def test_what_a_crash_left_is_replaced(path: Path) -> None:
    open_control_socket(path).close()
    assert path.is_socket()
    with open_control_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_living_process_is_left_alone(path: Path) -> None:
    with open_control_socket(path) as first:
        with pytest.raises(ListenError, match=r"cannot listen on .*control\.sock: another process serves it"):
            open_control_socket(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            first.accept()[0].close()


@contextmanager
def crowded(path: Path) -> Iterator[None]:
    """A socket whose backlog is full."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(path))
        listener.listen(0)
        client.connect(str(path))
        yield


def test_a_process_that_is_too_busy_to_answer_lives(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with crowded(path), pytest.raises(ListenError, match="another process serves it"):
        open_control_socket(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="precious: there is a file that is no socket"):
        open_control_socket(path)
    assert path.read_text() == "data"


def test_a_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="too long"):
        open_control_socket(tmp_path / ("x" * 108))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ListenError, match=r"/control[.]sock: Not a directory") as caught:
        open_control_socket(tmp_path / "file" / "control.sock")
    assert caught.value.errno is not None


def test_a_folder_that_everybody_may_write_to_is_refused_unless_it_is_sticky(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ListenError, match="everybody may write to"):
        open_control_socket(tmp_path / "s")
    tmp_path.chmod(0o1777)
    with open_control_socket(tmp_path / "s"):
        assert (tmp_path / "s").is_socket()


def test_a_folder_of_a_stranger_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    if owner == 0:
        os.chown(tmp_path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ListenError, match="belongs to another user"):
        open_control_socket(tmp_path / "s")


@pytest.mark.parametrize(
    ("environ", "uid", "path"),
    [
        ({"RUNTIME_DIRECTORY": "/run/one:/run/two", "XDG_RUNTIME_DIR": "/x"}, 0, "/run/one/control.sock"),
        ({"RUNTIME_DIRECTORY": "/run/user/7/epmdless"}, 7, "/run/user/7/epmdless/control.sock"),
        ({}, 0, "/run/epmdless/control.sock"),
        ({"XDG_RUNTIME_DIR": "/x"}, 0, "/run/epmdless/control.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/epmdless/control.sock"),
        ({"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": ""}, 7, "/tmp/epmdless-7/control.sock"),
    ],
)
def test_the_usual_place(environ: dict[str, str], uid: int, path: str) -> None:
    assert default_control_path(environ, uid) == Path(path)
