"""A gateway whose rules change while it runs, and one that stops. What it logs holds no secret."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from epmdless.config import decode
from epmdless.errors import ConfigError, ListenError
from epmdless.wire.connect import encode_connect
from tests.gateway.clients import (
    FROM_LOOPBACK,
    Client,
    closed,
    context_of,
    gateway,
    prepared,
    raw,
    reload,
    stranger,
    text,
    tunnelled,
    wait_for,
)
from tests.gateway.test_requests import deaf_port
from tests.support.deadline import eventually
from tests.support.hops import ALLOW, CLIENT, GATEWAY_ADDRESS, Certified
from tests.support.link_sides import COOKIE, FAR_ADDRESS, FarHost, linked, passes
from tests.support.relays import WITHIN, RelayProgram, serving

NOBODY = {**ALLOW, "client": "nobody.test"}
NO_EPMD = "[epmd]\nlisten = []\n"


def test_who_is_taken_out_of_allow_gets_no_more(certified: Certified, far_host: FarHost) -> None:
    """Also on a connection that was ready before; a tunnel that is up goes on."""
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as near:
        far = tunnelled(near, far_host)
        with Client(here.gateway_port, context_of(certified)) as ready:
            assert ready.options().status == 200
            reload(here, text(certified, NOBODY, port=here.gateway_port))
            response = ready.connect(FAR_ADDRESS, far_host.port)
            assert (response.status, response.body) == (
                403,
                b"gateway.allow: no entry is for this client\n",
            )
        assert passes(near, far)
        assert passes(far, near)
        reload(here, text(certified, port=here.gateway_port))
        with Client(here.gateway_port, context_of(certified)) as again:
            assert passes(again, tunnelled(again, far_host))
        far.close()
        assert near.end() == (b"", "closed")


def test_a_tunnel_that_is_being_set_up_when_the_rules_change_is_judged_as_it_was_opened(
    certified: Certified, far_host: FarHost
) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as near:
        assert near.connect(FAR_ADDRESS, far_host.port).status == 200
        reload(here, text(certified, NOBODY, port=here.gateway_port))
        assert passes(near, linked(near, far_host))  # type: ignore[arg-type]


def test_a_gateway_that_is_taken_out(certified: Certified, far_host: FarHost) -> None:
    """Who waits is closed; tunnels go on, also those that are being set up."""
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as near:
        far = tunnelled(near, far_host)
        port = here.gateway_port
        with (
            Client(port, context_of(certified)) as begun,
            Client(port, context_of(certified)) as ready,
            raw(port) as silent,
        ):
            assert ready.options().status == 200
            assert begun.connect(FAR_ADDRESS, far_host.port).status == 200
            wait_for(here, handshake=1, ready=1, tunnel=2)
            reload(here, "")
            assert ready.end()[0] == b""
            assert silent.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                raw(port)
            assert passes(begun, linked(begun, far_host))  # type: ignore[arg-type]
            assert passes(near, far)
            reload(here, text(certified, port=port))
            with Client(port, context_of(certified)) as again:
                assert again.options().status == 200


def test_who_showed_no_certificate_is_closed_when_tls_comes(certified: Certified, far_host: FarHost) -> None:
    with gateway(None, FROM_LOOPBACK) as here, Client(here.gateway_port, None) as near:
        far = tunnelled(near, far_host)
        with Client(here.gateway_port, None) as ready:
            assert ready.options().status == 200
            reload(here, text(certified, {**ALLOW, "client": "*"}, port=here.gateway_port))
            assert ready.end()[0] == b""
        assert passes(near, far)
        with Client(here.gateway_port, context_of(certified)) as known:
            assert known.options().status == 200


def test_an_address_that_cannot_be_had_leaves_all_as_it_was(certified: Certified) -> None:
    with (
        gateway(certified) as here,
        FarHost(GATEWAY_ADDRESS) as taken,
        Client(here.gateway_port, context_of(certified)) as ready,
    ):
        wait_for(here, ready=1)
        with pytest.raises(ListenError):
            reload(here, text(certified, NOBODY, port=taken.port))
        assert ready.options().status == 200


def test_lower_limits_end_nothing(certified: Certified, far_host: FarHost) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as near:
        far = tunnelled(near, far_host)
        limits = {"max_connections": 1, "max_handshakes": 1, "max_tunnels_per_client": 1}
        reload(here, text(certified, keys=limits, port=here.gateway_port))
        assert passes(near, far)


# Stopping, as a program.


def port_of(relay: RelayProgram) -> int:
    (listen,) = relay.events("started")[0]["gateway"]
    return int(str(listen).rpartition(":")[2])


def test_a_drain(certified: Certified, far_host: FarHost, tmp_path: Path) -> None:
    """Who waits is closed, nobody gets in, tunnels go on until their nodes end them; then it ends."""
    with serving(tmp_path, NO_EPMD + text(certified)) as relay:
        port, context = port_of(relay), context_of(certified)
        with Client(port, context) as near, Client(port, context) as ready, raw(port) as silent:
            far = tunnelled(near, far_host)
            assert ready.options().status == 200
            relay.wait_for("linked")
            relay.program.signal(signal.SIGTERM)
            relay.wait_for("draining")
            assert ready.end()[0] == b""
            assert silent.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                raw(port)
            assert passes(near, far)
            assert passes(far, near)
            assert not relay.program.ended
            near.close()
            assert far.end() == (b"", "closed")
            far.close()
            assert relay.program.wait(WITHIN) == 0
            assert relay.end_of(near)["end"] == "near_closed"


def test_a_drain_whose_time_is_up(certified: Certified, far_host: FarHost, tmp_path: Path) -> None:
    """Tunnels end as drained, cleanly: TLS's own end is said."""
    short = '[relay]\ndrain = "300ms"\n'
    with (
        serving(tmp_path, NO_EPMD + short + text(certified, keys={"drain": "300ms"})) as relay,
        Client(port_of(relay), context_of(certified)) as near,
    ):
        far = tunnelled(near, far_host)
        relay.wait_for("linked")
        relay.program.signal(signal.SIGTERM)
        assert near.end() == (b"", "closed")
        assert far.end() == (b"", "closed")
        near.close()
        far.close()
        assert relay.program.wait(WITHIN) == 0
        assert relay.end_of(near)["end"] == "drained"


def test_who_is_being_dialled_for_at_a_stop_is_not_linked(
    certified: Certified, far_host: FarHost, tmp_path: Path
) -> None:
    """Nothing was carried yet: it ends at once, while a tunnel goes on."""
    with (
        serving(tmp_path, NO_EPMD + text(certified)) as relay,
        deaf_port() as deaf,
        Client(port_of(relay), context_of(certified)) as near,
        Client(port_of(relay), context_of(certified)) as late,
    ):
        far = tunnelled(near, far_host)
        relay.wait_for("linked")
        late.sock.sendall(encode_connect(FAR_ADDRESS, deaf))
        eventually(lambda: len(relay.links()) == 2, within=WITHIN, what=relay.program.report)
        relay.program.signal(signal.SIGTERM)
        assert late.end()[0] == b""
        assert relay.end_of(late)["end"] == "drained"
        assert passes(near, far)
        far.close()
        assert near.end() == (b"", "closed")
        near.close()
        assert relay.program.wait(WITHIN) == 0


# Secrets.


def test_no_secret_in_the_log(certified: Certified, far_host: FarHost) -> None:
    """Neither keys, nor digests, nor what a client sent in place of a request."""
    secret = "hunter2-and-more"  # in place of what a client should not have sent
    with gateway(certified) as here:
        with Client(here.gateway_port, context_of(certified)) as near:
            far = tunnelled(near, far_host)
            near.sock.sendall(secret.encode())
            assert far.read(len(secret)) == secret.encode()
            far.close()
            near.end()
        for said in (
            f"CONNECT b1.test:9 HTTP/1.1\r\nHost: b1.test\r\nProxy-Authorization: Basic {secret}\r\n\r\n",
            f"{secret}: is no request\r\n\r\n",
            f"GET /{secret} HTTP/1.1\r\nHost: b1.test\r\n\r\n",
            f"CONNECT {secret}@b1.test:9 HTTP/1.1\r\nHost: b1.test\r\n\r\n",
            f"CONNECT b1.test:9 HTTP/1.1\r\nHost: b1.test\r\n{secret}\r\n\r\n",
        ):
            with Client(here.gateway_port, context_of(certified)) as client:
                response = client.ask(said.encode())
                assert secret not in str(response)
        with raw(here.gateway_port) as sock:
            sock.sendall(secret.encode())
            assert len(sock.recv(7)) <= 7
        with pytest.raises(OSError), Client(here.gateway_port, stranger(certified, None)) as client:  # noqa: PT011 - whatever it says
            client.sock.recv(1)
        here.wait_for_ends(2)
        wait_for(here)
    log = str(here.lines)
    assert closed(here, "no_certificate") == 1
    assert secret not in log
    assert COOKIE.decode() not in log
    for issued in (certified.client, certified.gateway):
        for line in issued.key.read_text().splitlines()[1:-1]:
            assert line not in log


def test_a_mistake_in_a_key_file_does_not_show_it(certified: Certified, tmp_path: Path) -> None:
    configuration = text(certified)
    spoiled = tmp_path / "spoiled.key"
    content = certified.gateway.key.read_text().splitlines()
    spoiled.touch(mode=0o600)
    spoiled.write_text("\n".join([content[0], content[1][:-4], *content[2:]]))
    with pytest.raises(ConfigError) as refused:
        prepared(configuration.replace(str(certified.gateway.key), str(spoiled)))
    assert content[1][:20] not in str(refused.value)
    assert decode(configuration, "test.toml").gateway is not None
    assert CLIENT not in str(refused.value)
