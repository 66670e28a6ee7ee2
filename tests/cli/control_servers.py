"""Control sockets that a test serves: with links made up, or with whatever bytes."""

import copy
import os
import queue
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from epmdless.net.control import ControlServer, open_control_socket

View = dict[str, Any]


def side(**changed: Any) -> View:
    """One end of a link as the relay shows it."""
    usual = {"node": "a@one", "creation": 3, "flags": 1, "otp": "27", "address": "10.0.1.5:43210"}
    return {**usual, "rtt_us": 120, "retransmits": 0, "unsent": 0, **changed}


def direction(**changed: Any) -> View:
    """What went one way, as the relay shows it."""
    usual = {"bytes": 0, "frames": 0, "ticks": 0, "fragments": 0, "largest": 0, "last_tick_age": None}
    return {**usual, **changed}


def view(number: int, **changed: Any) -> View:
    """A link as the relay shows it."""
    usual = {
        "id": number,
        "state": "established",
        "route": "b1.internal",
        "age": 61.5,
        "setup_ms": 1.5,
        "near": side(),
        "far": side(node="app-9001@b1.internal", address="10.0.2.7:9001"),
        "near_to_far": direction(),
        "far_to_near": direction(),
        "tls": False,
    }
    return {**usual, **changed}


class FakeLinks:
    """Links that a test makes up.

    At each look after the first, each direction's bytes and frames grow by `grows`, in their order.
    """

    def __init__(self, *views: View, grows: tuple[int, int] = (0, 0)) -> None:
        self._views = {each["id"]: copy.deepcopy(each) for each in views}
        self._grows = grows
        self.looks = 0

    def views(self) -> list[View]:
        """As they are now."""
        if self.looks:
            for each in self._views.values():
                for way in ("near_to_far", "far_to_near"):
                    each[way]["bytes"] += self._grows[0]
                    if each[way]["frames"] is not None:
                        each[way]["frames"] += self._grows[1]
        self.looks += 1
        return list(self._views.values())

    def end(self, link_id: int) -> bool:
        """Forget one."""
        return self._views.pop(link_id, None) is not None

    @property
    def numbers(self) -> list[int]:
        """Of those that live."""
        return list(self._views)


class FakeCluster:
    """A cluster that a test makes up.

    At each look after the first it is the next of these documents, until the last.
    """

    def __init__(self, *documents: View) -> None:
        self._documents = documents
        self.looks = 0

    def view(self) -> View:
        """As it is now."""
        self.looks += 1
        return self._documents[min(self.looks, len(self._documents)) - 1]


@contextmanager
def serving(
    path: Path, links: FakeLinks, cluster: FakeCluster | None = None, publish: View | None = None
) -> Iterator[Path]:
    """Serve these links, this cluster and what is published with the real control server, in a thread of its
    own."""
    ready: queue.SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = queue.SimpleQueue()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server = ControlServer(
                links, lambda: None if cluster is None else cluster.view(), lambda: publish
            )
            await nursery.start(server.serve, open_control_socket(path))
            ready.put((trio.lowlevel.current_trio_token(), nursery.cancel_scope))

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    token, scope = ready.get(timeout=10)
    try:
        yield path
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[Path]:
    """Answer whatever comes with these bytes, and close."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
            os.unlink(path)  # noqa: PTH108 -- as the server made it
