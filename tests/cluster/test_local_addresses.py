"""On which address a local node listens: the kernel's tables, made up and real."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
import trio.testing

from epmdless.cluster import local_addresses
from epmdless.cluster.local_addresses import LONGEST_PAUSE, LOOPBACK, Listener, Listeners, listeners
from tests.support.ports import free_port

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
PORT = 0x2329  # 9001
EVERYWHERE_6 = "0" * 32
LOOPBACK_6 = "0" * 24 + "01000000"
MAPPED = "0000000000000000FFFF00000100007F"
GLOBAL_6 = "B80D0120000000000000000001000000"


async def dialled_at(tables: Listeners, port: int) -> list[str]:
    """The addresses at which a port can be dialled."""
    return [each.address for each in await tables.on(port)]


def table(folder: Path, *rows: tuple[str, int, str]) -> Path:
    """A table of (address, port, state), as proc_net(5) has it."""
    path = folder / f"table-{len(list(folder.iterdir()))}"
    lines = [
        f"{number:4}: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0\n"
        for number, (address, port, state) in enumerate(rows)
    ]
    path.write_text(HEAD + "".join(lines))
    return path


@pytest.mark.parametrize(
    ("address", "dialled"),
    [
        ("0100007F", "127.0.0.1"),
        ("0200007F", "127.0.0.2"),
        ("0700000A", "10.0.0.7"),
        ("00000000", "127.0.0.1"),
        (EVERYWHERE_6, "::1"),
        (LOOPBACK_6, "::1"),
        (MAPPED, "127.0.0.1"),
        (GLOBAL_6, "2001:db8::1"),
    ],
)
def test_an_address_is_read_as_the_kernel_writes_it(tmp_path: Path, address: str, dialled: str) -> None:
    assert listeners([table(tmp_path, (address, PORT, "0A"))]) == {PORT: [Listener(dialled, 0)]}


def test_each_address_is_named_once_and_other_ports_are_not(tmp_path: Path) -> None:
    four = table(
        tmp_path,
        ("0700000A", PORT, "0A"),
        ("00000000", PORT + 1, "0A"),
        ("00000000", PORT, "0A"),
        ("0100007F", PORT, "0A"),
    )
    six = table(tmp_path, (MAPPED, PORT, "0A"), (EVERYWHERE_6, PORT, "0A"))
    found = {port: [each.address for each in there] for port, there in listeners([four, six]).items()}
    assert found == {PORT: ["10.0.0.7", "127.0.0.1", "::1"], PORT + 1: ["127.0.0.1"]}


def test_connections_are_not_read(tmp_path: Path) -> None:
    path = table(tmp_path, ("0100007F", PORT, "01"))
    path.write_text(path.read_text() + "what nobody could read\n" * 3)
    assert listeners([path]) == {}


@pytest.mark.parametrize("content", [None, "", HEAD])
async def test_without_a_table_it_is_loopback(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tcp"
    if content is not None:
        path.write_text(content)
    assert await dialled_at(Listeners([path]), PORT) == ["127.0.0.1", "::1"]
    four = table(tmp_path, ("0700000A", PORT, "0A"))
    assert await dialled_at(Listeners([path, four]), PORT) == ["10.0.0.7"], "one is enough"


@pytest.mark.parametrize(
    ("family", "address", "dialled"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.3.7", "127.0.3.7"),
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "::1"),
        (socket.AF_INET6, "::ffff:127.0.3.7", "127.0.3.7"),
    ],
)
async def test_real_listeners_are_found_where_they_can_be_dialled(
    family: socket.AddressFamily, address: str, dialled: str
) -> None:
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert await dialled_at(Listeners(), port) == [dialled]
        socket.create_connection((dialled, port), 5).close()


async def test_a_socket_that_does_not_listen_is_nobody() -> None:
    port = free_port()
    with socket.socket() as bound:
        bound.bind(("127.0.3.7", port))
        assert await dialled_at(Listeners(), port) == list(LOOPBACK)


class TestManyQuestions:
    """However many nodes are dialled, the tables are read seldom."""

    async def test_they_share_a_reading(
        self, tmp_path: Path, slowly: list[float], autojump_clock: trio.testing.MockClock
    ) -> None:
        path = table(tmp_path, *(("0700000A", PORT + number, "0A") for number in range(500)))
        tables = Listeners([path])
        answers = [await dialled_at(tables, PORT + number) for number in range(500)]
        assert answers == [["10.0.0.7"]] * 500
        assert slowly == [0.0]

    async def test_who_is_not_found_is_looked_for_once_more_and_for_all_who_wait(
        self, tmp_path: Path, slowly: list[float], autojump_clock: trio.testing.MockClock
    ) -> None:
        """A node that registers listens already, though perhaps not yet at the last reading."""
        path = table(tmp_path)
        tables = Listeners([path])
        assert await dialled_at(tables, PORT) == list(LOOPBACK)
        path.write_text(table(tmp_path, ("0700000A", PORT, "0A")).read_text())
        found: list[list[str]] = []

        async def ask() -> None:
            found.append(await dialled_at(tables, PORT))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
        assert found == [["10.0.0.7"]] * 100
        assert slowly == [0.0, pytest.approx(READING + LONGEST_PAUSE)]

    async def test_what_is_no_longer_fresh_does_not_count(
        self, tmp_path: Path, slowly: list[float], autojump_clock: trio.testing.MockClock
    ) -> None:
        path = table(tmp_path, ("0700000A", PORT, "0A"))
        tables = Listeners([path])
        await dialled_at(tables, PORT)
        path.write_text(HEAD)
        await trio.sleep(LONGEST_PAUSE)
        assert await dialled_at(tables, PORT) == list(LOOPBACK)


READING = 0.1


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> list[float]:
    """When the tables are read, which takes its time."""
    times: list[float] = []
    start = autojump_clock.current_time()

    def read(tables: Iterable[Path]) -> dict[int, list[Listener]]:
        times.append(trio.current_time() - start)
        autojump_clock.jump(READING)
        return listeners(tables)

    monkeypatch.setattr(local_addresses, "listeners", read)
    return times
