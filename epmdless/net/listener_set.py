"""Listeners that change to other addresses while the server goes on."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Sequence

from epmdless.addresses import ListenPlan
from epmdless.errors import ListenError
from epmdless.log import Log
from epmdless.net.listeners import open_listeners, opened_as


class ListenerSet:
    """The open listeners of a server; they are this object's to close.

    :param opened: listeners that are open already.
    """

    def __init__(self, opened: Sequence[socket.socket], log: Log) -> None:
        self.listeners = list(opened)
        self._log = log

    def change(self, plan: ListenPlan, use: Callable[[Sequence[socket.socket]], None]) -> None:
        """Listen where the plan says: what is open stays open, the rest is opened, then closed.

        :param use: told which sockets to accept on, before any other is closed.
        :raises ListenError: an address cannot be had; then the listeners are as they were.
        """
        wanted = {*plan.required, *plan.optional}
        staying = [listener for listener in self.listeners if opened_as(listener) in wanted]
        leaving = [listener for listener in self.listeners if listener not in staying]
        there = {opened_as(listener) for listener in staying}
        missing = ListenPlan(*(tuple(e for e in part if e not in there) for part in plan))
        try:
            opened = self._open(missing, staying)
        except ListenError as error:
            if error.errno != errno.EADDRINUSE or not leaving:
                raise
            self._change_in_place(missing, staying, leaving, use)
            return
        self.listeners = staying + opened
        use(self.listeners)
        _close(leaving)

    def _change_in_place(
        self,
        missing: ListenPlan,
        staying: list[socket.socket],
        leaving: list[socket.socket],
        use: Callable[[Sequence[socket.socket]], None],
    ) -> None:
        """Close before opening: 0.0.0.0 holds a port against each single address, and the other way
        round. What cannot be opened then makes way for what was there."""
        before = tuple(opened_as(listener) for listener in leaving)
        use(staying)
        self.listeners = staying
        _close(leaving)
        try:
            self.listeners = staying + self._open(missing, staying)
        except ListenError:
            with contextlib.suppress(ListenError):  # what is told is why the change failed
                self.listeners = staying + self._open(ListenPlan(before), staying)
            raise
        finally:
            use(self.listeners)

    def _open(self, plan: ListenPlan, staying: list[socket.socket]) -> list[socket.socket]:
        nothing = not plan.required and not plan.optional
        return open_listeners(plan.required, plan.optional, self._log, may_be_none=nothing or bool(staying))

    def close(self) -> None:
        """Close all of them."""
        _close(self.listeners)
        self.listeners = []


def _close(listeners: Sequence[socket.socket]) -> None:
    for listener in listeners:
        listener.close()
