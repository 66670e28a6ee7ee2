"""A host with an EPMD server and a node, in the test's own trio, and a walk to it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import structlog
import trio

from epmdless.config import ResolveSection
from epmdless.doctor.plan import Plan
from epmdless.doctor.report import Report, Step, StepName
from epmdless.doctor.walk import walk
from epmdless.errors import RemoteProtocolError
from epmdless.names import printable
from epmdless.net.plain import send_all
from epmdless.wire.epmd import Node
from epmdless.wire.epmd_replies import MISS, encode_names_reply, encode_port_reply
from epmdless.wire.terms import Term
from tests.cluster.scripted_node import Call, ScriptedNode

HOST = "127.0.6.1"
OTHER = "127.0.6.2"
NAME = f"app@{HOST}"
OWN = "h1.test"


class Otp(ScriptedNode):
    """A node that closes at what no node says, as a real one does, and tells its release."""

    async def serve(self, sock: trio.socket.SocketType) -> None:
        with contextlib.suppress(RemoteProtocolError):
            await super().serve(sock)

    async def does(self, call: Call) -> Term:
        if call[:2] == ("erlang", "system_info"):
            return list(map(ord, "27"))
        return await super().does(call)

    @property
    def named(self) -> list[str]:
        """The names under which it was visited, as far as visitors said one."""
        return [visit.name for visit in self.visits if visit.name]

    @property
    def proofs(self) -> int:
        """Digests that it was shown."""
        return sum(visit.proofs for visit in self.visits)


class Server:
    """Says bytes, whatever it is asked; an EPMD server where it has nodes instead.

    :ivar says: what it answers; None: what `nodes` says.
    :ivar then: what it does after that.
    :ivar drips: a byte of its answer each second.
    :ivar at_line_end: it answers nothing before the end of a line, as a web server.
    """

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.says: bytes | None = None
        self.then: Literal["close", "hang"] = "close"
        self.at_line_end = False
        self.drips = False
        self.port = 0
        self.heard: list[bytes] = []

    async def listen(
        self, address: str, port: int = 0, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; tells the port."""
        with trio.socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
            await listener.bind((address, port))
            listener.listen(64)
            self.port = listener.getsockname()[1]
            async with trio.open_nursery() as nursery:
                task_status.started(self.port)
                while True:
                    accepted, _ = await listener.accept()
                    nursery.start_soon(self._serve, accepted)

    async def _serve(self, sock: trio.socket.SocketType) -> None:
        with sock, contextlib.suppress(OSError):
            data = await sock.recv(65_536)
            while self.at_line_end and b"\n" not in data:
                data += await sock.recv(65_536)
            self.heard.append(data)
            answer = self._answer(data) if self.says is None else self.says
            while self.drips:
                await sock.send(answer[:1])
                answer = answer[1:] or answer
                await trio.sleep(1)
            await send_all(sock, answer)
            if self.then == "hang":
                await trio.sleep_forever()

    def _answer(self, data: bytes) -> bytes:
        if data[2:3] == b"n":
            return encode_names_reply(self.port, [(node.name, node.port) for node in self.nodes.values()])
        node = self.nodes.get(data[3:].decode())
        return MISS if node is None else encode_port_reply(node)


class World:
    """The host, and how to walk to its node."""

    def __init__(self, nursery: trio.Nursery, epmd: Server, node: Otp, port: int) -> None:
        self.nursery = nursery
        self.epmd = epmd
        self.node = node
        self.port = port
        self.register("app")

    def register(self, alive: str, port: int | None = None, highest: int = 6) -> None:
        """Have EPMD know a node; at the port of ours where no other is given."""
        self.epmd.nodes[alive] = Node(self.port if port is None else port, alive, highest=highest)

    async def also(self, name: str, address: str = HOST) -> tuple[Otp, int]:
        """Start another node, and tell its port; nobody registers it."""
        node = Otp(name)
        return node, await self.nursery.start(node.listen, address)

    async def walk(self, node: str = NAME, **keys: Any) -> Walked:
        """Walk to the node; afterwards nobody is connected there."""
        resolve = keys.pop("resolve", ResolveSection())
        epmd_port = keys.pop("epmd_port", self.epmd.port)
        plan = Plan(node=node, epmd_port=epmd_port, resolve=resolve, own_host=OWN, **keys)
        report = await walk(plan, structlog.testing.CapturingLogger())
        return Walked(report)


class Walked:
    """A report, with what tests ask of it."""

    def __init__(self, report: Report) -> None:
        self.report = report
        for text in (*(step.finding.said for step in report.steps), *report.advice):
            assert "\n" not in text

    def __getitem__(self, name: StepName) -> Step:
        return next(step for step in self.report.steps if step.name == name)

    def said(self, name: StepName) -> str:
        return printable(self[name].finding.said)

    @property
    def verdicts(self) -> str:
        """A letter for each step: o(k), w(arning), f(ailed), s(kipped)."""
        return "".join(step.finding.verdict[0] for step in self.report.steps)

    @property
    def ended_at(self) -> str | None:
        ended = self.report.ended_at
        return None if ended is None else ended.name

    @property
    def advice(self) -> str:
        return "\n".join(self.report.advice)


@asynccontextmanager
async def world_at(address: str = HOST, name: str = NAME) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        epmd, node = Server(), Otp(name)
        await nursery.start(epmd.listen, address)
        port = await nursery.start(node.listen, address)
        yield World(nursery, epmd, node, port)
        nursery.cancel_scope.cancel()
