"""How a running process is looked at: metrics over HTTP, and the control socket.

Neither is what anybody's link or registration depends on: what goes wrong here is told, and all else goes on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from epmdless.config import METRICS_PORT, Config
from epmdless.errors import ListenError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.listeners import endpoint_of, open_listeners, opened_as

if TYPE_CHECKING:
    from epmdless.net.control import ControlServer, Links, Picture


class Inspection:
    """Metrics, ``/healthz`` and ``/readyz``, and the control socket, as the configuration wants them.

    :param handed: listening sockets for metrics that came from the service manager; they go before what the
        configuration says.
    :param is_ready: whether ``/readyz`` says so.
    :param links, cluster, publish: what the control socket shows.
    :ivar log: where what goes wrong is told.
    """

    def __init__(
        self,
        counts: Metrics,
        log: Log,
        handed: Sequence[socket.socket],
        *,
        is_ready: Callable[[], bool],
        links: Links,
        cluster: Picture,
        publish: Picture,
    ) -> None:
        self.log = log
        self._counts = counts
        self._handed = list(handed)
        self._is_ready = is_ready
        self._shown = (links, cluster, publish)
        self._listeners: list[socket.socket] = []
        self._prepared: list[socket.socket] = []
        self._scope = trio.CancelScope()
        self._control_path: Path | None = None
        self._control_scope = trio.CancelScope()

    def prepare(self, config: Config) -> None:
        """Open what metrics are to be served on, unless it was handed over or is open already.

        :raises ListenError: the address cannot be had.
        """
        if self._handed or config.metrics.listen is None:
            self._prepared = self._handed
            return
        wanted = config.metrics.listen.endpoint(METRICS_PORT)
        if [opened_as(listener) for listener in self._listeners] == [wanted]:
            self._prepared = self._listeners
        else:
            self._prepared = open_listeners([wanted], [], self.log)

    def drop(self) -> None:
        """Close what was prepared: it is not taken on after all."""
        for listener in self._prepared:
            if listener not in self._listeners and listener not in self._handed:
                listener.close()
        self._prepared = self._listeners

    def close(self) -> None:
        """Close what metrics are served on."""
        for listener in (*self._listeners, *self._prepared, *self._handed):
            listener.close()

    async def take_on(self, config: Config, nursery: trio.Nursery, *, has_much: bool) -> None:
        """Serve metrics on what was prepared, and the control socket once there is reason to.

        :param nursery: in which the servers run.
        :param has_much: whether there is something to look at: else only a configured socket is opened.
        """
        if self._prepared != self._listeners:
            self._scope.cancel()
            self._listeners = self._prepared
            if self._listeners:
                await self._start_metrics(nursery)
        if self._control_path is not None or config.control.socket is not None or has_much:
            await self._start_control(config.control.socket, nursery)

    async def _start_metrics(self, nursery: trio.Nursery) -> None:
        try:
            await nursery.start(self._serve_metrics)
        except Exception as error:  # noqa: BLE001 - without metrics, but with all that is registered
            for listener in self._listeners:
                listener.close()
            self._listeners = self._prepared = []
            self.log.error("metrics are not served", error=repr(error))  # noqa: TRY400 - a line, for operators

    async def _serve_metrics(
        self, *, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        from epmdless.net.status import StatusServer  # off by default, and 5 MB of memory

        server = StatusServer(self._counts, self._is_ready)
        listeners = []
        for listener in self._listeners:
            listener.setblocking(False)
            listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(listener)))
        self.log.info("metrics served", listen=[str(endpoint_of(each)) for each in self._listeners])
        with trio.CancelScope() as self._scope:
            await server.serve(listeners, task_status=task_status)

    async def _start_control(self, wanted: str | None, nursery: trio.Nursery) -> None:
        from epmdless.net.control import ControlServer, default_control_path, open_control_socket

        path = Path(wanted) if wanted else default_control_path(os.environ, os.geteuid())
        if path == self._control_path:
            return
        try:
            listener = open_control_socket(path)
        except ListenError as error:
            self.log.warning("no control socket", error=str(error))
            return
        scope = trio.CancelScope()
        try:
            await nursery.start(self._serve_control, ControlServer(*self._shown), listener, scope)
        except OSError as error:  # descriptors ran out: without a look inside, but with all links
            listener.close()
            path.unlink(missing_ok=True)
            self.log.warning("no control socket", error=str(error))
            return
        self._control_scope.cancel()  # the one before, at another path
        self._control_scope, self._control_path = scope, path
        self.log.info("control socket", path=str(path))

    async def _serve_control(
        self,
        server: ControlServer,
        listener: socket.socket,
        scope: trio.CancelScope,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with scope:
            await server.serve(listener, task_status=task_status)
