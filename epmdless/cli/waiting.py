"""Questions of commands to others, under way until they are answered or Ctrl-C ends them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def run(function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """Run an async function to its end.

    Ctrl-C is heard where it waits, and nowhere else: between a coroutine's making and its running, the
    interpreter would complain on stderr of one that was never awaited.

    :raises BaseExceptionGroup: as :func:`trio.run`; Ctrl-C comes in one, where a nursery waits.
    """
    return trio.run(function, *arguments, restrict_keyboard_interrupt_to_checkpoints=True)
