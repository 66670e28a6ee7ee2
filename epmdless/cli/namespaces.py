"""Network namespaces without names: each lives as long as a descriptor of it is open (namespaces(7)).

Nothing has to be removed afterwards, whatever way the process ends: with the last descriptor and the last
program inside, the kernel removes the namespace, its addresses and its pairs of interfaces.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from epmdless.errors import EpmdlessError

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
"""<linux/sched.h>: a new network namespace."""

ADMIN_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where ``ip`` and ``nft`` may be, besides PATH."""

COMMAND_SECONDS = 10.0
"""For one call of ``ip`` or ``nft``."""


class NamespaceError(EpmdlessError):
    """No namespace can be made or furnished here."""


class Namespace:
    """A network namespace of our own, with its loopback interface up.

    :raises NamespaceError: we may not, or there is no ``ip`` (Debian package iproute2).
    """

    def __init__(self) -> None:
        self._ip_program = _find_ip()
        self._descriptor = in_a_thread(_make)
        try:
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call a function inside; what it starts and the sockets that it opens stay inside.

        A namespace is a thread's own, and a thread that has entered one is not to be used for anything
        else: this takes a new one for each call.
        """
        return in_a_thread(lambda: self._enter_and_call(function))

    def ip(self, *words: str) -> None:
        """Run ``ip`` inside.

        :raises NamespaceError: it fails.
        """
        self._run("ip", self._ip_program, words)

    def nft(self, rules: str) -> None:
        """Have the kernel filter what comes in or goes out.

        :param rules: in nftables' language.
        :raises NamespaceError: it fails, or there is no ``nft`` (Debian package nftables).
        """
        program = find_program("nft")
        if program is None:
            raise NamespaceError("no `nft` (Debian package nftables)")
        self._run("nft", program, ("-f", "-"), rules)

    def _run(self, name: str, program: str, words: Sequence[str], given: str = "") -> None:
        def run() -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(  # noqa: S603 - `ip` or `nft`, with words of ours alone
                [program, *words],
                input=given.encode(),
                capture_output=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )

        command = " ".join((name, *words))
        try:
            done = self.call(run)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NamespaceError(f"{command}: {error}") from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise NamespaceError(f"{command}: {said or f'status {done.returncode}'}")

    def join(self, name: str, other: Namespace, other_name: str) -> None:
        """Connect two namespaces by a pair of interfaces, `name` here and `other_name` there."""
        there = f"/proc/{os.getpid()}/fd/{other._descriptor}"
        self.ip("link", "add", name, "type", "veth", "peer", "name", other_name, "netns", there)
        self.ip("link", "set", name, "up")
        other.ip("link", "set", other_name, "up")

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    def _enter_and_call(self, function: Callable[[], T]) -> T:
        _check(_libc.setns(self._descriptor, CLONE_NEWNET))
        return function()


_libc = ctypes.CDLL(None, use_errno=True)


def _make() -> int:
    """Put this thread into a namespace of its own; a descriptor of that."""
    _check(_libc.unshare(CLONE_NEWNET))
    try:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceError(f"no network namespace: {error}") from None


def _check(result: int) -> None:
    if result != 0:
        raise NamespaceError(f"no network namespace: {os.strerror(ctypes.get_errno())}")


def _find_ip() -> str:
    found = find_program("ip")
    if found is None:
        raise NamespaceError("no `ip` (Debian package iproute2)")
    return found


def find_program(name: str) -> str | None:
    """The path of a program that administrators use; None: there is none."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), ADMIN_FOLDERS)))


def in_a_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread that is used for nothing else."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function).result()
