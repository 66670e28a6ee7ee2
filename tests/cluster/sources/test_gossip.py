"""Multicast on the loopback interface: other nodes, libcluster's packets, strangers and floods."""

from __future__ import annotations

import errno
import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from trio.testing import MockClock

from epmdless import metrics
from epmdless.cluster.peers import Known, Unknown
from epmdless.cluster.peers import Peer as Named
from epmdless.cluster.sources import gossip
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.sources.gossip import HEARTBEATS_A_ROUND, PACKETS_A_ROUND, ROUND, TELL_PAUSE, Gossip
from epmdless.config import GossipSource
from epmdless.errors import ConfigError
from epmdless.metrics import Metric, Metrics
from epmdless.wire.gossip import MAX_PACKET, encode_heartbeat, key_of
from tests.cluster.sources.surroundings import Said, running, surroundings
from tests.support.deadline import eventually
from tests.support.machine import Machine
from tests.support.multicast import GROUP, LOOPBACK, Stranger
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.relays import Lines
from tests.support.tools import clean_env, require

SECRET = b"something nobody guesses"
HEARTBEAT = 5.0
EXPIRE = 30.0
OWN = "app@10.0.0.1"
OTHER = "app@10.0.0.2"


@pytest.fixture
def clock() -> MockClock:
    """Jumps once nothing has happened for a moment."""
    return MockClock(autojump_threshold=0.02)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stranger(port: int) -> Iterator[Stranger]:
    with Stranger(port) as stranger:
        yield stranger


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_bytes(SECRET + b"\n")
    return path


def make(port: int, around: Surroundings | None = None, chance: float = 0.5, **changes: Any) -> Gossip:
    """A source on the loopback interface."""
    table = {"kind": "gossip", "port": port, "interface": LOOPBACK, **changes}
    section = msgspec.convert(
        {k: v for k, v in table.items() if v is not None}, GossipSource, dec_hook=_seconds
    )
    return Gossip(section, around or surroundings(), "epmdless.toml", "cluster.source.near", lambda: chance)


def _seconds(kind: type, value: object) -> object:
    return kind(value)


def count(around: Surroundings, result: str) -> float:
    return around.counts.value(metrics.GOSSIP_PACKETS, result)


async def times(said: Said, number: int) -> None:
    """Wait until something was said so many times more; all of it is known."""
    for _ in range(number):
        assert isinstance(await said.next(), Known)


# Who is there.


async def test_nodes_of_two_hosts_hear_each_other_and_themselves(clock: MockClock, port: int) -> None:
    first, second = surroundings(local_nodes=[OWN, "db@10.0.0.1"]), surroundings(local_nodes=[OTHER])
    with trio.fail_after(EXPIRE):
        async with running(make(port, first)) as here, running(make(port, second)) as there:
            await here.until(OWN, "db@10.0.0.1", OTHER)
            await there.until(OWN, "db@10.0.0.1", OTHER)


async def test_what_is_sent_is_libclusters_packet(clock: MockClock, port: int, stranger: Stranger) -> None:
    async with running(make(port, surroundings(local_nodes=[OWN]))) as said:
        await said.until(OWN)
    heard = stranger.heard()[0]
    assert heard.packet == b"heartbeat::\x83t\x00\x00\x00\x01w\x04nodew\x0c" + OWN.encode()
    assert (heard.source[1], heard.ttl) == (port, 1)


async def test_what_is_sent_with_a_secret_is_libclusters_too(
    clock: MockClock, port: int, stranger: Stranger, secret: Path
) -> None:
    async with running(make(port, surroundings(local_nodes=[OWN]), secret_file=str(secret))) as said:
        await times(said, 4)
    packets = [heard.packet for heard in stranger.heard()]
    assert len({packet[:16] for packet in packets}) == len(packets) >= 3
    for packet in packets:
        decryptor = Cipher(algorithms.AES256(key_of(SECRET)), modes.CBC(packet[:16])).decryptor()
        clear = decryptor.update(packet[16:]) + decryptor.finalize()
        expected = b"heartbeat::\x83t\x00\x00\x00\x01w\x04nodew\x0c" + OWN.encode()
        padding = 16 - len(expected) % 16
        assert clear == expected + bytes([padding]) * padding


@pytest.mark.parametrize("ttl", [0, 5])
async def test_the_ttl_can_be_set(clock: MockClock, port: int, stranger: Stranger, ttl: int) -> None:
    async with running(make(port, surroundings(local_nodes=[OWN]), ttl=ttl)) as said:
        await said.until(OWN)
    assert stranger.heard()[0].ttl == ttl


async def test_who_is_heard_is_named_at_once_and_until_silent_for_long(
    clock: MockClock, port: int, stranger: Stranger
) -> None:
    async with running(make(port)) as said:
        await said.names()
        stranger.send(encode_heartbeat(OTHER))
        await said.until(OTHER)
        first = trio.current_time()
        await trio.sleep(EXPIRE / 2)
        stranger.send(encode_heartbeat(OTHER))
        await trio.sleep(EXPIRE / 2 + 1)
        said.taken = len(said.all)
        await said.until()
        assert EXPIRE * 1.5 - 1 <= trio.current_time() - first <= EXPIRE * 1.5 + 1


async def test_where_all_others_fall_silent_nobody_has_left(
    clock: MockClock, port: int, stranger: Stranger
) -> None:
    """A switch that forgot who listens to the group."""
    third = "app@10.0.0.3"
    async with running(make(port, surroundings(local_nodes=[OWN]))) as said:
        await said.until(OWN)
        assert said.all[-1] == Known((Named(OWN),)), "alone from the start is nothing to doubt"
        stranger.send(encode_heartbeat(OTHER))
        stranger.send(encode_heartbeat(third))
        await said.until(OWN, OTHER, third)
        await trio.sleep(EXPIRE / 2)
        stranger.send(encode_heartbeat(third))
        await said.until(OWN, third)
        last = said.all[-1]
        assert isinstance(last, Known)
        assert last.doubt is None, "one of two has left"
        await said.until(OWN)
        doubt = Unknown("unreachable", "multicast: nobody but this host is heard any more")
        assert said.all[-1] == Known((Named(OWN),), doubt)
        stranger.send(encode_heartbeat(OTHER))
        await said.until(OWN, OTHER)
        last = said.all[-1]
        assert isinstance(last, Known)
        assert last.doubt is None


async def test_a_local_node_that_leaves_was_no_company(clock: MockClock, port: int) -> None:
    local = [OWN, OTHER]
    around = Surroundings(Metrics(), Lines(), {}, "b1.internal", lambda: tuple(local))
    async with running(make(port, around)) as said:
        await said.until(OWN, OTHER)
        local.remove(OTHER)
        await said.until(OWN)
        assert said.all[-1] == Known((Named(OWN),))


async def test_who_is_there_is_said_at_least_once_a_heartbeat(
    clock: MockClock, port: int, stranger: Stranger
) -> None:
    async with running(make(port)) as said:
        for _ in range(5):
            before = trio.current_time()
            await said.next()
            assert trio.current_time() - before <= HEARTBEAT + 2 * ROUND


async def test_a_crowd_is_told_of_in_a_few_words(clock: MockClock, port: int, stranger: Stranger) -> None:
    async with running(make(port)) as said:
        await said.next()
        names = [f"app@10.0.1.{number}" for number in range(60)]
        for name in names:
            stranger.send(encode_heartbeat(name))
            await trio.sleep(0.01)
        await said.until(*names)
        assert len(said.all) <= 0.6 / TELL_PAUSE + 3


async def test_nothing_is_sent_where_there_are_no_nodes(
    clock: MockClock, port: int, stranger: Stranger
) -> None:
    around = surroundings()
    async with running(make(port, around)) as said:
        await times(said, 10)
    assert stranger.heard() == []
    assert count(around, "sent") == 0


async def test_nodes_that_come_later_are_sent_too(clock: MockClock, port: int) -> None:
    local: list[str] = []
    async with running(make(port, surroundings(local_nodes=local))) as said:
        assert await said.names() == set()
        local.append(OWN)
        await said.until(OWN)


async def test_many_local_nodes_take_turns(clock: MockClock, port: int, stranger: Stranger) -> None:
    local = [f"app-{number}@10.0.0.1" for number in range(200)]
    async with running(make(port, surroundings(local_nodes=local))) as said:
        spoken = Counter[bytes]()
        most = 0
        for _ in range(200):
            await trio.sleep(HEARTBEAT / 50)
            packets = [heard.packet for heard in stranger.heard()]
            most = max(most, len(packets))
            spoken.update(packets)
        assert len(spoken) == 200
        assert 6 <= min(spoken.values()) <= max(spoken.values()) <= 10, "8 in 4 heartbeats, at half of each"
        assert most <= HEARTBEATS_A_ROUND
        await said.until(*local)


async def test_a_name_that_no_node_can_have_is_not_sent(
    clock: MockClock, port: int, stranger: Stranger
) -> None:
    around = surroundings(local_nodes=["nonode@nohost", "no name", OWN])
    async with running(make(port, around)) as said:
        await said.until(OWN)
    assert {heard.packet for heard in stranger.heard()} == {encode_heartbeat(OWN)}
    assert count(around, "not_sent") >= 2


# Strangers.

BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "prefix"),
    "rubbish": (b"\0\xff" * 50, "prefix"),
    "no term": (b"heartbeat::", "term"),
    "another term": (b"heartbeat::\x83h\x01w\x01a", "term"),
    "a function": (b"heartbeat::\x83t\x00\x00\x00\x01w\x04nodep\x00\x00\x00\x09123456789", "term"),
    "compressed": (b"heartbeat::\x83P\xff\xff\xff\xff\x78\x9c", "term"),
    "two pairs": (b"heartbeat::\x83t\x00\x00\x00\x02w\x04nodew\x03a@hw\x01aw\x01b", "term"),
    "a huge map": (b"heartbeat::\x83t\xff\xff\xff\xff", "term"),
    "no name": (b"heartbeat::\x83t\x00\x00\x00\x01w\x04nodew\x03abc", "name"),
    "too long": (b"heartbeat::" + b"x" * MAX_PACKET, "oversized"),
    "as long as can be": (b"x" * 65_000, "oversized"),
    "encrypted": (encode_heartbeat(OTHER, key_of(SECRET), bytes(16)), "prefix"),
}


@pytest.mark.parametrize(("packet", "reason"), BAD.values(), ids=BAD)
async def test_what_is_no_heartbeat_is_counted_and_dropped(
    clock: MockClock, port: int, stranger: Stranger, packet: bytes, reason: str
) -> None:
    log = Lines()
    around = surroundings(log=log)
    async with running(make(port, around)) as said:
        await said.next()
        for _ in range(3):
            stranger.send(packet)
        stranger.send(encode_heartbeat(OTHER))
        await said.until(OTHER)
    assert count(around, reason) == 3
    assert log == []


FORGED: dict[str, bytes] = {
    "clear": encode_heartbeat(OTHER),
    "another secret": encode_heartbeat(OTHER, key_of(b"another"), bytes(range(16))),
    "changed": encode_heartbeat(OTHER, key_of(SECRET), bytes(16))[:-1] + b"\0",
    "another vector": b"x" * 16 + encode_heartbeat(OTHER, key_of(SECRET), bytes(16))[16:],
    "cut": encode_heartbeat(OTHER, key_of(SECRET), bytes(16))[:-16],
    "short": b"x" * 20,
}


@pytest.mark.parametrize("packet", FORGED.values(), ids=FORGED)
async def test_who_does_not_know_the_secret_is_not_heard(
    clock: MockClock, port: int, stranger: Stranger, secret: Path, packet: bytes
) -> None:
    around = surroundings(local_nodes=[OWN])
    async with running(make(port, around, secret_file=str(secret))) as said:
        await said.next()
        stranger.send(packet)
        await times(said, 3)
        assert await said.names() == {OWN}
    assert count(around, "encryption") == 1


async def test_a_packet_that_is_sent_again_makes_no_name_last(
    clock: MockClock, port: int, stranger: Stranger, secret: Path
) -> None:
    around = surroundings()
    async with running(make(port, around, secret_file=str(secret))) as said:
        await said.next()
        recorded = encode_heartbeat(OTHER, key_of(SECRET), bytes(16))
        stranger.send(recorded)
        await said.until(OTHER)
        began = trio.current_time()
        while (await said.names()) == {OTHER}:
            stranger.send(recorded)
        assert trio.current_time() - began <= EXPIRE + 1
        stranger.send(recorded)
        await times(said, 2)
        assert await said.names() == set()
    assert count(around, "taken") == 1
    assert count(around, "replayed") >= EXPIRE / HEARTBEAT


async def test_what_is_sent_to_this_host_alone_is_not_heard(
    clock: MockClock, port: int, stranger: Stranger
) -> None:
    """It could come from anywhere, whatever the TTL."""
    around = surroundings()
    with Stranger(port, group="233.252.1.33") as elsewhere:
        async with running(make(port, around)) as said:
            await said.next()
            stranger.send_to(LOOPBACK, encode_heartbeat(OTHER))
            elsewhere.send(encode_heartbeat(OTHER))
            await times(said, 2)
            assert await said.names() == set()
    assert count(around, "taken") == 0


async def test_when_there_are_too_many_names_those_that_were_there_stay(
    clock: MockClock, port: int, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epmdless.cluster.sources.heard.MAX_HEARD", 10)
    around = surroundings()
    async with running(make(port, around)) as said:
        await said.next()
        stranger.send(encode_heartbeat(OTHER))
        await said.until(OTHER)
        for number in range(50):
            stranger.send(encode_heartbeat(f"evil-{number}@10.6.6.6"))
        names = await said.names()
        assert len(names) == 10
        assert OTHER in names
    assert count(around, "no_room") == 41


class Timed(Metrics):
    """Counters that know when they were counted."""

    def __init__(self) -> None:
        super().__init__()
        self.when: list[float] = []

    def count(self, metric: Metric, *labels: str) -> None:
        super().count(metric, *labels)
        self.when.append(trio.current_time())


async def test_a_flood_costs_no_more_than_is_allowed_and_nobody_is_missed(
    clock: MockClock, port: int, stranger: Stranger
) -> None:
    counts, log = Timed(), Lines()
    around = Surroundings(counts, log, {}, "b1.internal", tuple)
    async with running(make(port, around)) as said:
        await said.next()
        stranger.send(encode_heartbeat(OTHER))
        await said.until(OTHER)
        end = trio.current_time() + 2 * EXPIRE
        while trio.current_time() < end:
            for _ in range(250):
                stranger.send(b"rubbish")
            await trio.sleep(2.5)
        assert await said.names() == {OTHER}
        most = max(Counter(int(when / ROUND) for when in counts.when).values())
        assert most <= 2 * PACKETS_A_ROUND, "two rounds may begin in the time of one"
        assert [line["event"] for line in log] == ["gossip comes faster than it is read"]
        last = said.all[-1]
        assert isinstance(last, Known)
        assert last.doubt == Unknown("too_many", "multicast: more than 2000 packets a second")
        said.taken = len(said.all)
        await said.until()
        assert trio.current_time() - end <= EXPIRE + 1
        assert said.all[-1] == Known(())


async def test_a_flood_that_goes_on_is_said_once(clock: MockClock, port: int, stranger: Stranger) -> None:
    log = Lines()
    around = surroundings(log=log)

    async def flood() -> None:
        while True:
            for _ in range(250):
                stranger.send(b"rubbish")
            await trio.sleep(ROUND)

    async with trio.open_nursery() as nursery:
        async with running(make(port, around)) as said:
            await said.next()
            nursery.start_soon(flood)
            await said.next()
        nursery.cancel_scope.cancel()
    assert log == [
        {"level": "warning", "event": "gossip comes faster than it is read", "packets_a_second": 2000}
    ]


# Networks that fail.


async def test_an_address_that_is_not_ours_is_unreachable(clock: MockClock, port: int) -> None:
    async with running(make(port, interface="203.0.113.1")) as said:
        unknown = await said.unknown()
        assert unknown.reason == "unreachable"
        assert unknown.detail.startswith("multicast: ")
        assert await said.unknown() == unknown


class Sockets:
    """The sockets that sources have opened, each where it shall be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, machine: Machine | None = None) -> None:
        self.all: list[socket.socket] = []
        opened = gossip._joined

        def joined(section: GossipSource) -> socket.socket:
            sock = machine.call(lambda: opened(section)) if machine else opened(section)
            self.all.append(sock)
            return sock

        monkeypatch.setattr(gossip, "_joined", joined)


@pytest.mark.interop
async def test_a_network_that_goes_away_and_comes_back(
    clock: MockClock, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    machine = Machine("gossip", hosts)
    try:
        Sockets(monkeypatch, machine)
        machine.run("ip address add 10.0.0.1/24 dev lo")
        async with running(make(port, surroundings(local_nodes=[OWN]), interface="10.0.0.1")) as said:
            await said.until(OWN)
            machine.run("ip link set lo down")
            assert (await said.unknown()).reason == "unreachable"
            machine.run("ip address del 10.0.0.1/24 dev lo")
            assert (await said.unknown()).reason == "unreachable"
            machine.run("ip address add 10.0.0.1/24 dev lo; ip link set lo up")
            await said.until(OWN)
    finally:
        machine.close()


async def test_who_does_not_hear_itself_opens_a_new_socket_and_has_forgotten_nobody(
    clock: MockClock, port: int, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an interface was taken away and came again: nothing fails, and nobody is heard."""
    sockets = Sockets(monkeypatch)
    async with running(make(port, surroundings(local_nodes=[OWN]))) as said:
        await said.next()
        stranger.send(encode_heartbeat(OTHER))
        await said.until(OWN, OTHER)
        member = socket.inet_aton(GROUP) + socket.inet_aton(LOOPBACK)
        sockets.all[0].setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, member)
        while isinstance(last := await said.next(), Known):
            stranger.send(encode_heartbeat(OTHER))
        assert last.reason == "unreachable"
        assert await said.names() == {OWN, OTHER}
        assert sockets.all[0].fileno() == -1
        await said.until(OWN)


class Clogged(socket.socket):
    """A socket whose queue is full at every other packet."""

    sent = 0

    def sendto(self, *arguments: Any) -> int:
        self.sent += 1
        if self.sent % 2:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return super().sendto(*arguments)


async def test_a_full_queue_costs_a_packet_and_no_more(
    clock: MockClock, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = gossip._joined
    monkeypatch.setattr(gossip, "_joined", lambda section: Clogged(fileno=opened(section).detach()))
    around = surroundings(local_nodes=[OWN])
    async with running(make(port, around)) as said:
        await said.until(OWN)
        await times(said, 3)
    assert count(around, "not_sent") >= 2
    assert count(around, "sent") >= 2


async def test_the_socket_is_closed_when_the_source_ends(
    clock: MockClock, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = Sockets(monkeypatch)
    async with running(make(port)) as said:
        await said.next()
    assert [sock.fileno() for sock in sockets.all] == [-1]


# The secret.

NO_SECRETS: dict[str, tuple[bytes, int, str]] = {
    "read by others": (SECRET, 0o644, "must be accessible by its owner only"),
    "empty": (b"\n", 0o600, "one line"),
    "two lines": (SECRET + b"\nmore\n", 0o600, "one line"),
    "large": (b"x" * 5000, 0o600, "longer than 4096 bytes"),
}


@pytest.mark.parametrize(("content", "mode", "said"), NO_SECRETS.values(), ids=NO_SECRETS)
def test_a_file_that_holds_no_secret(secret: Path, content: bytes, mode: int, said: str) -> None:
    secret.write_bytes(content)
    secret.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        make(1, secret_file=str(secret))
    assert (caught.value.source, caught.value.key) == ("epmdless.toml", "cluster.source.near.secret_file")
    assert said in caught.value.problem
    assert str(secret) in caught.value.problem
    assert SECRET.decode() not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        make(1, secret_file=str(tmp_path / "gone"))


# An Erlang node's side, as libcluster has it.


class Peer:
    """An Erlang program that speaks and hears the packets."""

    def __init__(self, port: int, name: str, secrets: Sequence[str]) -> None:
        script = Path(__file__).parents[2] / "interop" / "gossip_peer.escript"
        argv: list[str | Path] = [
            require("escript", "erlang-base"),
            script,
            GROUP,
            str(port),
            LOOPBACK,
            name,
            *secrets,
        ]
        self.program = Program(argv, env=clean_env(), stdin=True)

    def wait(self, *names: str) -> None:
        """Wait until it has heard all of these."""
        eventually(lambda: set(names) <= self._heard(), within=40, what=lambda: self.program.report())

    def _heard(self) -> set[str]:
        return set(re.findall(r"^heard (.*)$", self.program.stdout, re.MULTILINE))


@pytest.mark.interop
@pytest.mark.parametrize("secrets", [[], [SECRET.decode()]], ids=["clear", "secret"])
async def test_an_erlang_program_is_heard_and_hears(port: int, secret: Path, secrets: list[str]) -> None:
    around = surroundings(local_nodes=[OWN, "näïve@10.0.0.1"])
    file = str(secret) if secrets else None
    first, second = Peer(port, OTHER, secrets), Peer(port, "née@10.0.0.3", secrets)
    try:
        with trio.fail_after(60):
            async with running(make(port, around, heartbeat=0.5, secret_file=file)) as said:
                await said.until(OWN, "näïve@10.0.0.1", OTHER, "née@10.0.0.3")
                await trio.to_thread.run_sync(first.wait, OWN, "näïve@10.0.0.1", "née@10.0.0.3", OTHER)
                await trio.to_thread.run_sync(second.wait, OWN, "näïve@10.0.0.1", "née@10.0.0.3", OTHER)
    finally:
        for peer in (first, second):
            peer.program.close()
    assert count(around, "taken") > 0
    assert {result for (result,), _ in around.counts.samples(metrics.GOSSIP_PACKETS)} == {"sent", "taken"}


@pytest.mark.interop
async def test_an_erlang_program_with_another_secret_is_not_heard(port: int, secret: Path) -> None:
    around = surroundings(local_nodes=[OWN])
    peer, other = Peer(port, OTHER, [SECRET.decode()]), Peer(port, "evil@10.6.6.6", ["guessed"])
    try:
        with trio.fail_after(60):
            async with running(make(port, around, heartbeat=0.5, secret_file=str(secret))) as said:
                await said.until(OWN, OTHER)
                await trio.to_thread.run_sync(other.wait, "evil@10.6.6.6")
                await times(said, 3)
                assert await said.names() == {OWN, OTHER}
        assert "heard evil" not in peer.program.stdout
    finally:
        for each in (peer, other):
            each.program.close()
    assert count(around, "encryption") > 0
