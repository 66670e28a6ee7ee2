"""TSIG keys in every form, and that nothing shows a secret."""

import base64

import pytest

from epmdless.resolve.dns_tsig import ALGORITHMS, TsigKey, parse_key
from tests.support.process import run
from tests.support.tools import require

SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()

EXPECTED = TsigKey("update-key", "hmac-sha256", b"0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize(
    "text",
    [
        f'key "update-key" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n',
        f"key update-key {{ secret {SECRET}; algorithm HMAC-SHA256; }};",
        f'// of the zone\nkey "update-key" {{ # ours\n algorithm "hmac-sha256"; secret "{SECRET}"; }}',
        f"hmac-sha256:update-key:{SECRET}",
        f"hmac-sha256:update-key:{SECRET}\n",
        f"\n  HMAC-SHA256:update-key.:{SECRET}  \n",
    ],
)
def test_a_key_is_read_in_every_form(text: str) -> None:
    key = parse_key(text)
    assert key == EXPECTED
    assert key.algorithm == "hmac-sha256"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_tsig_keygen_prints_is_a_key(algorithm: str) -> None:
    done = run([require("tsig-keygen", "bind9"), "-a", algorithm, "epmdless"])
    key = parse_key(done.stdout)
    assert (key.name, key.algorithm) == ("epmdless", algorithm)


def test_what_keymgr_prints_is_a_key() -> None:
    first = run([require("keymgr", "knot"), "-t", "epmdless", "hmac-sha512"]).stdout.splitlines()[0]
    key = parse_key(first.removeprefix("# "))
    assert (key.name, key.algorithm) == ("epmdless", "hmac-sha512")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "swordfish",
        'key "a" { algorithm hmac-sha256; };',
        'key "a" { secret "swordfish="; };',
        'key "a" { secret "swordfish="; secret "swordfish="; };',
        'key "a" { algorithm hmac-sha256; secret "swordfish"; };',
        'key "a" { algorithm hmac-swordfish; secret "c3dvcmRmaXNo"; };',
        "hmac-sha256:a:swordfish",
        "swordfish:a:c3dvcmRmaXNo",
        "hmac-sha256:a..b:c3dvcmRmaXNo",
        f"hmac-sha256:{'a' * 64}:c3dvcmRmaXNo",
        f"hmac-sha256:a:{base64.b64encode(b'swordfish' * 200).decode()}",
        "hmac-sha256:a:c3dvcmRmaXNo\nhmac-sha256:b:c3dvcmRmaXNo",
    ],
)
def test_what_is_no_key_is_told_without_what_was_there(text: str) -> None:
    with pytest.raises(ValueError, match=r"^\S.*$") as caught:
        parse_key(text)
    assert "swordfish" not in str(caught.value)
    assert "c3dv" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_key_shows_no_secret() -> None:
    assert repr(EXPECTED) == str(EXPECTED) == "TsigKey('update-key', 'hmac-sha256')"
    assert TsigKey("update-key", "hmac-sha256", b"another") != EXPECTED
