"""A scripted node that runs in a thread of its own, for tests of whole processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import trio

from tests.cluster.scripted_node import COOKIE, ScriptedNode

T = TypeVar("T")

WITHIN = 10.0


class NodeThread:
    """A node that listens from the context's begin to its end.

    :ivar port: where it listens.
    """

    def __init__(self, name: str, cookie: bytes = COOKIE, address: str = "127.0.0.1") -> None:
        self.node = ScriptedNode(name, cookie)
        self.port = 0
        self._address = address
        self._listens = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the node's thread."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - raised again where the test sees it
            self._error = error
        finally:
            self._listens.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with trio.open_nursery() as nursery:
            self.port = await nursery.start(self.node.listen, self._address)
            self._listens.set()
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listens.wait(WITHIN)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._error is None:
            self.call(self._stop.set)
        self._thread.join(WITHIN)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
