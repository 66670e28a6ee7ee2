"""Certificates while the gateway runs: replaced under traffic, half written, wrong, and near their end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from epmdless import metrics
from epmdless.errors import ConfigError
from epmdless.metrics import Metrics
from epmdless.net.tls.contexts import Certificates, load_server_context
from epmdless.net.tls.keeper import LOOK, CertificateKeeper
from tests.gateway.clients import Client, context_of, gateway, prepared, reload, text, tunnelled
from tests.net.tls_ends import client_context, files
from tests.support.certificates import Authority, Issued
from tests.support.hops import CLIENT, GATEWAY, Certified
from tests.support.link_sides import FarHost, passes
from tests.support.relays import Lines, RelayHere, serving

ROLE = "gateway"
DAY = 86_400.0


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    return Certified.in_folder(tmp_path)


def put(issued: Issued, there: Issued, *, key: bool = True) -> None:
    """Put a certificate into the place of another, as a renewal does."""
    shutil.copyfile(issued.cert, there.cert)
    if key:
        shutil.copyfile(issued.key, there.key)


class Kept:
    """A keeper with a gateway's certificates, and what became of them."""

    def __init__(self, certified: Certified, issued: Issued | None = None) -> None:
        self.counts, self.lines = Metrics(), Lines()
        self.keeper = CertificateKeeper(self.counts, self.lines)
        self.renewed: list[Certificates] = []
        self.issued = issued or certified.gateway
        self.authority = certified.authority
        self.keep()

    def keep(self) -> None:
        """Load them, and give them to the keeper, as each SIGHUP does."""
        loaded = Certificates(files(self.issued, self.authority), "gateway.tls", load_server_context)
        self.keeper.keep(ROLE, loaded, self.renewed.append)

    async def look(self, times: int = 1) -> None:
        """Let it look so many times."""
        with trio.move_on_after(times * LOOK + 1):
            await self.keeper.serve()

    def events(self) -> list[str]:
        """What it logged."""
        return [str(line["event"]) for line in self.lines]

    @property
    def end(self) -> float:
        """The metric."""
        return self.counts.value(metrics.CERTIFICATE_END, ROLE)


async def test_changed_files_are_loaded_once(certified: Certified, autojump_clock: object) -> None:
    kept = Kept(certified)
    before = kept.end
    await kept.look(3)
    assert (kept.renewed, kept.events()) == ([], [])
    put(certified.authority.issue(GATEWAY, days=60), certified.gateway)
    await kept.look(3)
    (renewed,) = kept.renewed
    assert kept.events() == ["certificates reloaded"]
    assert kept.end == renewed.not_after == pytest.approx(before + 30 * DAY, abs=60)


async def test_a_half_written_pair_is_one_line_and_the_other_half_mends_it(
    certified: Certified, autojump_clock: object
) -> None:
    kept = Kept(certified)
    before = kept.end
    new = certified.authority.issue(GATEWAY, days=60)
    put(new, certified.gateway, key=False)
    await kept.look(5)
    assert (kept.renewed, kept.events(), kept.end) == ([], ["certificates not reloaded"], before)
    put(new, certified.gateway)
    await kept.look(2)
    assert kept.events() == ["certificates not reloaded", "certificates reloaded"]
    assert kept.end > before


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff" * 500)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


def endless(path: Path) -> None:
    path.write_bytes(b"x" * (2 << 20))


def readable(path: Path) -> None:
    path.chmod(0o644)


def wrong_content(path: Path) -> None:
    """A certificate whose bytes are no certificate."""
    path.write_text("-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("spoil", [cut_off, garbage, empty, gone, endless, wrong_content])
@pytest.mark.parametrize("which", ["cert", "key", "ca"])
async def test_what_cannot_be_loaded_leaves_the_old_in_force(
    certified: Certified, autojump_clock: object, spoil: Callable[[Path], None], which: str
) -> None:
    kept = Kept(certified)
    path = certified.authority.ca if which == "ca" else getattr(certified.gateway, which)
    before, secret = kept.end, certified.gateway.key.read_text()
    spoil(path)
    await kept.look(4)
    assert (kept.renewed, kept.end) == ([], before)
    (line,) = kept.lines
    assert (line["event"], line["level"]) == ("certificates not reloaded", "error")
    assert str(path) in line["error"]
    assert secret.splitlines()[1] not in str(kept.lines)


async def test_a_key_that_others_can_read_is_not_loaded(certified: Certified, autojump_clock: object) -> None:
    kept = Kept(certified)
    readable(certified.gateway.key)
    await kept.look(2)
    (line,) = kept.lines
    assert "chmod 400" in line["error"]
    certified.gateway.key.chmod(0o600)
    await kept.look(1)
    assert kept.events()[1:] == ["certificates reloaded"]


async def test_a_lack_that_passes_is_tried_again(
    certified: Certified, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few descriptors for a moment: the process goes on, and loads what is new as soon as it can."""

    def no_more(*_: object) -> int:
        raise OSError(24, "Too many open files")

    kept = Kept(certified)
    put(certified.authority.issue(GATEWAY, days=60), certified.gateway)
    with monkeypatch.context() as patched:
        patched.setattr(os, "memfd_create", no_more)
        await kept.look(3)
        assert kept.events() == ["certificates not reloaded"]
    await kept.look(1)
    assert kept.events() == ["certificates not reloaded", "certificates reloaded"]
    assert len(kept.renewed) == 1


@pytest.mark.parametrize(
    ("days", "event"),
    [(15, None), (13.9, "certificate ends soon"), (0.1, "certificate ends soon")],
)
async def test_the_end_is_warned_about_from_14_days_on(
    certified: Certified, autojump_clock: object, days: float, event: str | None
) -> None:
    kept = Kept(certified, certified.authority.issue(GATEWAY, days=days))
    await kept.look(3)
    assert kept.events() == ([event] if event else [])
    assert kept.end == pytest.approx(time.time() + days * DAY, abs=60)
    if event:
        (line,) = kept.lines
        assert (line["role"], line["file"], line["days"]) == (ROLE, str(kept.issued.cert), round(days, 1))


async def test_what_has_ended_is_said_to_have(certified: Certified, autojump_clock: object) -> None:
    assert Kept(certified, certified.authority.issue(GATEWAY, expired=True)).events() == [
        "certificate has ended"
    ]


async def test_warnings_come_daily_and_not_at_each_reload(
    certified: Certified, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [1000.0]
    monkeypatch.setattr("epmdless.net.tls.keeper.time.monotonic", lambda: seconds[0])
    kept = Kept(certified, certified.authority.issue(GATEWAY, days=5))
    for _ in range(3):
        kept.keep()
        await kept.look(1)
    assert len(kept.lines) == 1
    seconds[0] += DAY + 1
    await kept.look(2)
    assert len(kept.lines) == 2
    put(certified.authority.issue(GATEWAY, days=6), kept.issued)
    await kept.look(2)
    assert kept.events()[2:] == ["certificates reloaded", "certificate ends soon"]


async def test_what_is_forgotten_has_no_metric(certified: Certified, autojump_clock: object) -> None:
    kept = Kept(certified)
    kept.keeper.forget(ROLE)
    put(certified.authority.issue(GATEWAY, days=60), certified.gateway)
    await kept.look(2)
    assert (kept.renewed, kept.events(), list(kept.counts.samples(metrics.CERTIFICATE_END))) == ([], [], [])


def serial(client: Client) -> object:
    """Of the gateway's certificate, as the client sees it."""
    certificate = client.sock.getpeercert()  # type: ignore[attr-defined]
    return certificate["serialNumber"]


def renew(here: RelayHere) -> None:
    """Have the gateway's keeper load what changed, as its look does."""
    keeper = here.gateway._keeper
    here.call(keeper._reload, ROLE, keeper._kept[ROLE])


def test_new_connections_meet_the_new_certificate(certified: Certified, far_host: FarHost) -> None:
    """And those that are up go on with what they have: a tunnel, and one that waits."""
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as near:
        far = tunnelled(near, far_host)
        with Client(here.gateway_port, context_of(certified)) as ready:
            assert ready.options().status == 200
            put(certified.authority.issue(GATEWAY, days=60), certified.gateway)
            renew(here)
            assert passes(near, far)
            assert passes(far, near)
            assert ready.options().status == 200
            with Client(here.gateway_port, context_of(certified)) as new:
                assert new.options().status == 200
                assert serial(new) != serial(ready)
        far.close()
        assert near.end() == (b"", "closed")


def test_a_new_ca_lets_in_its_own_clients_only(certified: Certified, far_host: FarHost) -> None:
    """A ticket of the old context is worth nothing there."""
    other = Authority(certified.authority.folder, "other")
    old_ca = certified.authority.ca.read_bytes()
    trusts_gateway = context_of(certified)
    with gateway(certified) as here, Client(here.gateway_port, trusts_gateway) as near:
        far = tunnelled(near, far_host)
        certified.authority.ca.write_bytes(other.ca.read_bytes())
        renew(here)
        assert passes(near, far)
        with (
            pytest.raises(OSError, match=r"UNKNOWN_CA|unknown ca"),
            Client(here.gateway_port, trusts_gateway) as c,
        ):
            c.sock.recv(1)
        certified.authority.ca.write_bytes(old_ca)
        context = client_context(None, certified.authority)
        mine = other.issue(CLIENT)
        context.load_cert_chain(mine.cert, mine.key)
        with Client(here.gateway_port, context) as client:
            assert client.options().status == 200
        far.close()
        assert near.end() == (b"", "closed")


def test_a_certificate_that_ends_while_it_waits(
    certified: Certified, far_host: FarHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was good at the handshake may not be at the request."""
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as client:
        assert client.options().status == 200
        later = time.time() + 40 * DAY
        monkeypatch.setattr("epmdless.gateway.session.time.time", lambda: later)
        response = client.connect("127.0.0.1", far_host.port)
        assert response.status == 403
        assert "ended" in response.body.decode()


def test_sighup_takes_on_certificates_and_rules(
    certified: Certified, far_host: FarHost, tmp_path: Path
) -> None:
    """As a program: under traffic; a bad file leaves all as it was."""
    configuration = text(certified, port=0)
    with serving(tmp_path, "[epmd]\nlisten = []\n" + configuration) as relay:
        (listen,) = relay.events("started")[0]["gateway"]
        port = int(listen.rpartition(":")[2])
        with Client(port, context_of(certified)) as near:
            far = tunnelled(near, far_host)
            fixed = "[epmd]\nlisten = []\n" + text(certified, port=port)
            put(certified.authority.issue(GATEWAY, days=60), certified.gateway)
            assert relay.reload(fixed)["event"] == "configuration reloaded"
            with Client(port, context_of(certified)) as new:
                assert serial(new) != serial(near)
            key = certified.gateway.key.read_bytes()
            certified.gateway.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nsecret\n")
            line = relay.reload(fixed)
            assert line["event"] == "configuration not reloaded"
            assert "gateway.tls.key" in line["error"]
            assert "secret" not in line["error"]
            with Client(port, context_of(certified)) as new:
                assert new.options().status == 200
            certified.gateway.key.write_bytes(key)
            assert passes(near, far)
            far.close()
            assert near.end() == (b"", "closed")


def test_a_configuration_with_a_bad_file_is_not_taken_on(certified: Certified) -> None:
    with gateway(certified) as here:
        good = text(certified)
        certified.gateway.cert.unlink()
        with pytest.raises(ConfigError, match=r"gateway\.tls\.cert"):
            prepared(good)
        with Client(here.gateway_port, context_of(certified)) as client:
            assert client.options().status == 200


def test_a_reload_with_the_same_files_changes_nothing(certified: Certified, far_host: FarHost) -> None:
    with gateway(certified) as here, Client(here.gateway_port, context_of(certified)) as ready:
        assert ready.options().status == 200
        reload(here, text(certified, port=here.gateway_port))
        assert passes(ready, tunnelled(ready, far_host))
