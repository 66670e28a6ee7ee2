"""The EPMD server of a peer's host, in the test's own trio."""

from __future__ import annotations

import struct
from typing import Final

import trio

from epmdless.net.plain import send_all
from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import encode_port_reply

MISS: Final = b"w\x01"


class ScriptedEpmd:
    """Answers lookups.

    :ivar nodes: who is registered, by alive name.
    :ivar says: these bytes in place of every answer; None: what `nodes` says.
    :ivar gate: answers wait for it.
    :ivar asked: the alive names that were asked for.
    """

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.says: bytes | None = None
        self.gate = trio.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.port = 0

    async def listen(
        self, address: str, port: int = 0, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled."""
        with trio.socket.socket() as listener:
            await listener.bind((address, port))
            listener.listen(1024)
            self.port = listener.getsockname()[1]
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    accepted, _ = await listener.accept()
                    nursery.start_soon(self._serve, accepted)

    async def _serve(self, sock: trio.socket.SocketType) -> None:
        with sock:
            data = b""
            while len(data) < 2 or len(data) < 2 + struct.unpack(">H", data[:2])[0]:
                received = await sock.recv(4096)
                if not received:
                    return
                data += received
            assert data[2:3] == b"z"
            name = data[3:].decode()
            self.asked.append(name)
            await self.gate.wait()
            node = self.nodes.get(name)
            await send_all(sock, self.says or (MISS if node is None else encode_port_reply(node)))
