"""The source `epmd`: what it says of hosts that list nodes, that do not answer, and that lie."""

import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from epmdless import metrics
from epmdless.cluster.peers import MAX_NAMES, LookError, Peer
from epmdless.cluster.sources.build import build
from epmdless.cluster.sources.epmd import LOCAL_ADDRESS, MAX_ANSWER, MAX_QUESTIONS, EpmdNames
from epmdless.cluster.sources.hosts import MAX_HOSTS
from epmdless.config import Duration, EpmdSource
from epmdless.metrics import Metrics
from epmdless.resolve.dns_client import AddressType, DnsError
from tests.cluster.sources.saying import OWN_HOST, around, peers_in
from tests.support.epmd_client import framed
from tests.support.far_epmd import FarEpmd
from tests.support.ports import closed_port
from tests.support.relays import Hosts

Stream = trio.abc.Stream
Behaviour = Callable[[Stream], Awaitable[None]]
TIMEOUT = 2.0


def lists(**nodes: int) -> Behaviour:
    """Answer NAMES with these; `_` stands for `-`."""
    text = "".join(f"name {name.replace('_', '-')} at port {port}\n" for name, port in nodes.items())
    return says(struct.pack(">I", 4369) + text.encode())


def says(data: bytes) -> Behaviour:
    async def behave(stream: Stream) -> None:
        assert await stream.receive_some(100) == framed(b"n")
        await stream.send_all(data)

    return behave


async def hangs(stream: Stream) -> None:
    """Never answer, however long the other side waits."""
    while await stream.receive_some(100):
        pass


async def drips(stream: Stream) -> None:
    """Say a little now and then, without end."""
    while True:
        await stream.send_all(b"name a at port 1\n")
        await trio.sleep(0.5)


async def floods(stream: Stream) -> None:
    """Say as much as is taken."""
    await stream.send_all(struct.pack(">I", 4369))
    while True:
        await stream.send_all(b"name a at port 1\n" * 1000)


REFUSED = ConnectionRefusedError("10.0.0.1 port 4369: Connection refused")
UNREACHABLE = OSError("10.0.0.1 port 4369: No route to host")


Silent = Behaviour | OSError


class World:
    """Hosts in memory, and addresses in DNS.

    :ivar hosts: what the EPMD of each host does, or what connecting to it raises.
    :ivar dns: the addresses of domain names, or what the question raises; none: no such name.
    :ivar dialled: host and port of each connection.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.hosts: Mapping[str, Silent] = {}
        self.dns: dict[tuple[str, str], tuple[str, ...] | DnsError] = {}
        self.dialled: list[tuple[str, int]] = []
        self.open = self.most_open = 0
        self.counts = Metrics()
        self._nursery = nursery

    def source(self, *hosts: str, **keys: Any) -> EpmdNames:
        section = EpmdSource(hosts=hosts, timeout=Duration(TIMEOUT), **keys)
        return EpmdNames(section, around(self.counts), connect=self._connect, client=self)

    async def _connect(self, host: str, port: int) -> Any:
        self.dialled.append((host, port))
        does = self.hosts.get(host, UNREACHABLE)
        if isinstance(does, OSError):
            raise does
        ours, theirs = memory_stream_pair()
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        self._nursery.start_soon(self._serve, does, theirs)
        return ours

    async def _serve(self, does: Behaviour, stream: Stream) -> None:
        try:
            async with stream:
                await does(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            self.open -= 1

    async def ask_addresses(self, name: str, rdtype: AddressType) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        said = self.dns.get((name, rdtype), ())
        if isinstance(said, DnsError):
            raise said
        return said


@pytest.fixture
def world(nursery: trio.Nursery) -> World:
    return World(nursery)


async def names(source: EpmdNames) -> set[str]:
    return {peer.name for peer in peers_in(await source.look())}


async def failure(source: EpmdNames) -> LookError:
    with pytest.raises(LookError) as caught:
        await source.look()
    return caught.value


# What hosts list.


async def test_names_have_the_host_they_were_listed_at_and_their_port(world: World) -> None:
    world.hosts = {"b1.internal": lists(app=9001, web=9002), "fd00::7": lists(app=9001)}
    assert await world.source("b1.internal", "fd00::7").look() == (
        Peer("app@b1.internal", 9001),
        Peer("web@b1.internal", 9002),
        Peer("app@fd00::7", 9001),
    )
    assert sorted(world.dialled) == [("b1.internal", 4369), ("fd00::7", 4369)]
    assert world.counts.value(metrics.FAR_QUESTIONS, "names") == 2


async def test_another_port_is_asked_where_it_is_said(world: World) -> None:
    world.hosts = {"b1": lists(app=9001)}
    assert await names(world.source("b1", port=4370)) == {"app@b1"}
    assert world.dialled == [("b1", 4370)]


async def test_transient_nodes_are_left_out(world: World) -> None:
    world.hosts = {"b1": lists(app=9001, rem_0a1b_app=9002, remsh7=9003, rabbitmqcli_1=9004)}
    assert await names(world.source("b1")) == {"app@b1"}


async def test_a_node_without_a_port_has_none(world: World) -> None:
    world.hosts = {"b1": lists(app=0)}
    assert await world.source("b1").look() == (Peer("app@b1", None),)


async def test_a_host_without_nodes_is_nobody(world: World) -> None:
    world.hosts = {"b1": lists()}
    assert await names(world.source("b1")) == set()


async def test_a_node_that_leaves_a_list_has_left(world: World) -> None:
    source = world.source("b1")
    world.hosts = {"b1": lists(app=9001, web=9002)}
    assert await names(source) == {"app@b1", "web@b1"}
    world.hosts = {"b1": lists(web=9003)}
    assert await source.look() == (Peer("web@b1", 9003),)


async def test_the_local_host_has_its_own_name(world: World) -> None:
    world.hosts = {LOCAL_ADDRESS: lists(app=9001), "b2": lists(app=9001)}
    assert await names(world.source("b2", local=True)) == {f"app@{OWN_HOST}", "app@b2"}
    assert await names(world.source(local=True)) == {f"app@{OWN_HOST}"}


# Hosts that do not answer.

SILENT: dict[str, Silent] = {
    "refused": REFUSED,
    "unreachable": UNREACHABLE,
    "timeout": hangs,
    "malformed": says(b"\0\0\x11\x11name app at port\n"),
}


@pytest.mark.parametrize("reason", SILENT)
async def test_the_last_names_of_a_host_that_does_not_answer_stand(
    world: World, reason: str, autojump_clock: MockClock
) -> None:
    two = world.source("b1", "b2")
    world.hosts = {"b1": lists(app=9001), "b2": lists(app=9001)}
    assert await names(two) == {"app@b1", "app@b2"}
    world.hosts = {"b1": SILENT[reason], "b2": lists(web=9002)}
    for _ in range(3):
        assert await names(two) == {"app@b1", "web@b2"}
    world.hosts = {**world.hosts, "b1": lists()}
    assert await names(two) == {"web@b2"}


@pytest.mark.parametrize("reason", SILENT)
async def test_where_no_host_answers_nothing_is_known(
    world: World, reason: str, autojump_clock: MockClock
) -> None:
    two = world.source("b1", "b2")
    world.hosts = {"b1": lists(app=9001), "b2": lists(web=9002)}
    await two.look()
    world.hosts = dict.fromkeys(["b1", "b2"], SILENT[reason])
    error = await failure(two)
    assert error.reason == reason
    assert error.detail.startswith("b1: the far EPMD server: ")
    assert error.detail.endswith(", and 1 more")


@pytest.mark.parametrize("reason", ["unreachable", "timeout", "malformed"])
async def test_a_host_that_never_answered_holds_nobody_up(
    world: World, reason: str, autojump_clock: MockClock
) -> None:
    world.hosts = {"b1": SILENT[reason], "b2": lists(app=9001)}
    assert await names(world.source("b1", "b2")) == {"app@b2"}


@pytest.mark.parametrize("reason", ["unreachable", "timeout", "malformed"])
async def test_it_is_never_nobody_while_a_host_does_not_answer(
    world: World, reason: str, autojump_clock: MockClock
) -> None:
    world.hosts = {"b1": SILENT[reason], "b2": lists()}
    assert (await failure(world.source("b1", "b2"))).reason == reason


async def test_a_host_that_refuses_and_never_listed_a_node_has_none(world: World) -> None:
    world.hosts = {"b1": REFUSED, "b2": REFUSED}
    source = world.source("b1", "b2")
    assert await names(source) == set()
    world.hosts = {**world.hosts, "b2": lists()}
    assert await names(source) == set()
    world.hosts = {**world.hosts, "b2": REFUSED}
    assert await names(source) == set()


async def test_a_host_that_is_slow_costs_its_own_time_alone(world: World, autojump_clock: MockClock) -> None:
    world.hosts = {f"b{n}": lists(app=9001) for n in range(MAX_QUESTIONS)} | {"slow": hangs, "slower": drips}
    started = trio.current_time()
    assert len(await names(world.source(*world.hosts))) == MAX_QUESTIONS
    assert trio.current_time() - started == pytest.approx(TIMEOUT, abs=0.01)
    assert world.most_open <= MAX_QUESTIONS


async def test_hosts_that_wait_for_their_turn_have_all_of_their_time(
    world: World, autojump_clock: MockClock
) -> None:
    world.hosts = {f"b{n}": hangs for n in range(MAX_QUESTIONS * 2)} | {"last": lists(app=9001)}
    assert await names(world.source(*world.hosts)) == {"app@last"}
    assert world.most_open == MAX_QUESTIONS


# Hosts that lie.


async def test_an_endless_list_is_cut_off_and_no_list(world: World, autojump_clock: MockClock) -> None:
    world.hosts = {"b1": floods, "b2": lists(app=9001)}
    started = trio.current_time()
    assert await names(world.source("b1", "b2")) == {"app@b2"}
    assert trio.current_time() == started
    assert (await failure(world.source("b1"))).reason == "malformed"


def many(prefix: str, count: int) -> bytes:
    lines = [f"name {prefix}{n} at port 1\n" for n in range(count)]
    return struct.pack(">I", 4369) + "".join(lines).encode()


async def test_as_many_nodes_as_any_host_runs_are_taken(world: World) -> None:
    data = many("a" * 40, 4000)
    assert len(data) <= MAX_ANSWER
    world.hosts = {"b1": says(data)}
    assert len(await names(world.source("b1"))) == 4000


async def test_one_host_that_lists_too_many_spoils_its_own_list_alone(world: World) -> None:
    world.hosts = {"b1": says(many("a", 100_000)), "b2": lists(app=9001)}
    assert await names(world.source("b1", "b2")) == {"app@b2"}


async def test_hosts_that_list_too_many_together_are_a_mistake(world: World) -> None:
    world.hosts = {f"b{n}": says(many("a", 9000)) for n in range(3)}
    error = await failure(world.source(*world.hosts))
    assert (error.reason, error.detail) == ("too_many", f"more than {MAX_NAMES} names on 3 hosts")


# Hosts in DNS and in a file.


async def test_the_addresses_of_a_domain_name_are_hosts(world: World) -> None:
    world.dns = {("d", "A"): ("10.0.0.7", "10.0.0.8"), ("d", "AAAA"): ("fd00::7",)}
    world.hosts = dict.fromkeys(["10.0.0.7", "10.0.0.8", "fd00::7"], lists(app=9001))
    assert await names(world.source("10.0.0.8", dns=("d",))) == {
        "app@10.0.0.7",
        "app@10.0.0.8",
        "app@fd00::7",
    }
    assert len(world.dialled) == 3, "a host that stands in two lists is asked once"


async def test_while_dns_fails_the_hosts_that_it_named_are_asked(world: World) -> None:
    source = world.source(dns=("d",))
    world.dns = {("d", "A"): ("10.0.0.7",)}
    world.hosts = {"10.0.0.7": lists(app=9001)}
    assert await names(source) == {"app@10.0.0.7"}
    world.dns = dict.fromkeys([("d", "A"), ("d", "AAAA")], DnsError("timeout", "A d: timed out"))
    world.hosts = {**world.hosts, "10.0.0.7": lists(web=9002)}
    assert await names(source) == {"web@10.0.0.7"}


async def test_where_dns_never_answered_nobody_is_not_said(world: World) -> None:
    world.dns = dict.fromkeys(
        [("d", "A"), ("d", "AAAA")], DnsError("refused", "A d: no server answered, REFUSED")
    )
    error = await failure(world.source(dns=("d",)))
    assert (error.reason, error.detail) == ("refused", "A d: no server answered, REFUSED, and 1 more")
    world.hosts = {"b1": lists()}
    assert (await failure(world.source("b1", dns=("d",)))).reason == "refused"
    world.hosts = {"b1": lists(app=9001)}
    assert await names(world.source("b1", dns=("d",))) == {"app@b1"}


async def test_no_such_domain_name_is_nobody(world: World) -> None:
    assert await names(world.source(dns=("d",))) == set()


async def test_a_host_that_dns_names_no_more_is_remembered_for_a_while(
    world: World, autojump_clock: MockClock
) -> None:
    """Answers may hold a part of the addresses only."""
    source = world.source(dns=("d",))
    world.hosts = {"10.0.0.7": lists(app=9001), "10.0.0.8": lists(app=9001)}
    world.dns = {("d", "A"): ("10.0.0.7", "10.0.0.8")}
    await source.look()
    world.dns = {("d", "A"): ("10.0.0.8",)}
    for _ in range(5):
        await trio.sleep(5)
        assert await names(source) == {"app@10.0.0.7", "app@10.0.0.8"}
    await trio.sleep(5)
    assert await names(source) == {"app@10.0.0.8"}


async def test_too_many_hosts_are_a_mistake_and_none_is_asked(world: World) -> None:
    world.dns = {("d", "A"): tuple(f"10.0.{n >> 8}.{n & 255}" for n in range(MAX_HOSTS + 1))}
    error = await failure(world.source(dns=("d",)))
    assert error.reason == "too_many"
    assert world.dialled == []


# With a real file, and over real sockets: in real time.


@pytest.fixture
def servers() -> Iterator[list[FarEpmd]]:
    """Two hosts of this machine, with EPMD servers at the same port."""
    with ExitStack() as stack:
        first = stack.enter_context(FarEpmd({"app": 9001}, "127.0.1.3"))
        yield [first, stack.enter_context(FarEpmd({"app": 9001}, "127.0.1.4", first.port))]


def asking(port: int, **keys: Any) -> EpmdNames:
    """The source that a configuration makes."""
    section = EpmdSource(port=port, timeout=Duration(20), **keys)
    made = build("e", section, around(), "epmdless.toml")
    assert isinstance(made, EpmdNames)
    return made


async def test_servers_are_asked(servers: list[FarEpmd]) -> None:
    source = asking(servers[0].port, hosts=("127.0.1.3", "127.0.1.4", "127.0.1.5"))
    assert await names(source) == {"app@127.0.1.3", "app@127.0.1.4"}
    servers[1].nodes = {"web": 9002}
    assert await source.look() == (Peer("app@127.0.1.3", 9001), Peer("web@127.0.1.4", 9002))
    servers[1].says = b"\0\0\x11\x11not a list"
    assert await names(source) == {"app@127.0.1.3", "web@127.0.1.4"}
    assert [server.asked for server in servers] == [[b"n"] * 3] * 2


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "::1"]])
async def test_a_connection_that_every_address_refuses_is_known_as_one(addresses: list[str]) -> None:
    trio.socket.set_custom_hostname_resolver(Hosts({"b1.test": addresses}))
    with closed_port() as port:
        assert await names(asking(port, hosts=("b1.test",))) == set()


async def test_a_name_without_an_address_is_unreachable(servers: list[FarEpmd]) -> None:
    trio.socket.set_custom_hostname_resolver(Hosts({"b1.test": ["127.0.1.3"]}))
    assert await names(asking(servers[0].port, hosts=("b1.test", "nobody.test"))) == {"app@b1.test"}
    assert (await failure(asking(servers[0].port, hosts=("nobody.test",)))).reason == "unreachable"


async def test_the_local_server_is_asked_at_its_loopback_address() -> None:
    with FarEpmd({"app": 9001}, LOCAL_ADDRESS) as server:
        assert await names(asking(server.port, local=True)) == {f"app@{OWN_HOST}"}


async def test_hosts_erlang_is_read_at_each_look(servers: list[FarEpmd], tmp_path: Path) -> None:
    path = tmp_path / ".hosts.erlang"
    source = asking(servers[0].port, hosts_file=str(path))
    assert (await failure(source)).reason == "failed"
    path.write_text("'127.0.1.3'.\n")
    assert await names(source) == {"app@127.0.1.3"}
    path.write_text("'127.0.1.3'.\n'127.0.1.4'. % new\n")
    assert await names(source) == {"app@127.0.1.3", "app@127.0.1.4"}
    path.write_text("127.0.1.3\n")
    assert await names(source) == {"app@127.0.1.3", "app@127.0.1.4"}
    path.write_text("'127.0.1.4'.\n")
    await source.look()
    assert await names(source) == {"app@127.0.1.4"}
    path.unlink()
    assert await names(source) == {"app@127.0.1.4"}
