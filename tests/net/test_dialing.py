"""Dialling: which addresses in which order, never ourselves, and one error for all that failed."""

import errno
from collections.abc import Iterator, Mapping, Sequence

import pytest
import trio

from epmdless.addresses import is_address
from epmdless.net.dialing import ATTEMPT_DELAY, MAX_ADDRESSES, DialError, dial
from tests.support.link_sides import FarHost
from tests.support.ports import closed_port
from tests.support.relays import Hosts

NAME = "far.test"


def nobody(host: str, port: int) -> bool:
    """Nothing is ours."""
    return False


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


def resolve(addresses: Mapping[str, Sequence[str]]) -> None:
    """Have host names mean these addresses from now on, in this run."""
    trio.socket.set_custom_hostname_resolver(Hosts(addresses))


class Network(trio.abc.SocketFactory):
    """Connects to some addresses at once, after a time or never; none of them is real.

    :param answers: seconds until an address answers; a number below 0: it refuses at once.
    :ivar dialled: the addresses in the order of their dials, and when.
    :ivar sockets: all that were made.
    """

    def __init__(self, answers: Mapping[str, float]) -> None:
        self._answers = answers
        self.dialled: list[tuple[str, float]] = []
        self.sockets: list[FakeSocket] = []
        trio.socket.set_custom_socket_factory(self)

    def socket(self, family: int = 0, kind: int = 0, proto: int = 0) -> "FakeSocket":
        self.sockets.append(FakeSocket(self))
        return self.sockets[-1]

    async def connect(self, address: str) -> None:
        self.dialled.append((address, trio.current_time()))
        seconds = self._answers[address]
        if seconds < 0:
            await trio.lowlevel.checkpoint()
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        await trio.sleep(seconds)

    @property
    def open(self) -> list[str]:
        return [sock.peer for sock in self.sockets if not sock.closed]


class FakeSocket(trio.socket.SocketType):
    """One end of a connection that is none."""

    peer = ""
    closed = False

    def __init__(self, network: Network) -> None:
        self._network = network

    async def connect(self, address: object) -> None:
        assert isinstance(address, tuple)
        self.peer = address[0]
        await self._network.connect(self.peer)

    def close(self) -> None:
        self.closed = True

    def getsockname(self) -> tuple[str, int]:
        return "ours", 1

    def getpeername(self) -> tuple[str, int]:
        return self.peer, 2


async def dialled(network: Network, addresses: Sequence[str]) -> str:
    """Dial a name with these addresses; which one is connected, the only socket that is left open."""
    resolve({NAME: addresses})
    sock = await dial(NAME, 9001, nobody)
    assert isinstance(sock, FakeSocket)
    assert network.open == [sock.peer]
    return sock.peer


@pytest.mark.parametrize(
    ("text", "expected"), [("127.0.0.1", True), ("::1", True), ("a", False), ("1.2.3", False)]
)
def test_addresses_are_told_from_names(text: str, expected: bool) -> None:
    assert is_address(text) is expected


async def test_an_address_is_dialled_without_a_question(far_host: FarHost) -> None:
    resolve({})
    with await dial("127.0.1.3", far_host.port, nobody) as sock:
        assert sock.getpeername() == ("127.0.1.3", far_host.port)


async def test_a_name_is_dialled_at_its_address(far_host: FarHost) -> None:
    resolve({NAME: ["127.0.1.3"]})
    with await dial(NAME, far_host.port, nobody) as sock:
        assert sock.getpeername() == ("127.0.1.3", far_host.port)


async def test_a_name_without_an_address_is_unknown() -> None:
    resolve({})
    with pytest.raises(DialError, match=r"far\.test: Name or service not known") as raised:
        await dial(NAME, 9001, nobody)
    assert raised.value.unknown


@pytest.mark.parametrize("host", ["127.0.1.3", NAME])
async def test_nobody_listens(host: str) -> None:
    resolve({NAME: ["127.0.0.1"]})
    with closed_port() as port, pytest.raises(DialError, match=f"port {port}: Connection refused") as raised:
        await dial(host, port, nobody)
    assert (raised.value.unknown, raised.value.shortage, raised.value.refused) == (False, False, True)


async def test_ourselves_are_never_dialled(far_host: FarHost) -> None:
    resolve({NAME: ["127.0.1.2", "127.0.1.3"]})

    def is_ours(host: str, port: int) -> bool:
        return (host, port) == ("127.0.1.2", far_host.port)

    with await dial(NAME, far_host.port, is_ours) as sock:
        assert sock.getpeername()[0] == "127.0.1.3"
    with pytest.raises(DialError, match="this relay itself") as raised:
        await dial("127.0.1.2", far_host.port, is_ours)
    assert raised.value.unknown


async def test_a_connection_with_itself_is_nobody() -> None:
    """A simultaneous open: the kernel may give a dialling socket the very port that it dials."""

    class Loop(FakeSocket):
        def getpeername(self) -> tuple[str, int]:
            return self.getsockname()

    class Looping(Network):
        def socket(self, family: int = 0, kind: int = 0, proto: int = 0) -> FakeSocket:
            self.sockets.append(Loop(self))
            return self.sockets[-1]

    network = Looping({"127.0.0.1": 0})
    with pytest.raises(DialError, match="Connection refused"):
        await dial("127.0.0.1", 9001, nobody)
    assert network.open == []


async def test_a_connection_that_is_gone_again_is_returned_all_the_same() -> None:
    """Its first read says what happened."""

    class Gone(FakeSocket):
        def getpeername(self) -> tuple[str, int]:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    class Resetting(Network):
        def socket(self, family: int = 0, kind: int = 0, proto: int = 0) -> FakeSocket:
            self.sockets.append(Gone(self))
            return self.sockets[-1]

    network = Resetting({"10.0.0.1": 0})
    await dial("10.0.0.1", 9001, nobody)
    assert network.open == ["10.0.0.1"]


async def test_no_descriptor_is_a_shortage_of_ours() -> None:
    class Full(Network):
        def socket(self, family: int = 0, kind: int = 0, proto: int = 0) -> FakeSocket:
            raise OSError(errno.EMFILE, "Too many open files")

    Full({})
    with pytest.raises(DialError, match="Too many open files") as raised:
        await dial("10.0.0.1", 9001, nobody)
    assert raised.value.shortage


# Several addresses.


async def test_families_take_turns_the_first_one_s_first(autojump_clock: trio.testing.MockClock) -> None:
    addresses = ["fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
    network = Network({**dict.fromkeys(addresses, -1.0), "10.0.0.3": 0})
    assert await dialled(network, addresses) == "10.0.0.3"
    assert [address for address, _ in network.dialled] == [
        "fd00::1",
        "10.0.0.1",
        "fd00::2",
        "10.0.0.2",
        "10.0.0.3",
    ]


async def test_a_refusal_makes_the_next_address_s_turn_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network({"10.0.0.1": -1, "10.0.0.2": 0})
    started = trio.current_time()
    assert await dialled(network, ["10.0.0.1", "10.0.0.2"]) == "10.0.0.2"
    assert trio.current_time() == started


async def test_a_silent_address_has_a_head_start_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    network = Network({"fd00::1": 3600, "10.0.0.1": 3600, "fd00::2": 0.1})
    assert await dialled(network, ["fd00::1", "fd00::2", "10.0.0.1"]) == "fd00::2"
    first = network.dialled[0][1]
    assert [(address, time - first) for address, time in network.dialled] == [
        ("fd00::1", 0),
        ("10.0.0.1", pytest.approx(ATTEMPT_DELAY)),
        ("fd00::2", pytest.approx(2 * ATTEMPT_DELAY)),
    ]


async def test_a_slow_address_wins_if_the_others_do_not_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network({"10.0.0.1": 5, "10.0.0.2": 3600, "10.0.0.3": -1})
    assert await dialled(network, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]) == "10.0.0.1"


async def test_two_that_answer_in_one_tick_leave_one_socket(autojump_clock: trio.testing.MockClock) -> None:
    network = Network({"10.0.0.1": 1, "10.0.0.2": 1 - ATTEMPT_DELAY})
    assert await dialled(network, ["10.0.0.1", "10.0.0.2"]) in ("10.0.0.1", "10.0.0.2")


async def test_when_all_fail_one_error_names_them(autojump_clock: trio.testing.MockClock) -> None:
    network = Network({"fd00::1": -1, "10.0.0.1": -1})
    resolve({NAME: ["fd00::1", "10.0.0.1"]})
    with pytest.raises(DialError) as raised:
        await dial(NAME, 9001, nobody)
    assert str(raised.value) == (
        "fd00::1 port 9001: Connection refused; 10.0.0.1 port 9001: Connection refused"
    )
    assert not raised.value.unknown
    assert network.open == []


async def test_no_more_addresses_are_tried_than_time_allows(autojump_clock: trio.testing.MockClock) -> None:
    addresses = [f"10.0.0.{number}" for number in range(1, 200)]
    network = Network(dict.fromkeys(addresses, -1.0))
    resolve({NAME: addresses})
    with pytest.raises(DialError):
        await dial(NAME, 9001, nobody)
    assert len(network.dialled) == MAX_ADDRESSES


async def test_who_gives_up_leaves_nothing_open(autojump_clock: trio.testing.MockClock) -> None:
    addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    network = Network(dict.fromkeys(addresses, 3600.0))
    resolve({NAME: addresses})
    with trio.move_on_after(10) as scope:
        await dial(NAME, 9001, nobody)
    assert scope.cancelled_caught
    assert len(network.sockets) == 3
    assert network.open == []
