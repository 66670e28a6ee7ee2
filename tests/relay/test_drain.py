"""How a relay stops: links get their time, what was taken in is delivered, and each has its line."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.deadline import eventually
from tests.support.epmd_client import KILL, ask, lookup
from tests.support.link_sides import (
    FAR_ADDRESS,
    HANDSHAKE,
    FarHost,
    Near,
    frame,
    linked,
    passes,
)
from tests.support.ports import free_port
from tests.support.relays import WITHIN, RelayProgram, Settings, config_text, dialling, route_to, serving

LATE = "127.0.1.5"
"""A stand-in address whose ports open on demand."""


@pytest.fixture
def far_host() -> Iterator[FarHost]:
    with FarHost() as far_host:
        yield far_host


def text_of(far_host: FarHost, *more: Settings, drain: str = "30s", epmd_port: int | None = None) -> str:
    """A configuration whose EPMD serves nothing but the stand-in addresses."""
    return config_text(
        route_to(far_host),
        *more,
        before="[epmd]\nlisten = []\n[resolve]\nstatic = {late = 9}\n" if more else "[epmd]\nlisten = []\n",
        epmd_port=epmd_port or free_port(),
        drain=drain,
    )


def stop(relay: RelayProgram, links: int = 1) -> None:
    """Send SIGTERM once so many links are up, and wait until the relay has begun to stop."""
    relay.wait_for("linked", links)
    relay.program.signal(signal.SIGTERM)
    relay.wait_for("draining")


def test_without_links_it_ends_at_once(far_host: FarHost, tmp_path: Path) -> None:
    with serving(tmp_path, text_of(far_host)) as relay:
        relay.program.signal(signal.SIGTERM)
        assert relay.program.wait(WITHIN) == 0
        assert relay.events("draining") == []
        assert not relay.control.exists()


def test_links_go_on_until_their_nodes_end_them_and_then_it_ends(far_host: FarHost, tmp_path: Path) -> None:
    with serving(tmp_path, text_of(far_host)) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        stop(relay)
        assert passes(near, far)
        assert passes(far, near)
        assert not relay.program.ended
        near.close()
        assert far.end() == (b"", "closed")
        far.close()
        assert relay.program.wait(WITHIN) == 0
        assert relay.end_of(near)["end"] == "near_closed"


def test_when_the_time_is_up_links_end_as_drained(far_host: FarHost, tmp_path: Path) -> None:
    with serving(tmp_path, text_of(far_host, drain="300ms")) as relay, ExitStack() as stack:
        nears = [stack.enter_context(dialling(far_host)) for _ in range(5)]
        fars = [linked(near, far_host) for near in nears]
        stop(relay, 5)
        for side in (*nears, *fars):
            assert side.end() == (b"", "closed")
            side.close()
        assert relay.program.wait(WITHIN) == 0
        assert [relay.end_of(near)["end"] for near in nears] == ["drained"] * 5


def test_what_was_taken_in_is_delivered_to_a_slow_reader(far_host: FarHost, tmp_path: Path) -> None:
    """The near side fills all buffers; the far side begins to read when the relay has begun to stop."""
    with serving(tmp_path, text_of(far_host, drain="6s")) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        sent = fill(near)
        (view,) = relay.links()
        assert view["far"]["unsent"] > 0
        stop(relay)
        near.sock.shutdown(socket.SHUT_WR)
        taken, end = far.end()
        assert (len(taken), end) == (sent, "closed")
        far.close()
        assert relay.program.wait(WITHIN) == 0


def test_what_was_taken_in_is_delivered_when_the_time_is_up(far_host: FarHost, tmp_path: Path) -> None:
    """Of what the relay has not read of the near side, nothing is promised."""
    with serving(tmp_path, text_of(far_host, drain="1s")) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        fill(near)
        stop(relay)
        taken, end = far.end()
        assert end == "closed"
        far.close()
        assert relay.program.wait(WITHIN) == 0
        line = relay.end_of(near)
        assert line["end"] == "drained"
        assert line["near_to_far_bytes"] == len(taken)


def fill(near: Near) -> int:
    """Send frames until nothing more is taken; how many bytes were."""
    near.sock.settimeout(0.2)
    sent = 0
    try:
        while True:
            sent += near.sock.send(frame(b"x" * 65532))
    except TimeoutError:
        near.sock.settimeout(WITHIN)
        return sent


def test_a_second_signal_ends_it_now(far_host: FarHost, tmp_path: Path) -> None:
    with serving(tmp_path, text_of(far_host)) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        stop(relay)
        relay.program.signal(signal.SIGHUP)
        assert passes(near, far)
        relay.program.signal(signal.SIGTERM)
        assert near.sees_the_end()
        assert far.sees_the_end()
        assert relay.program.wait(WITHIN) == 0
        assert relay.end_of(near)["end"] == "drained"
        assert len(relay.events("stopping now")) == 1


def test_links_that_are_being_set_up_end_at_once(far_host: FarHost, tmp_path: Path) -> None:
    with serving(tmp_path, text_of(far_host)) as relay, dialling(far_host) as near, ExitStack() as stack:
        far = linked(near, far_host)
        silent = stack.enter_context(dialling(far_host))
        begun = stack.enter_context(dialling(far_host))
        other = linked(begun, far_host, HANDSHAKE[:4])
        eventually(lambda: len(relay.links()) == 3, within=WITHIN, what="three links")
        stop(relay)
        for side in (silent, begun, other):
            assert side.sees_the_end()
        assert [relay.end_of(side)["end"] for side in (silent, begun)] == ["drained", "drained"]
        assert passes(near, far)


def test_while_it_drains_nobody_new_is_let_in(far_host: FarHost, tmp_path: Path) -> None:
    """A near node must learn at once that it has to look elsewhere."""
    epmd_port = free_port()
    late = {"host": "b5.test", "listen": LATE, "dial": FAR_ADDRESS, "resolve": ["static"]}
    text = text_of(far_host, late, epmd_port=epmd_port)
    with serving(tmp_path, text) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        stop(relay)
        with pytest.raises(ConnectionRefusedError):
            dialling(far_host)
        assert lookup(epmd_port, "late", LATE) is None
        assert passes(near, far)


def test_kill_is_refused_while_links_live(far_host: FarHost, tmp_path: Path) -> None:
    port = free_port()
    text = config_text(
        route_to(far_host), before=f'[epmd]\nlisten = ["127.0.0.1:{port}"]\n', epmd_port=free_port()
    )
    with serving(tmp_path, text) as relay:
        with dialling(far_host) as near:
            far = linked(near, far_host)
            assert ask(port, KILL) == b"NO"
            assert passes(near, far)
            far.close()
        eventually(lambda: not relay.links(), within=WITHIN, what="the link's end")
        assert ask(port, KILL) == b"OK"
        assert relay.program.wait(WITHIN) == 0


def test_a_relaxed_kill_ends_links_as_drained(far_host: FarHost, tmp_path: Path) -> None:
    port = free_port()
    text = config_text(
        route_to(far_host),
        before=f'[epmd]\nlisten = ["127.0.0.1:{port}"]\nrelaxed_command_check = true\n',
        epmd_port=free_port(),
    )
    with serving(tmp_path, text) as relay, dialling(far_host) as near:
        far = linked(near, far_host)
        assert ask(port, KILL) == b"OK"
        assert near.sees_the_end()
        assert far.sees_the_end()
        assert relay.program.wait(WITHIN) == 0
        assert relay.end_of(near)["end"] == "drained"


def test_connections_that_wait_when_it_starts_are_served(far_host: FarHost, tmp_path: Path) -> None:
    """Near nodes dial again and again while the relay is away: the first may come before all is set up."""
    relay = RelayProgram(tmp_path, text_of(far_host, drain="0s"))
    with relay.program:

        def early() -> Near | None:
            try:
                return dialling(far_host)
            except ConnectionRefusedError:
                return None

        with eventually(early, within=WITHIN, what=relay.program.report) as near:
            assert passes(near, linked(near, far_host))
        assert relay.events("internal error") == []
