"""Publishing as the process sees it: it costs nothing until a configuration has something to publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.publish.prepared import Prepared
from epmdless.registry import Registry

if TYPE_CHECKING:
    from epmdless.publish.keeper import ZoneKeeper


class Publisher:
    """Publishes the registrations of this process.

    :param registry: gives the registry; it may change.
    """

    def __init__(self, counts: Metrics, log: Log, registry: Callable[[], Registry]) -> None:
        self._counts = counts
        self._log = log
        self._registry = registry
        self._keeper: ZoneKeeper | None = None
        self._is_needed = trio.Event()

    @property
    def log(self) -> Log:
        """Where it writes; may be set anew."""
        return self._log

    @log.setter
    def log(self, log: Log) -> None:
        self._log = log
        if self._keeper is not None:
            self._keeper.log = log

    def take_on(self, prepared: Prepared | None) -> None:
        """Make a configuration the running one; what it does not want any more is withdrawn.

        :param prepared: None: nothing is to be published.
        """
        if self._keeper is None and prepared is not None:
            # It brings dnspython along, a third of the memory of a server that asks no DNS.
            from epmdless.publish.keeper import ZoneKeeper

            self._keeper = ZoneKeeper(self._counts, self._log, self._registry)
            self._is_needed.set()
        if self._keeper is not None:
            self._keeper.take_on(prepared)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish until cancelled; nothing is withdrawn by that, see `withdraw`."""
        task_status.started()
        await self._is_needed.wait()
        assert self._keeper is not None
        await self._keeper.serve()

    async def withdraw(self) -> None:
        """Take everything out of DNS, in 3 s at most; nothing is published after that."""
        if self._keeper is not None:
            await self._keeper.withdraw()

    def view(self) -> dict[str, Any] | None:
        """What is published, in terms of JSON; None where nothing is to be."""
        return None if self._keeper is None else self._keeper.view()
