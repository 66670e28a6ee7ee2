"""The way from a port on: TCP, TLS, the handshake, and who the node is."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import replace

import trio

from epmdless.cluster.encryption import load_node_context
from epmdless.cluster.shaking import OwnedConnection
from epmdless.doctor.connecting import Connected, connect
from epmdless.doctor.encrypting import Spoken, find_out
from epmdless.doctor.meeting import Met, identify, shake
from epmdless.doctor.plan import Plan
from epmdless.doctor.reaching import ReachError, at_port, reach
from epmdless.doctor.report import LIMITS, Finding
from epmdless.doctor.speaking import judge, refused
from epmdless.doctor.steps import Steps, Watch
from epmdless.names import NodeName
from epmdless.net.dialing import Address
from epmdless.wire.handshake import Framing


class Trial(Steps):
    """The way from a port on, up to the node's name.

    :ivar met: the node, if it is the one that was meant; for the caller to close.
    """

    def __init__(self, plan: Plan, name: NodeName, watch: Watch) -> None:
        super().__init__(watch)
        self._plan = plan
        self._name = name
        self._host = plan.server_name or name.host or ""
        self.met: Met | None = None

    async def run(self, addresses: Sequence[Address], port: int, *, is_old: bool) -> None:
        """Go as far as the way leads.

        :param addresses: of the node's host, the one to begin with first.
        :param is_old: the node is older than OTP 23, says EPMD.
        """
        connected = await self.take("tcp", connect(addresses, port))
        if connected is None:
            return
        spoken = await self.take("tls", self._speak(connected))
        if spoken is None:
            return
        dial = _Dial(self, connected, spoken)
        try:
            met = None if self.failed else await self._shake(dial, spoken, is_old=is_old)
        except ssl.SSLError as error:
            self.taken["tls"] = replace(self.taken["tls"], finding=refused(error, str(connected)))
            return
        finally:
            dial.close()
        if met is not None:
            self._identify(met)

    async def _shake(self, dial: _Dial, spoken: Spoken, *, is_old: bool) -> Met | None:
        """As `shake`, and raises as that."""
        framing = Framing.TCP if spoken.connection is None else Framing.TLS
        before = spoken.first if spoken.kind == "foreign" else b""
        step = shake(dial, self._plan.own_host, framing, is_old=is_old, before=before)
        return await self.take("handshake", step)

    def _identify(self, met: Met) -> None:
        finding = identify(met, f"{self._name.alive}@{self._name.host}")
        self.note("identity", finding, 0.0)
        if finding.verdict == "failed":
            met.close()
        else:
            self.met = met

    async def _speak(self, connected: Connected) -> tuple[Spoken, Finding]:
        spoken = await self.speak(connected.sock, str(connected))
        return spoken, judge(spoken, has_certificates=self._plan.tls is not None)

    async def speak(self, sock: trio.socket.SocketType, peer: str) -> Spoken:
        """See what a port speaks; by TLS with our certificates, if we have any. Owns the socket."""
        files = self._plan.tls
        try:
            context = None if files is None else load_node_context(files, "cluster.tls")
        except BaseException:
            sock.close()
            raise
        return await find_out(sock, self._host, context, peer=peer)


class _Dial:
    """Connects to the node anew, for each name that we try; the connection that is up by TLS comes first."""

    def __init__(self, trial: Trial, connected: Connected, spoken: Spoken) -> None:
        self._trial = trial
        self._connected = connected
        self._ready: OwnedConnection | None = spoken.connection
        self._is_tls = spoken.connection is not None

    async def __call__(self) -> OwnedConnection:
        if (ready := self._ready) is not None:
            self._ready = None
            return ready
        connected = self._connected
        sock = await reach(at_port(connected.address, connected.port), LIMITS["tcp"])
        if not self._is_tls:
            return sock
        spoken = await self._trial.speak(sock, str(connected))
        if spoken.connection is None:
            raise ReachError("refused", "TLS did not come about again")
        return spoken.connection

    def close(self) -> None:
        """Close what nobody took."""
        if self._ready is not None:
            self._ready.close()
