"""What is loaded for TLS: both ends prove who they are, and a wrong file is an error that names it."""

import os
import shutil
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from epmdless.errors import ConfigError
from epmdless.net.tls import contexts
from epmdless.net.tls.contexts import (
    Certificates,
    Load,
    TlsFiles,
    load_client_context,
    load_server_context,
)
from epmdless.net.tls.identity import peer_certificate, peer_names
from tests.net.tls_ends import (
    GATEWAY,
    RELAY,
    both_ready,
    client_context,
    files,
    only_tls12,
    server_context,
    shaken,
)
from tests.support.certificates import Authority, Issued
from tests.support.process import run
from tests.support.tools import PYTHON

LOADERS: list[Load] = [load_server_context, load_client_context]
KEY = "gateway.tls"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def gateway(authority: Authority) -> Issued:
    return authority.issue(GATEWAY)


@pytest.fixture
def relay(authority: Authority) -> Issued:
    return authority.issue(RELAY)


def refusal(wrong: TlsFiles, load: Load = load_server_context) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(wrong, KEY)
    assert caught.value.__cause__ is None
    return caught.value


# Two ends


def test_both_ends_prove_who_they_are(authority: Authority, gateway: Issued, relay: Issued) -> None:
    client, server = shaken(client_context(relay, authority), server_context(gateway, authority))
    assert both_ready(client, server)
    for end in (client, server):
        assert end.tls.version() == "TLSv1.3"
        assert end.tls.selected_alpn_protocol() == "http/1.1"
    assert peer_names(peer_certificate(client.tls)) == (GATEWAY,)
    assert peer_names(peer_certificate(server.tls)) == (RELAY,)


@pytest.mark.parametrize(("least", "is_let_in"), [("1.3", False), ("1.2", True)])
def test_tls_1_2_is_taken_where_it_is_allowed(
    authority: Authority, gateway: Issued, relay: Issued, least: contexts.Versions, is_let_in: bool
) -> None:
    old = only_tls12(client_context(relay, authority, "1.2"))
    client, server = shaken(old, server_context(gateway, authority, least))
    assert both_ready(client, server) is is_let_in
    if is_let_in:
        cipher = client.tls.cipher()
        assert cipher is not None
        assert cipher[0].startswith("ECDHE-")
        assert cipher[0].endswith(("-GCM-SHA256", "-GCM-SHA384", "-POLY1305"))


def test_every_cipher_has_forward_secrecy_and_is_authenticated(authority: Authority, gateway: Issued) -> None:
    for context in (server_context(gateway, authority, "1.2"), client_context(gateway, authority, "1.2")):
        ciphers = context.get_ciphers()
        assert {cipher["protocol"] for cipher in ciphers} == {"TLSv1.2", "TLSv1.3"}
        assert all(cipher["aead"] for cipher in ciphers)
        assert {cipher["kea"] for cipher in ciphers} == {"kx-ecdhe", "kx-any"}


def test_a_client_without_a_certificate_is_not_let_in(authority: Authority, gateway: Issued) -> None:
    _, server = shaken(client_context(None, authority), server_context(gateway, authority))
    assert not server.is_ready
    assert server.failure().reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_a_session_is_resumed_with_the_clients_names(
    authority: Authority, gateway: Issued, relay: Issued
) -> None:
    near, far = client_context(relay, authority), server_context(gateway, authority)
    first, _ = shaken(near, far)
    client, server = shaken(near, far, session=first.tls.session)
    assert both_ready(client, server)
    assert client.tls.session_reused
    assert server.tls.session_reused
    assert peer_names(peer_certificate(server.tls)) == (RELAY,)


def test_what_was_loaded_again_resumes_nothing_of_before(
    authority: Authority, gateway: Issued, relay: Issued
) -> None:
    """A client whose CA is no longer believed must not come in by an old ticket."""
    near = client_context(relay, authority)
    first, _ = shaken(near, server_context(gateway, authority))
    client, server = shaken(near, server_context(gateway, authority), session=first.tls.session)
    assert both_ready(client, server)
    assert not server.tls.session_reused


@pytest.mark.parametrize("cut", ["client", "server"])
def test_a_cut_is_never_a_clean_end(authority: Authority, gateway: Issued, relay: Issued, cut: str) -> None:
    client, server = shaken(client_context(relay, authority), server_context(gateway, authority))
    end, other = (client, server) if cut == "client" else (server, client)
    other.tls.write(b"the beginning of")
    end.incoming.write(other.said())
    end.incoming.write_eof()
    end.said()
    assert (end.received, end.has_ended) == (b"the beginning of", False)
    assert isinstance(end.failure(), ssl.SSLEOFError)


def test_an_end_that_is_said_is_clean(authority: Authority, gateway: Issued, relay: Issued) -> None:
    client, server = shaken(client_context(relay, authority), server_context(gateway, authority))
    client.tls.write(b"all of it")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    server.incoming.write(client.said())
    server.incoming.write_eof()
    server.said()
    assert (server.received, server.has_ended, server.error) == (b"all of it", True, None)


@pytest.mark.parametrize(
    ("names", "host", "is_taken"),
    [
        ((GATEWAY,), GATEWAY.upper(), True),
        (("*.az-b.internal",), GATEWAY, True),
        (("10.0.2.9",), "10.0.2.9", True),
        (("2001:db8::1",), "2001:db8::1", True),
        ((GATEWAY,), "10.0.2.9", False),
        (("other.az-b.internal",), GATEWAY, False),
        (("*.internal",), GATEWAY, False),
        (("*.az-b.internal",), "az-b.internal", False),
        ((), "nobody", False),
    ],
)
def test_the_gateway_must_have_the_name_that_is_asked_for(
    authority: Authority, relay: Issued, names: tuple[str, ...], host: str, is_taken: bool
) -> None:
    """The last one has the name as its common name, and no other."""
    server = server_context(authority.issue(*names), authority)
    ends = shaken(client_context(relay, authority), server, host)
    assert both_ready(*ends) is is_taken
    if not is_taken:
        error = ends[0].failure()
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert error.verify_code in (62, 64)


@pytest.mark.parametrize("believed", ["root", "zone"])
def test_a_zones_ca_under_another_one_is_believed_as_is_the_other(tmp_path: Path, believed: str) -> None:
    root = Authority(tmp_path, "root")
    zone = Authority(tmp_path, "zone", parent=root)
    gateway, relay = zone.issue(GATEWAY), zone.issue(RELAY)
    ca = {"root": root, "zone": zone}[believed]
    assert both_ready(*shaken(client_context(relay, ca), server_context(gateway, ca)))


def test_a_zones_ca_lets_in_nobody_of_another_zone(tmp_path: Path) -> None:
    root = Authority(tmp_path, "root")
    zones = [Authority(tmp_path, name, parent=root) for name in ("one", "two")]
    gateway, relay = zones[0].issue(GATEWAY), zones[1].issue(RELAY)
    _, server = shaken(client_context(relay, zones[0]), server_context(gateway, zones[0]))
    assert isinstance(server.failure(), ssl.SSLCertVerificationError)


def test_a_file_may_hold_several_cas(tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    both = first.ca.read_bytes() + b"# the next one\n" + second.ca.read_bytes() + first.ca.read_bytes()
    first.ca.write_bytes(both)
    server = server_context(second.issue(GATEWAY), first)
    for issuer in (first, second):
        assert both_ready(*shaken(client_context(issuer.issue(RELAY), second), server))


# Wrong files


def test_a_file_that_is_not_there(authority: Authority, gateway: Issued, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    for wrong, part in (
        (TlsFiles(gone, str(gateway.key), str(authority.ca)), "cert"),
        (TlsFiles(str(gateway.cert), gone, str(authority.ca)), "key"),
        (TlsFiles(str(gateway.cert), str(gateway.key), gone), "ca"),
    ):
        for load in LOADERS:
            error = refusal(wrong, load)
            assert (error.source, error.key) == (gone, f"{KEY}.{part}")
            assert error.problem == "cannot be read: No such file or directory"


@pytest.mark.parametrize("part", ["cert", "key", "ca"])
def test_what_is_no_file_is_refused_at_once(authority: Authority, gateway: Issued, part: str) -> None:
    """A pipe without a writer would hold up whoever opens it."""
    path = {"cert": gateway.cert, "key": gateway.key, "ca": authority.ca}[part]
    path.unlink()
    os.mkfifo(path, 0o600)
    error = refusal(files(gateway, authority))
    assert (error.source, error.key, error.problem) == (str(path), f"{KEY}.{part}", "not a regular file")


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("cert", "holds no certificate in PEM"),
        ("key", "holds no private key in PEM"),
        ("ca", "holds no certificate in PEM"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\n", b"not PEM", b"-----BEGIN CERTIFICATE-----\nMIIB\n"])
def test_a_file_without_pem(
    authority: Authority, gateway: Issued, part: str, problem: str, content: bytes
) -> None:
    path = {"cert": gateway.cert, "key": gateway.key, "ca": authority.ca}[part]
    path.write_bytes(content)
    error = refusal(files(gateway, authority))
    assert (error.source, error.key, error.problem) == (str(path), f"{KEY}.{part}", problem)


@pytest.mark.parametrize("part", ["cert", "ca"])
def test_der_is_not_pem(authority: Authority, gateway: Issued, part: str) -> None:
    path = {"cert": gateway.cert, "ca": authority.ca}[part]
    path.write_bytes(ssl.PEM_cert_to_DER_cert(path.read_text()))
    assert refusal(files(gateway, authority)).problem.startswith("DER, not PEM: convert it")


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("cert", "its first certificate cannot be read"),
        ("key", "does not load with "),
        ("ca", "certificate 1 of the file cannot be read"),
    ],
)
def test_pem_of_something_else(authority: Authority, gateway: Issued, part: str, problem: str) -> None:
    path = {"cert": gateway.cert, "key": gateway.key, "ca": authority.ca}[part]
    kind = "PRIVATE KEY" if part == "key" else "CERTIFICATE"
    path.write_text(f"-----BEGIN {kind}-----\nMAMCAQE=\n-----END {kind}-----\n")
    error = refusal(files(gateway, authority))
    assert (error.source, error.key) == (str(path), f"{KEY}.{part}")
    assert error.problem.startswith(problem)


def test_a_key_that_others_can_read(authority: Authority, gateway: Issued) -> None:
    gateway.key.chmod(0o640)
    error = refusal(files(gateway, authority))
    assert (error.source, error.key) == (str(gateway.key), f"{KEY}.key")
    assert error.problem.startswith("must be accessible by its owner only")
    assert error.problem.endswith("its mode is 640")


def test_a_key_of_another_certificate(authority: Authority, gateway: Issued, relay: Issued) -> None:
    error = refusal(files(Issued(gateway.cert, relay.key), authority))
    assert (error.source, error.key) == (str(relay.key), f"{KEY}.key")
    assert error.problem == f"not the key of the certificate that comes first in {gateway.cert}"


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(
    authority: Authority, gateway: Issued
) -> None:
    key = load_pem_private_key(gateway.key.read_bytes(), None)
    kinds = [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]
    for kind in kinds:
        gateway.key.write_bytes(key.private_bytes(Encoding.PEM, kind, BestAvailableEncryption(b"a")))
        error = refusal(files(gateway, authority))
        assert (error.source, error.key) == (str(gateway.key), f"{KEY}.key")
        assert "encrypted" in error.problem
        assert "decrypt it" in error.problem


@pytest.mark.parametrize("load", LOADERS)
def test_a_ca_file_with_the_peers_own_certificate(
    authority: Authority, gateway: Issued, relay: Issued, load: Load
) -> None:
    authority.ca.write_bytes(authority.ca.read_bytes() + relay.cert.read_bytes())
    error = refusal(files(gateway, authority), load)
    assert (error.source, error.key) == (str(authority.ca), f"{KEY}.ca")
    assert error.problem.startswith("certificate 2 of the file is not a CA's")


def test_a_revocation_list_is_not_quietly_ignored(authority: Authority, gateway: Issued) -> None:
    with authority.ca.open("a") as file:
        file.write("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")
    assert "revocation list" in refusal(files(gateway, authority)).problem


def test_a_file_that_is_too_long(authority: Authority, gateway: Issued) -> None:
    with authority.ca.open("a") as file:
        file.write("#" * (1 << 20))
    assert "longer than 1048576 bytes" in refusal(files(gateway, authority)).problem


def test_certificate_and_key_come_together(authority: Authority, gateway: Issued) -> None:
    alone = TlsFiles(str(gateway.cert), None, str(authority.ca))
    assert refusal(alone, load_client_context).problem == "cert and key come together"
    assert refusal(alone, load_server_context).problem == "a server needs cert and key"


def test_no_error_holds_a_key(authority: Authority, gateway: Issued, relay: Issued) -> None:
    secret = relay.key.read_text().splitlines()[1]
    relay.key.write_text(relay.key.read_text().replace("-----END", "!-----END"))
    error = refusal(files(relay, authority))
    assert secret not in f"{error} {error!r}"


def test_no_descriptor_is_left_open(authority: Authority, gateway: Issued, relay: Issued) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    server_context(gateway, authority)
    refusal(files(Issued(gateway.cert, relay.key), authority))
    gateway.key.chmod(0o644)
    refusal(files(gateway, authority))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@given(content=st.binary(max_size=200), place=st.integers(0, 2), cut=st.integers(0, 2000))
def test_any_content_loads_or_is_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, place: int, cut: int
) -> None:
    """Any bytes, in the middle of what was right."""
    folder = tmp_path_factory.mktemp("any")
    authority = Authority(folder)
    gateway = authority.issue(GATEWAY)
    path = (gateway.cert, gateway.key, authority.ca)[place]
    right = path.read_bytes()
    path.write_bytes(right[:cut] + content + right[cut + len(content) :])
    with suppress(ConfigError):
        Certificates(files(gateway, authority), KEY, load_server_context)
    shutil.rmtree(folder)


def test_a_server_without_a_gateway_loads_no_cryptography() -> None:
    """It takes longer to import than all the rest of TLS."""
    code = "import epmdless.app, epmdless.net.tls.contexts, sys; print('cryptography' in sys.modules)"
    done = run([PYTHON, "-I", "-c", code])
    assert (done.status, done.stdout.strip()) == (0, "False"), done.stderr
