"""`epmdless certs`: certificates that work, in files that nobody else reads and nothing overwrites."""

import json
import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from epmdless.cli import private_ca
from epmdless.cli.private_ca import parse_zones
from epmdless.errors import ConfigError, EpmdlessError
from epmdless.net.tls.contexts import TlsFiles, load_client_context, load_server_context
from epmdless.net.tls.identity import peer_certificate, peer_names
from tests.cli.command import as_json, complaint, epmdless, printed
from tests.net.tls_ends import both_ready, shaken
from tests.support.certificates import Authority

DAYS = 825

EVERYWHERE = ("localhost", "127.0.0.1", "::1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def made(folder: Path, *zones: str) -> None:
    private_ca.init(folder, parse_zones(zones), DAYS)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def tls(folder: Path, zone: str) -> TlsFiles:
    return TlsFiles(str(folder / f"{zone}.crt"), str(folder / f"{zone}.key"), str(folder / "ca.crt"))


def met(folder: Path, near: str, far: str, host: str) -> tuple[str, ...]:
    """The names by which the far zone knows the near one, both under OpenSSL's strict rules."""
    client = load_client_context(tls(folder, near), "hop.b.tls")
    server = load_server_context(tls(folder, far), "gateway.tls")
    for context in (client, server):
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # create_default_context sets it since Python 3.13
    ends = shaken(client, server, host)
    assert both_ready(*ends), [end.error for end in ends]
    return peer_names(peer_certificate(ends[1].tls))


# What is made


def test_a_ca_and_a_pair_for_each_zone(folder: Path) -> None:
    text = printed("certs", "init", folder, "--zone", "az-a=relay.az-a.internal", "--zone", "az-b")
    assert set(contents(folder)) == {"ca.crt", "ca.key", "az-a.crt", "az-a.key", "az-b.crt", "az-b.key"}
    until = f"{datetime.now(UTC) + timedelta(DAYS):%Y-%m-%d}"
    rows = [line.split(maxsplit=2) for line in map(str.rstrip, text.splitlines())]
    assert [str(folder / "az-a.crt"), until, "relay.az-a.internal, localhost, 127.0.0.1, ::1"] in rows
    assert [str(folder / "az-a.key"), "az-a", "alone"] in rows
    assert f'cert = "{folder}/az-a.crt", key = "{folder}/az-a.key", ca = "{folder}/ca.crt"' in text
    assert text.splitlines()[-1] == f"for one more zone: epmdless certs add {folder} --zone NAME"


def test_zones_meet_with_what_was_made(folder: Path) -> None:
    made(folder, "az-a=relay.az-a.internal,spiffe://az-a/relay,10.0.1.9", "az-b=*.az-b.internal,2001:db8::1")
    for host in ("gw1.az-b.internal", "localhost", "127.0.0.1", "::1", "2001:db8::1"):
        names = ("relay.az-a.internal", "spiffe://az-a/relay", "10.0.1.9", *EVERYWHERE)
        assert met(folder, "az-a", "az-b", host) == names
    assert met(folder, "az-b", "az-a", "relay.az-a.internal")[0] == "*.az-b.internal"


def test_a_zone_without_names_has_its_own(folder: Path) -> None:
    made(folder, "az-b")
    assert met(folder, "az-b", "az-b", "az-b") == ("az-b", *EVERYWHERE)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_keys_are_for_their_owner_only(folder: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        made(folder, "az-a")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes["ca.key"] == modes["az-a.key"] == 0o600
    assert modes["ca.crt"] == modes["az-a.crt"] == 0o644 & ~mask


def test_the_ca_is_for_leaves_alone_and_good_for_ten_years(folder: Path) -> None:
    made(folder, "az-a")
    ca = certificate(folder / "ca.crt")
    basics = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basics.critical, basics.value.ca, basics.value.path_length) == (True, True, 0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert ca.not_valid_after_utc - ca.not_valid_before_utc == timedelta(days=3650, hours=1)


@pytest.mark.parametrize("days", [1, 3650])
def test_so_many_days(folder: Path, days: int) -> None:
    document = as_json("certs", "init", folder, "--zone", "az-a", "--days", str(days))
    until = datetime.fromisoformat(document["zones"][0]["not_after"])
    assert until == certificate(folder / "az-a.crt").not_valid_after_utc
    left = until - datetime.now(UTC)
    assert timedelta(days=days, minutes=-5) < left <= timedelta(days=days)
    assert until <= datetime.fromisoformat(document["ca"]["not_after"])


def test_a_certificate_ends_with_its_ca_at_the_latest(folder: Path) -> None:
    folder.mkdir()
    authority = Authority(folder)
    private_ca.add(folder, parse_zones(["az-a"]), 3650)
    issued, ca = certificate(folder / "az-a.crt"), certificate(authority.ca)
    assert issued.not_valid_after_utc == ca.not_valid_after_utc


def test_two_cas_have_two_names(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made(tmp_path / name, "az-a")
    subjects = [certificate(tmp_path / name / "ca.crt").subject for name in ("one", "two")]
    assert subjects[0] != subjects[1]


def test_the_document_names_every_file(folder: Path) -> None:
    document = as_json("certs", "init", folder, "--zone", "az-a=a.internal", "--zone", "az-b")
    assert document["ca"]["new"] is True
    assert document["ca"]["cert"] == str(folder / "ca.crt")
    assert document["ca"]["key"] == str(folder / "ca.key")
    first, second = document["zones"]
    assert (first["zone"], second["zone"]) == ("az-a", "az-b")
    assert first["names"] == ["a.internal", *EVERYWHERE]
    assert (first["cert"], first["key"]) == (str(folder / "az-a.crt"), str(folder / "az-a.key"))


def test_paths_in_the_document_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document = as_json("certs", "init", "here", "--zone", "az-a")
    assert document["ca"]["cert"] == str(tmp_path / "here/ca.crt")


def test_a_folder_is_shown_as_it_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "[bold] a\nb"
    text = printed("certs", "init", folder, "--zone", "az-a")
    assert f"{tmp_path}/[bold] a\\nb/az-a.crt" in text


def test_no_key_is_printed(folder: Path) -> None:
    text = printed("certs", "init", folder, "--zone", "az-a")
    text += json.dumps(as_json("certs", "add", folder, "--zone", "az-b"))
    for path in folder.glob("*.key"):
        assert path.read_text().splitlines()[1] not in text


# Further zones


def test_a_further_zone_is_signed_by_the_ca_that_is_there(folder: Path) -> None:
    made(folder, "az-a")
    before = contents(folder)
    document = as_json("certs", "add", folder, "--zone", "az-c=gw.az-c.internal")
    assert document["ca"]["new"] is False
    after = contents(folder)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"az-c.crt", "az-c.key"}
    assert met(folder, "az-a", "az-c", "gw.az-c.internal") == ("az-a", *EVERYWHERE)


def test_a_further_zone_in_the_table(folder: Path) -> None:
    made(folder, "az-a")
    text = printed("certs", "add", folder, "--zone", "az-c")
    assert str(folder / "az-c.crt") in text
    assert "ca.key" not in text


def test_there_must_be_a_ca(folder: Path) -> None:
    said = complaint(2, "certs", "add", folder, "--zone", "az-c")
    assert said == f"{folder}/ca.crt: is not there: make a CA first, with epmdless certs init"
    assert not folder.exists()


def refusal(folder: Path, *zones: str) -> str:
    """Why no zone can be added; nothing was written."""
    before = contents(folder)
    with pytest.raises(ConfigError) as caught:
        private_ca.add(folder, parse_zones(zones), DAYS)
    assert contents(folder) == before
    return str(caught.value)


def test_the_ca_must_be_able_to_sign(folder: Path, tmp_path: Path) -> None:
    made(folder, "az-a")
    right = contents(folder)
    ca, key = folder / "ca.crt", folder / "ca.key"

    key.write_bytes(right["az-a.key"])
    assert refusal(folder, "az-c") == f"{key}: not the key of {ca}"
    ca.write_bytes(right["az-a.crt"])
    assert refusal(folder, "az-c") == f"{ca}: not a certificate of a CA"
    ca.write_bytes(b"nothing")
    assert refusal(folder, "az-c") == f"{ca}: holds no certificate in PEM"
    ca.write_bytes(right["ca.crt"])
    key.write_bytes(b"nothing")
    assert refusal(folder, "az-c") == f"{key}: holds no private key in PEM"
    key.write_bytes(right["ca.key"])
    key.chmod(0o644)
    assert "must be accessible by its owner only" in refusal(folder, "az-c")


def test_an_encrypted_key_of_a_ca(folder: Path) -> None:
    made(folder, "az-a")
    path = folder / "ca.key"
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a")))
    assert refusal(folder, "az-c") == f"{path}: the key is encrypted, which is not supported"


def test_an_expired_ca(folder: Path) -> None:
    folder.mkdir()
    old = Authority(folder, "old").issue("old", expired=True, ca=True)
    old.cert.rename(folder / "ca.crt")
    old.key.rename(folder / "ca.key")
    assert "has expired: make a new CA in another folder" in refusal(folder, "az-c")


# Nothing is overwritten


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "az-a.crt", "az-a.key", "az-b.crt", "az-b.key"])
def test_what_is_there_stays_and_nothing_is_written(folder: Path, name: str) -> None:
    folder.mkdir()
    (folder / name).write_text("mine")
    said = complaint(2, "certs", "init", folder, "--zone", "az-a", "--zone", "az-b")
    assert said.startswith(f"{folder}/{name}: is there already, and nothing is overwritten")
    assert ("certs add" in said) is name.startswith("ca.")
    assert contents(folder) == {name: b"mine"}


def test_a_link_that_leads_nowhere_is_there_too(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "az-a.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is there already"):
        made(folder, "az-a")
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_run_is_an_error(folder: Path) -> None:
    made(folder, "az-a")
    before = contents(folder)
    assert epmdless("certs", "init", folder, "--zone", "az-a").status == 2
    assert epmdless("certs", "add", folder, "--zone", "az-b", "--zone", "az-a").status == 2
    assert contents(folder) == before


def test_a_file_that_comes_in_between_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not there when that was checked; what was written by then is removed again."""
    folder.mkdir()
    (folder / "az-b.crt").write_text("mine")
    monkeypatch.setattr(private_ca, "_refuse_present", lambda *_: None)
    with pytest.raises(ConfigError, match=r"az-b\.crt: is there already"):
        made(folder, "az-a", "az-b")
    assert contents(folder) == {"az-b.crt": b"mine"}


def test_a_disk_that_is_full_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = private_ca._write

    def full(path: Path, content: bytes, written: list[Path]) -> None:
        write(path, content, written)
        if path.name == "az-a.key":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_ca, "_write", full)
    with pytest.raises(EpmdlessError, match=r"az-a\.key: cannot be written: No space left on device"):
        made(folder, "az-a")
    assert contents(folder) == {}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = complaint(1, "certs", "init", tmp_path / "file/folder", "--zone", "az-a")
    assert said == f"{tmp_path}/file/folder: cannot be made: Not a directory"


# Zones and names


@pytest.mark.parametrize(
    "zone",
    [
        *("", "=a", "../x", "a/b", ".hidden", "-a", "a b", "zoné", "a\n", "z" * 64, "ca", "CA=a.internal"),
        *("az=", "az=a,", "az=,a", "az=a b", "az=-a", "az=a..b", "az=a.", "az=é.internal", "az=a.*.b"),
        *("az=10.0.0.256", "az=10.0.0.0/8", "az=fe80::1%eth0", "az=1", "az=[::1]", "az=a:4370"),
        *("az=://x", "az=spiffe://", "az=spiffe://a b", "az=s\0://a", "az=spiffe://é", "az=" + "a" * 254),
        *("az=spiffe://" + "a" * 2048, "az=" + ",".join(f"h{number}" for number in range(62))),
    ],
)
def test_what_is_no_zone_or_no_name(zone: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_zones([zone])
    assert caught.value.source == "--zone"


@pytest.mark.parametrize("zones", [["a", "a"], ["a", "b", "A=x"]])
def test_a_zone_that_comes_twice(zones: list[str]) -> None:
    with pytest.raises(ConfigError, match="comes twice"):
        parse_zones(zones)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("az-a", ("az-a", *EVERYWHERE)),
        ("az_1=a.internal, B.internal ,a.internal", ("a.internal", "B.internal", *EVERYWHERE)),
        ("az.1=::1,2001:DB8:0::1", ("::1", "2001:db8::1", "localhost", "127.0.0.1")),
        ("az=*.az.internal,_x.internal,xn--bcher-kva.de", None),
        ("az=spiffe://az/ns/default?x=y#z", None),
        ("z" * 63 + "=" + "a" * 63, None),
        ("az=" + ",".join(f"h{number}" for number in range(61)), None),
    ],
)
def test_zones_and_their_names(text: str, names: tuple[str, ...] | None) -> None:
    (zone,) = parse_zones([text])
    listed = names or (*text.partition("=")[2].split(","), *EVERYWHERE)
    assert zone.names == listed


def test_a_wrong_zone_writes_nothing(folder: Path) -> None:
    said = complaint(2, "certs", "init", folder, "--zone", "az-a", "--zone", "../x")
    assert said.startswith("--zone: '../x' is no name for a zone")
    assert not folder.exists()


@pytest.mark.parametrize(
    "words", [["init"], ["init", "x"], ["add", "x"], ["init", "x", "--zone", "a", "--days", "0"]]
)
def test_a_wrong_command_line(words: list[str]) -> None:
    done = epmdless("certs", *words)
    assert (done.status, done.stdout) == (2, "")
    assert "Error: " in done.stderr


def test_keys_are_elliptic_curves(folder: Path) -> None:
    made(folder, "az-a")
    for path in folder.glob("*.key"):
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.curve.name == "secp256r1"
