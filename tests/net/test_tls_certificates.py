"""Certificates that change while they are used: when that is seen, and what a half-done change does."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from epmdless.errors import ConfigError
from epmdless.net.tls.contexts import (
    WARN_DAYS,
    Certificates,
    Load,
    days_left,
    load_client_context,
    load_server_context,
)
from tests.net.tls_ends import GATEWAY, RELAY, both_ready, client_context, files, shake, shaken
from tests.support.certificates import Authority, Issued


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def gateway(authority: Authority) -> Issued:
    return authority.issue(GATEWAY)


@pytest.fixture
def relay(authority: Authority) -> Issued:
    return authority.issue(RELAY)


def loaded(issued: Issued | None, authority: Authority, load: Load = load_server_context) -> Certificates:
    return Certificates(files(issued, authority), "gateway.tls", load)


def test_an_expired_certificate_is_loaded(authority: Authority) -> None:
    expired = loaded(authority.issue(GATEWAY, expired=True), authority)
    assert days_left(expired.not_after, time.time()) == pytest.approx(-1, abs=0.1)


def test_the_end_and_the_names_are_our_own(authority: Authority) -> None:
    issued = authority.issue("GW.az-b.internal", "10.0.2.9", "spiffe://az-b/gw", days=9)
    own = loaded(issued, authority)
    assert own.names == (GATEWAY, "10.0.2.9", "spiffe://az-b/gw")
    assert days_left(own.not_after, time.time()) == pytest.approx(9, abs=0.1)


def test_without_a_certificate_there_are_no_names_and_no_end(authority: Authority) -> None:
    none = loaded(None, authority, load_client_context)
    assert (none.names, none.not_after) == ((), float("inf"))


def test_days_left() -> None:
    assert days_left(864_000.0, 0.0) == 10
    assert days_left(0.0, 86_400.0) == -1
    assert WARN_DAYS == 14


def test_files_that_stay_as_they_are_did_not_change(authority: Authority, gateway: Issued) -> None:
    certificates = loaded(gateway, authority)
    gateway.cert.read_bytes()
    assert not certificates.changed()


def _rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def _replaced(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    new.chmod(path.stat().st_mode)
    new.rename(path)


def _removed(path: Path) -> None:
    path.unlink()


def _barred(path: Path) -> None:
    path.chmod(0o700)


@pytest.mark.parametrize("part", ["cert", "key", "ca"])
@pytest.mark.parametrize("change", [_rewritten, _replaced, _removed, _barred])
def test_a_change_of_any_file_is_seen(
    authority: Authority, gateway: Issued, part: str, change: Callable[[Path], None]
) -> None:
    path = {"cert": gateway.cert, "key": gateway.key, "ca": authority.ca}[part]
    os.utime(path, ns=(0, 0))  # so that what is written now has another time
    certificates = loaded(gateway, authority)
    change(path)
    assert certificates.changed()


def test_certificates_renewed_by_a_turned_link_are_seen(tmp_path: Path) -> None:
    """As Kubernetes renews a mounted secret: ``cert`` goes through a link to a folder, which is turned."""
    authority = Authority(tmp_path)
    issued = {name: authority.issue(GATEWAY, days=days) for name, days in (("old", 5), ("new", 90))}
    for name, pair in issued.items():
        folder = tmp_path / name
        folder.mkdir()
        pair.cert.rename(folder / "tls.crt")
        pair.key.rename(folder / "tls.key")
    data = tmp_path / "data"
    data.symlink_to("old")
    certificates = loaded(Issued(data / "tls.crt", data / "tls.key"), authority)
    assert not certificates.changed()
    turned = tmp_path / "turned"
    turned.symlink_to("new")
    turned.rename(data)
    assert certificates.changed()
    renewed = certificates.reload()
    assert days_left(renewed.not_after, time.time()) == pytest.approx(90, abs=0.1)
    assert not certificates.changed()
    assert not renewed.changed()


def test_a_half_written_pair_is_one_error_and_is_tried_again(
    authority: Authority, gateway: Issued, relay: Issued
) -> None:
    certificates = loaded(gateway, authority)
    before = certificates.context
    new = authority.issue(GATEWAY)
    new.cert.rename(gateway.cert)
    assert certificates.changed()
    with pytest.raises(ConfigError, match="not the key of the certificate"):
        certificates.reload()
    assert not certificates.changed()
    assert certificates.context is before
    assert both_ready(*shaken(client_context(relay, authority), certificates.context))
    new.key.rename(gateway.key)
    assert certificates.changed()
    renewed = certificates.reload()
    assert both_ready(*shaken(client_context(relay, authority), renewed.context))


def test_a_key_with_a_wrong_mode_is_tried_again_when_that_is_mended(
    authority: Authority, gateway: Issued
) -> None:
    certificates = loaded(gateway, authority)
    gateway.key.chmod(0o644)
    with pytest.raises(ConfigError):
        certificates.reload()
    assert not certificates.changed()
    gateway.key.chmod(0o600)
    assert certificates.changed()


def test_links_that_are_up_stay_up_when_certificates_change(
    authority: Authority, gateway: Issued, relay: Issued, tmp_path: Path
) -> None:
    certificates = loaded(gateway, authority)
    near = client_context(relay, authority)
    client, server = shaken(near, certificates.context)
    authority.ca.write_bytes(Authority(tmp_path, "other").ca.read_bytes())
    renewed = certificates.reload()
    assert not both_ready(*shaken(near, renewed.context))
    client.tls.write(b"still here")
    shake(client, server)
    assert server.received == b"still here"


def test_loading_needs_no_right_to_change_anything(authority: Authority, gateway: Issued) -> None:
    for path in (gateway.cert, gateway.key, authority.ca):
        path.chmod(0o400)
    assert loaded(gateway, authority).names == (GATEWAY,)
