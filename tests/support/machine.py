"""A machine within this one: namespaces of a network, of mounts and of a host name, as root.

    machine = Machine("b1.internal", hosts)
    machine.run("ip address add 10.0.2.1/24 dev eth0")
    machine.close()

It is kept by a process that ends when its input does, so it goes even where a test run is killed.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.support.deadline import eventually
from tests.support.namespaces import require_namespaces
from tests.support.process import Program, run
from tests.support.tools import clean_env, require
from tests.support.trees import SUITES, runtime

T = TypeVar("T")

READY_WITHIN = 10.0
"""Seconds until it is there."""

CLONE_NEWNET = 0x40000000
"""From linux/sched.h: the namespace is one of networks."""

KEPT = (
    "set -e; hostname $0; for file; do mount --bind $HOSTS $file; done; ip link set lo up; echo up; read end"
)
"""What keeps a machine: it ends when its input does."""


class Machine:
    """Namespaces of a network, of mounts and of a host name."""

    def __init__(self, name: str, hosts: Path) -> None:
        """Make it; `hosts` becomes its hosts file, and follows what is written to that file later."""
        self.name = name
        unshare = require_namespaces()
        env = clean_env(HOSTS=str(hosts))
        argv = [unshare, "--net", "--mount", "--uts", "sh", "-c", KEPT, name, *_hosts_files()]
        self._keeper = Program(argv, env=env, stdin=True)
        try:
            eventually(self._is_up, within=READY_WITHIN, what=f"the machine {name}")
        except BaseException:
            self.close()
            raise

    def _is_up(self) -> bool:
        assert not self._keeper.ended, self._keeper.report()
        return "up" in self._keeper.stdout

    @property
    def pid(self) -> int:
        """The process that keeps it."""
        return self._keeper.pid

    @property
    def prefix(self) -> list[str]:
        """The words in front of a command to run it on this machine."""
        return [require("nsenter", "util-linux"), f"--target={self.pid}", "--net", "--mount", "--uts", "--"]

    def start(self, argv: Sequence[str | Path], *, stdin: bool = False, **env: str) -> Program:
        """Start a program on it, with `env` added to a clean environment; the caller ends it."""
        return Program([*self.prefix, *argv], env=clean_env(**env), stdin=stdin)

    def run(self, script: str, *words: str) -> str:
        """Run shell commands on it, each of which must succeed, and return what they printed."""
        done = run([*self.prefix, "sh", "-ec", script, "sh", *words], env=clean_env())
        assert done.status == 0, f"on {self.name}:\n{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def rules(self, table: str, rules: str) -> Iterator[None]:
        """Have nftables rules on it: the content of the table of this name."""
        self.run('nft "$1"', f"table inet {table} {{\n{rules}\n}}")
        try:
            yield
        finally:
            self.run('nft delete table inet "$1"', table)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in this machine's network. Sockets that it opens stay there."""
        results: list[T] = []
        errors: list[BaseException] = []

        def there() -> None:
            try:
                _enter_network(self.pid)
                results.append(function())
            except BaseException as error:  # noqa: BLE001 -- raised again by the caller's thread
                errors.append(error)

        # A namespace belongs to a thread: one that ends at once takes nobody else along.
        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def close(self) -> None:
        """End what keeps it; its network goes with the last program that runs there."""
        self._keeper.close()


def _enter_network(pid: int) -> None:
    """Move the calling thread, and only it, into the network of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(namespace)


def _hosts_files() -> list[str]:
    """Return the hosts file of each installation of Erlang; a Debian tree comes without one."""
    files = {runtime(otp).root / "etc" / "hosts" for otp in SUITES} | {Path("/etc/hosts")}
    for file in files:
        if not file.exists():
            file.touch()
    return sorted(map(str, files))
