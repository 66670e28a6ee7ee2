"""`[publish]` with all that belongs to it: target, addresses and the key."""

from pathlib import Path

import pytest

from epmdless.addresses import Endpoint
from epmdless.config import decode
from epmdless.errors import ConfigError
from epmdless.publish.prepared import Prepared, prepare
from tests.support.dns_servers import UpdateKey

FILE = "epmdless.toml"


def made(more: str = "", own_host: str = "b1.nodes.internal") -> Prepared:
    text = f'[publish]\nzone = "Nodes.Internal."\nservers = ["10.0.0.2", "[fd00::2]:5353"]\n{more}'
    prepared = prepare(decode(text, FILE).publish, own_host, FILE)
    assert prepared is not None
    return prepared


def mistake(more: str = "", own_host: str = "b1.nodes.internal") -> str:
    with pytest.raises(ConfigError) as caught:
        made(more, own_host)
    return str(caught.value)


def test_nothing_to_publish_is_nothing() -> None:
    assert prepare(None, "b1", FILE) is None


def test_names_are_in_one_spelling_and_ports_whole() -> None:
    prepared = made('addresses = ["10.0.1.23"]', "B1.nodes.internal")
    assert prepared.terms.zone == "nodes.internal"
    assert prepared.terms.target == "b1.nodes.internal"
    assert prepared.terms.host == "B1.nodes.internal"
    assert prepared.servers == (Endpoint("10.0.0.2", 53), Endpoint("fd00::2", 5353))
    assert (prepared.key, prepared.ttl, prepared.lease, prepared.timeout) == (None, 10, 90.0, 2.0)
    assert made('addresses = ["10.0.1.23"]', "B1.nodes.internal") == prepared


@pytest.mark.parametrize(
    ("own_host", "target", "addresses"),
    [
        ("10.0.1.23", "10-0-1-23.nodes.internal", ("10.0.1.23",)),
        ("fd00::23", "fd00--23.nodes.internal", ("fd00::23",)),
        ("FD00:0::23", "fd00--23.nodes.internal", ("fd00::23",)),
    ],
)
def test_an_address_becomes_a_name_in_the_zone(
    own_host: str, target: str, addresses: tuple[str, ...]
) -> None:
    terms = made("", own_host).terms
    assert (terms.target, terms.addresses, terms.host) == (target, addresses, own_host)


def test_a_short_name_becomes_one_in_the_zone() -> None:
    assert made('addresses = ["10.0.1.23"]', "b1").terms.target == "b1.nodes.internal"


def test_a_target_elsewhere_has_its_own_addresses() -> None:
    assert made("", "b1.elsewhere").terms.addresses == ()
    assert made('target = "b1.elsewhere"').terms.target == "b1.elsewhere"
    assert "publish.addresses: has no effect" in mistake('addresses = ["10.0.1.23"]', "b1.elsewhere")


def test_addresses_are_given_or_the_default_routes() -> None:
    given = made('addresses = ["10.0.1.23", "FD00:0::23"]')
    assert (given.terms.addresses, given.follows_route) == (("10.0.1.23", "fd00::23"), False)
    assert (made().terms.addresses, made().follows_route) == ((), True)
    assert made().at("10.0.1.24").terms.addresses == ("10.0.1.24",)
    assert not made("", "10.0.1.23").follows_route
    assert not made("", "b1.elsewhere").follows_route


@pytest.mark.parametrize(
    "own_host", ["a b", "b1.nodes.internal@x", "h" * 64, "nodes.internal", "b1..internal"]
)
def test_a_host_part_that_makes_no_target(own_host: str) -> None:
    said = mistake('addresses = ["10.0.1.23"]', own_host)
    assert said.startswith((f"{FILE}: publish.target: ", f"{FILE}: resolve.host: "))


def test_services_keep_their_order() -> None:
    more = (
        'addresses = ["10.0.1.23"]\n[publish.service.b]\nnodes = ["x*"]\n[publish.service.a]\nnodes = ["y"]'
    )
    assert [name for name, _ in made(more).terms.services] == ["b", "a"]


def test_the_key_is_read(tmp_path: Path) -> None:
    path = UpdateKey().file(tmp_path / "tsig.key")
    key = made(f'addresses = ["10.0.1.23"]\nkey_file = "{path}"').key
    assert key is not None
    assert (key.name, key.algorithm) == ("update-key", "hmac-sha256")


def test_a_key_that_others_can_read_is_none(tmp_path: Path) -> None:
    path = UpdateKey().file(tmp_path / "tsig.key")
    path.chmod(0o644)
    said = mistake(f'addresses = ["10.0.1.23"]\nkey_file = "{path}"')
    assert said.startswith(f"{path}: publish.key_file: must be accessible by its owner only")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"swordfish\n", "holds no TSIG key as tsig-keygen prints it, and no ALGORITHM:NAME:BASE64"),
        (b"\xff\xfeswordfish", "is not text"),
        (b"swordfish" * 1000, "longer than 4096 bytes: not a key file"),
    ],
)
def test_a_file_without_a_key_is_told_without_what_is_in_it(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "tsig.key"
    path.touch(0o600)
    path.write_bytes(content)
    assert mistake(f'addresses = ["10.0.1.23"]\nkey_file = "{path}"') == f"{path}: publish.key_file: {said}"


def test_no_file_is_told() -> None:
    said = mistake('addresses = ["10.0.1.23"]\nkey_file = "/nowhere/tsig.key"')
    assert said == "/nowhere/tsig.key: publish.key_file: cannot be read: No such file or directory"
