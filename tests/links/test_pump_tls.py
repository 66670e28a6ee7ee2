"""TLS in the pump: records of any size, goodbyes and cuts told apart, and what TLS says for itself.

The scenarios of the other tests of the pump run with TLS too: it is some of the ways of `pump_ways`.
"""

import fcntl
import gc
import os
import socket
import ssl
import subprocess
import sys
import termios
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epmdless.links import pump, records
from epmdless.links.ends import End
from epmdless.net.tls.connection import TlsLayer
from tests.links import peers
from tests.links.peers import Peer, Side, TlsPeer, contexts
from tests.links.pump_ways import BULK, TLS_WAYS, Way, by_tls_way, going, most_held
from tests.links.pumps import SMALL_SOCKETS, WITHIN, Carried, Rig, connection, counted, driven
from tests.net.tls_ends import GATEWAY, RELAY, server_context
from tests.support.certificates import Authority
from tests.support.deadline import eventually
from tests.support.tools import require
from tests.wire.frame_model import TICK, frame, naive

FAR, NEAR = TLS_WAYS[:2]
CLOSED: Final = {"near": End.NEAR_CLOSED, "far": End.FAR_CLOSED}
RESET: Final = {"near": End.NEAR_RESET, "far": End.FAR_RESET}

by_tls_side = pytest.mark.parametrize(("way", "side"), [(FAR, "far"), (NEAR, "near")], ids=["far", "near"])

KILOBYTES_A_SIDE: Final = 120
"""The target for a tunnel's memory."""


def sides(carried: Carried, side: Side) -> tuple[TlsPeer, Peer]:
    """The peer that speaks TLS, and the other."""
    peer, other = carried.sides(side)
    assert isinstance(peer, TlsPeer)
    return peer, other


def records_of(peer: TlsPeer, data: bytes, size: int = peers.RECORD_SIZE) -> bytes:
    """Data as a peer's records, for the test to send."""
    for start in range(0, len(data), size):
        peer.layer.tls.write(data[start : start + size])
    peer.sent += data
    return peer.layer.outgoing.read()


def check_cut(rig: Rig, carried: Carried, other: Peer, *, soon: bool = False) -> None:
    """The tunnel counts as cut, and the other side has seen a reset.

    soon: it still has to come from another program.
    """
    if soon:
        rig.until(lambda: carried.over, "the cut")
    rig.check_ended(carried, End.TUNNEL_CUT)
    assert carried.link.detail
    other.read_all()
    assert other.was_reset
    assert not other.at_end


# Records.


@by_tls_side
@given(
    sizes=st.lists(
        st.sampled_from([1, 2, 22, 100, 1023, 1024, 1025, 5000, 16_383, 16_384]), min_size=1, max_size=12
    ),
    cuts=st.lists(st.integers(1, 40_000), max_size=8),
    begins=st.integers(0, 4),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_records_arrive_however_they_are_read(
    way: Way, side: Side, sizes: list[int], cuts: list[int], begins: int
) -> None:
    """What the pump reads begins and ends anywhere, and some of it is there before the pump is."""
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        data = b"".join(frame(size, seed=size) for size in sizes)
        raw = memoryview(b"".join(records_of(peer, frame(size, seed=size), size) for size in sizes))
        for cut in [*cuts, len(raw)]:
            peer.records += raw[:cut]
            raw = raw[cut:]
            rig.rest()
            other.read()
        rig.until(lambda: other.read() == 0 and len(other.received) == len(data), "all of it")
        assert bytes(other.received) == data
        assert counted(carried.flow_from(peer)) == naive(data)


@by_tls_side
@pytest.mark.parametrize("size", [1, 2, 100, 4000])
def test_many_small_records_in_one_read_arrive(way: Way, side: Side, size: int) -> None:
    data = frame(40_000)
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.rest()
        peer.records += records_of(peer, data, size)
        rig.until(lambda: other.read() == 0 and len(other.received) == len(data), "all of it")
        assert bytes(other.received) == data


@by_tls_side
def test_a_full_read_with_little_in_it_is_not_forgotten(
    way: Way, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was there fills the read to the byte, and most of it belongs to a record that is not whole."""
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.rest()
        small, large = records_of(peer, TICK), records_of(peer, frame(9000))
        monkeypatch.setattr(records, "RAW_SIZE", len(small) + 4000)
        peer.records += small + large[:4000]
        rig.rest()
        other.read()
        assert bytes(other.received) == TICK
        peer.records += large[4000:]
        rig.deliver(carried)
        assert bytes(other.received) == bytes(peer.sent)


@by_tls_side
def test_what_came_with_the_handshakes_end_is_delivered_first(way: Way, side: Side) -> None:
    with going(way), driven() as rig:
        rest = frame(50_000)
        carried = rig.open(frames=True, from_near=rest, from_far=rest[::-1], buffers=SMALL_SOCKETS)
        rig.deliver(carried, TICK, TICK)
        assert bytes(carried.far.received) == rest + TICK
        assert bytes(carried.near.received) == rest[::-1] + TICK


def test_tickets_that_come_to_the_pump_are_no_data_and_no_end() -> None:
    with going(FAR), driven() as rig:
        carried = rig.open(frames=True)
        rig.rest()
        assert not carried.flows[1].readable
        rig.deliver(carried, TICK, TICK)
        assert carried.flows[1].count == len(TICK)


# Backpressure.


@by_tls_way
def test_a_reader_that_stops_holds_up_its_direction_alone(way: Way) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        rig.block(carried, carried.near, BULK * 9)
        flow = carried.flows[0]
        assert flow.held <= most_held(way, pump.BUFFER_SIZE, peers.RECORD_SIZE)
        count, said = flow.count, b"".join(frame(9000, seed=seed) for seed in range(20))
        for start in range(0, len(said), 9004):
            carried.far.send(said[start : start + 9004])
            rig.rest()
        rig.until(lambda: carried.near.read() == 0 and carried.near.received == said, "all of it")
        assert flow.count == count
        rig.deliver(carried)
        assert carried.far.received == carried.near.sent


# Goodbyes.


@by_tls_side
@pytest.mark.parametrize("with_fin", [True, False])
@pytest.mark.parametrize("data", [b"", TICK, BULK[:60_000]], ids=["nothing", "tick", "bulk"])
def test_a_goodbye_is_a_clean_end_and_the_other_direction_goes_on(
    way: Way, side: Side, with_fin: bool, data: bytes
) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.rest()
        peer.records += records_of(peer, data)
        (peer.half_close if with_fin else peer.say_goodbye)()
        rig.until(other.read_all, "the end")
        assert bytes(other.received) == data
        assert other.at_end
        assert not carried.over
        rig.deliver(carried, **{"from_far" if side == "near" else "from_near": BULK})
        other.half_close()
        rig.until(peer.read_all, "the other end")
        assert peer.at_end
        assert peer.received == other.sent
        rig.check_ended(carried, CLOSED[side])


@by_tls_side
@pytest.mark.parametrize("partial", [0, 3, 5, 500])
def test_data_arrives_after_our_own_goodbye(way: Way, side: Side, partial: int) -> None:
    """A part of a record may wait in TLS when that is said."""
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.rest()
        raw = records_of(peer, frame(9000)) + records_of(peer, TICK)
        peer.records += raw[:partial]
        rig.rest()
        other.half_close()
        rig.until(peer.read_all, "our goodbye")
        assert peer.at_end
        peer.records += raw[partial:]
        rig.until(lambda: other.read() == 0 and other.received == peer.sent, "the rest")
        peer.half_close()
        rig.until(other.read_all, "the end")
        assert other.at_end
        rig.check_ended(carried, CLOSED["far" if side == "near" else "near"])


@by_tls_way
def test_who_is_told_the_end_gets_what_was_taken_in_and_a_goodbye(way: Way) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        rig.block(carried, carried.near, BULK * 9)
        taken = carried.flows[0].count
        rig.pump.finish(carried.link, End.ENDED)
        rig.until(lambda: carried.near.read_all() and carried.far.read_all(), "both ends")
        assert carried.near.at_end
        assert carried.far.at_end
        assert len(carried.far.received) == taken
        assert carried.near.sent.startswith(carried.far.received)
        rig.pump.cut(carried.link, End.ENDED)


# Cuts.


@by_tls_side
@pytest.mark.parametrize("partial", [0, 1, 5, 300])
@pytest.mark.parametrize("data", [b"", TICK, BULK[:60_000]], ids=["nothing", "tick", "bulk"])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_end_without_goodbye_is_a_cut(
    way: Way, side: Side, data: bytes, partial: int, at_once: bool
) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.rest()
        peer.records += records_of(peer, data) + records_of(peer, frame(1000))[:partial]
        peer.flush()
        if not at_once:
            rig.rest()
        peer.cut()
        check_cut(rig, carried, other)


def test_an_end_behind_tickets_alone_is_a_cut() -> None:
    with going(FAR), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, "far")
        peer.cut()
        check_cut(rig, carried, other)


@by_tls_side
def test_a_cut_is_told_when_the_reader_that_was_slow_has_taken_what_came_before(way: Way, side: Side) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=True, buffers=SMALL_SOCKETS)
        peer, other = sides(carried, side)
        rig.block(carried, peer, BULK)
        peer.records.clear()
        peer.cut()
        rig.rest()
        assert not carried.over
        rig.until(lambda: other.read() == 0 and carried.over, "the cut")
        check_cut(rig, carried, other)


@by_tls_side
def test_a_reset_of_a_tunnel_is_a_reset(way: Way, side: Side) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.deliver(carried, BULK, BULK)
        peer.reset()
        rig.check_ended(carried, RESET[side])
        other.read_all()
        assert other.was_reset


# What is no TLS.


@by_tls_side
@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\x17\x03\x03\xff\xff" + b"x" * 64]
)
def test_what_is_no_record_cuts_this_link_and_no_other(way: Way, side: Side, garbage: bytes) -> None:
    with going(way), driven() as rig:
        carried, neighbour = rig.open(frames=True), rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.deliver(carried, TICK, TICK)
        peer.records += records_of(peer, TICK) + garbage
        check_cut(rig, carried, other)
        rig.deliver(neighbour, TICK, TICK)


@by_tls_side
@pytest.mark.parametrize("at", [0, 4, 5, 100, -1])
def test_a_record_that_was_tampered_with_cuts_the_link(way: Way, side: Side, at: int) -> None:
    with going(way), driven() as rig:
        carried = rig.open(frames=True)
        peer, other = sides(carried, side)
        rig.rest()
        record = bytearray(records_of(peer, frame(500)))
        record[at] ^= 1
        peer.records += record + records_of(peer, frame(1000))
        check_cut(rig, carried, other)
        assert not other.received


# What TLS says for itself.


def test_records_without_data_for_ever_are_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """More tickets than sixteen reads hold: no gateway has a reason to send them."""
    monkeypatch.setattr(records, "RAW_SIZE", 4096)
    with going(FAR), driven() as rig:
        carried = rig.open(frames=True, tls=contexts(tickets=200))
        rig.until(lambda: carried.over, "the cut")
        check_cut(rig, carried, carried.near)
        assert "without data" in carried.link.detail


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(
    "commands", [b"K\n", b"k\n", b"K\nk\nK\n" * 5], ids=["asked for", "one-sided", "many"]
)
def test_a_peer_may_change_its_keys_and_not_negotiate_anew(version: str, commands: bytes) -> None:
    """OpenSSL's own client, told by its commands: a key update in TLS 1.3, a renegotiation in TLS 1.2, which
    is refused with an alert, whereupon it leaves."""
    old = version == "1.2"
    with driven() as rig, OpenSslClient(tls12=old) as client:
        far, theirs = connection()
        client.shake()
        carried = rig.carry(
            Peer(socket.socket()), client.sock, Peer(far), theirs, frames=False, near_tls=client.layer
        )
        client.say(b"before\n")
        rig.until(lambda: carried.far.read() == 0 and carried.far.received == b"before\n", "what it says")
        client.say(b"R\n" if old else commands)
        if old:
            check_cut(rig, carried, carried.far, soon=True)
            return
        for number in range(3):
            line = b"data %d\n" % number
            client.say(line)
            rig.until(partial(has_got, carried.far, line), "a line")
            carried.far.send(line.upper())
        rig.until(lambda: b"DATA 2" in client.heard(), "the last answer")


def has_got(peer: Peer, line: bytes) -> bool:
    """Whether this is what has come last."""
    peer.read_all()
    return peer.received.endswith(line)


class OpenSslClient:
    """`openssl s_client`, and our end of its connection, which is for the pump to close."""

    def __init__(self, *, tls12: bool) -> None:
        self._folder = TemporaryDirectory()
        authority = Authority(Path(self._folder.name))
        issued = authority.issue(RELAY)
        context = server_context(authority.issue(GATEWAY), authority, "1.2")
        self.layer = TlsLayer(context, server_side=True)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(WITHIN)
            self._program = subprocess.Popen(
                [
                    *(require("openssl"), "s_client", "-tls1_2" if tls12 else "-tls1_3"),
                    *("-connect", f"127.0.0.1:{listener.getsockname()[1]}"),
                    *("-cert", issued.cert, "-key", issued.key, "-CAfile", authority.ca),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert self._program.stdin is not None
            assert self._program.stdout is not None
            self._to, self._out = self._program.stdin, self._program.stdout
            os.set_blocking(self._out.fileno(), False)
            self._heard = b""
            self.sock, _ = listener.accept()

    def shake(self) -> None:
        """Shake hands; the socket is non-blocking then."""
        self.sock.settimeout(WITHIN)
        while self.layer.tls.version() is None:
            with suppress(ssl.SSLWantReadError):
                self.layer.tls.do_handshake()
            self.sock.sendall(self.layer.outgoing.read())
            if self.layer.tls.version() is None:
                self.layer.incoming.write(self.sock.recv(1 << 16))
        self.sock.setblocking(False)

    def say(self, data: bytes) -> None:
        """Type something: a command is one if it is read by itself, so each line waits for the last."""
        for line in data.splitlines(keepends=True):
            eventually(self._has_read, within=WITHIN, what="the line before")
            self._to.write(line)
            self._to.flush()

    def _has_read(self) -> bool:
        waiting = fcntl.ioctl(self._to.fileno(), termios.FIONREAD, bytes(4))
        return waiting == bytes(4)

    def heard(self) -> bytes:
        """All that it has printed."""
        self._heard += self._out.read() or b""
        return self._heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self._program.kill()
        self._program.wait()
        with suppress(BrokenPipeError):
            self._to.close()
        self._out.close()
        self._folder.cleanup()


# After the end.


@by_tls_way
def test_tls_is_gone_with_its_link(way: Way) -> None:
    """Python looks for circles now and then, and does not see how much memory hangs on this one."""
    gc.collect()
    gc.disable()
    try:
        with going(way), driven() as rig:
            carried = rig.open(frames=True)
            layers = [flow.opener for flow in carried.flows if flow.opener is not None]
            states = [weakref.ref(layer.tls) for layer in layers]
            assert len(states) == len(way.tls)
            layers.clear()
            rig.deliver(carried, TICK, TICK)
            rig.pump.cut(carried.link, End.ENDED)
            assert [state() for state in states] == [None] * len(states)
    finally:
        gc.enable()


# Memory.

MEMORY_PROGRAM: Final = """
import contextlib, gc, sys
from pathlib import Path
from tests.links import peers
from tests.links.pump_ways import TLS_WAYS, going
from tests.links.pumps import driven

def memory():
    gc.collect()
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * int(text.split("Private_Dirty:")[1].split()[0])

way, links, data = TLS_WAYS[int(sys.argv[1])], int(sys.argv[2]), bytes(1 << 16)
with going(way), driven() as rig:
    def carried():
        link = rig.open(frames=True)
        for _ in range(16):
            rig.deliver(link, data, data)
            for peer in (link.near, link.far):
                peer.sent.clear(), peer.received.clear()
        return link
    def kept():
        link = carried()
        for peer in (link.near, link.far):  # the pump's side alone is what counts
            for name in ("layer", "_opened", "records"):
                if hasattr(peer, name):
                    delattr(peer, name)
            peer.flush = lambda: None
        return link
    first = [kept() for _ in range(4)]
    before = memory()
    rest = [kept() for _ in range(links)]
    print((memory() - before) // links)
    import os
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.parametrize("number", [0, 1], ids=["a hop's end", "a gateway's end"])
def test_an_idle_tunnel_holds_little_after_much_has_passed(number: int) -> None:
    """What a process of its own takes more (its private pages) for each of many links that a megabyte has
    passed through each way; their peers' TLS is not counted, their sockets' memory is the kernel's."""
    command = [sys.executable, "-c", MEMORY_PROGRAM, str(number), "30"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert 0 < int(done.stdout) < KILOBYTES_A_SIDE * 1024
