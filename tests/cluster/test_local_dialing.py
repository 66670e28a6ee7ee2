"""Local nodes are dialled where their user listens; a port that has changed hands is nobody's."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from epmdless.cluster.local_addresses import Listeners
from epmdless.cluster.local_dialing import LocalDialer
from epmdless.cluster.trouble import NodeError
from epmdless.cluster.users import Users
from tests.support.deadline import eventually
from tests.support.process import Program
from tests.support.tools import clean_env, require

NODE_USER, STRANGER = 4711, 4712
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ADDRESS, IN_THE_TABLE = "127.0.3.9", "0903007F"


class Machine:
    """A port that really listens, and a made-up table that says whose it is."""

    def __init__(self, folder: Path) -> None:
        self._table = folder / "tcp"
        self._sock = socket.create_server((ADDRESS, 0))
        self.port: int = self._sock.getsockname()[1]
        self.belongs_to(NODE_USER)

    def belongs_to(self, user: int) -> None:
        """From now on the table says that the port is this user's."""
        port = f"{IN_THE_TABLE}:{self.port:04X}"
        row = f"   0: {port} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {user} 0 1\n"
        self._table.write_text(HEAD + row)

    def dialer(self, *, is_ours: bool = False) -> LocalDialer:
        """Who believes the table."""
        return LocalDialer(lambda _address, _port: is_ours, Listeners([self._table]))

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()


def users(*names: str) -> Users:
    return Users(names, "f.toml")


async def test_the_port_of_a_user_who_is_named_is_dialled(machine: Machine) -> None:
    dialer = machine.dialer()
    with await dialer.dial(machine.port, users(str(NODE_USER))) as sock:
        assert sock.getpeername() == (ADDRESS, machine.port)
        dialer.check(sock, users(str(NODE_USER)))


async def test_a_stranger_is_not_dialled(machine: Machine) -> None:
    machine.belongs_to(STRANGER)
    with pytest.raises(NodeError, match=f"the user {STRANGER}, who is not among cluster.users") as caught:
        await machine.dialer().dial(machine.port, users(str(NODE_USER)))
    assert caught.value.reason == "user"


async def test_a_port_that_changed_hands_since_the_tables_were_read_is_not_dialled(machine: Machine) -> None:
    dialer = machine.dialer()
    (await dialer.dial(machine.port, users(str(NODE_USER)))).close()
    machine.belongs_to(STRANGER)
    with pytest.raises(NodeError) as caught:
        await dialer.dial(machine.port, users(str(NODE_USER)))
    assert caught.value.reason == "user"


async def test_a_port_that_changes_hands_while_we_are_connected_is_shown_nothing(machine: Machine) -> None:
    dialer = machine.dialer()
    with await dialer.dial(machine.port, users(str(NODE_USER))) as sock:
        machine.belongs_to(STRANGER)
        with pytest.raises(NodeError) as caught:
            dialer.check(sock, users(str(NODE_USER)))
        assert caught.value.reason == "user"
        dialer.check(sock, users("*"))


async def test_where_nobody_can_be_seen_everybody_has_to_be_trusted(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        port = elsewhere.getsockname()[1]
        with pytest.raises(NodeError, match="cannot be seen") as caught:
            await machine.dialer().dial(port, users(str(NODE_USER)))
        assert caught.value.reason == "user"
        (await machine.dialer().dial(port, users("*"))).close()


async def test_what_is_ours_is_not_dialled(machine: Machine) -> None:
    with pytest.raises(NodeError, match="nobody but epmdless") as caught:
        await machine.dialer(is_ours=True).dial(machine.port, users("*"))
    assert caught.value.reason == "unreachable"


LISTEN = """
import socket
server = socket.create_server(("127.0.3.8", 0))
print(server.getsockname()[1], flush=True)
input()
"""


@pytest.mark.interop
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_real_process_of_another_user_is_told_from_ours() -> None:
    as_daemon = [require("setpriv", "util-linux"), "--reuid=daemon", "--clear-groups"]
    argv = [*as_daemon, f"{sys.base_prefix}/bin/python3", "-c", LISTEN]
    with Program(argv, env=clean_env(), stdin=True) as other:
        eventually(lambda: "\n" in other.stdout, within=10, what=other.report)
        port = int(other.stdout)
        dialer = LocalDialer(lambda _address, _port: False)
        with pytest.raises(NodeError, match="the user daemon"):
            await dialer.dial(port, users())
        with await dialer.dial(port, users("daemon")) as sock:
            dialer.check(sock, users("daemon"))
