"""`epmdless render` on the command line: what it takes, what it refuses, where it writes."""

from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from epmdless.cli.render import render
from epmdless.errors import ConfigError
from epmdless.render import hosts
from tests.cli.command import complaint, printed
from tests.render.forms import SHOP

NODE = ("--app", "shop", "--port", "9001")
FAR = ("--far", "b1.az-b.internal=10.0.1.11=10.0.2.7")

CALLS = [
    ("fargate-cdk",),
    ("fargate-cdk", "--relay", "--from", "10.0.9.0/24", "--subnet", "10.0.1.0/24", "--subnet", "10.0.2.0/24"),
    ("fargate-cloudformation", "--zone", "team.internal", "--replicas", "5", "--image", "shop:1"),
    ("fargate-cloudformation", "--relay", "--from", "10.0.9.0/24", "--subnet", "10.0.1.0/24"),
    ("kubernetes", "--image", "registry.internal/shop:1", "--release", "my_shop"),
    ("kubernetes", "--relay", "--from", "10.0.9.0/24"),
    ("compose",),
    ("compose", "--relay"),
    ("systemd",),
    ("systemd", "--dns", "nodes.team.internal"),
    ("systemd", "--ec2"),
    ("systemd", "--relay", *FAR),
    ("systemd", "--relay", *FAR, "--gateway", "gw1.az-b.internal:4370"),
    ("nftables", "--from", "10.0.1.0/24", "--from", "fd00::/64"),
    ("nftables", "--relay", "--from", "10.0.1.0/24", *FAR),
    ("vm.args",),
    ("env.sh",),
    ("inetrc", *FAR),
]

WHATS = list(dict.fromkeys(call[0] for call in CALLS))


def called(*words: str) -> Result:
    """The command in this process: as most tests are about its words alone."""
    return CliRunner().invoke(render, words)


def test_a_file_is_written_to_stdout_or_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "vm.args"
    assert printed("render", "vm.args", *NODE) == hosts.vm_args(SHOP)
    assert printed("render", "vm.args", *NODE, "--output", path) == ""
    assert path.read_text() == hosts.vm_args(SHOP)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "vm.args"
    said = complaint(1, "render", "vm.args", *NODE, "--output", path)
    assert said == f"{path}: No such file or directory"


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_form_is_printed(call: tuple[str, ...]) -> None:
    done = called(*call, *NODE)
    text = done.stdout
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Rendered by epmdless" in text
    for option, value in pairwise(call):
        if option in ("--image", "--zone", "--dns", "--gateway", "--from", "--subnet"):
            assert value in text
        if option == "--release":
            assert f"bin/{value}" in text


def test_a_mistake_ends_with_status_2_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vm.args"
    said = complaint(2, "render", "vm.args", "--app", "shop", "--port", "80", "--output", path)
    assert said == "--port: 80 is not a port from 1024 to 65535"
    assert not path.exists()


def test_help_says_what_each_file_is() -> None:
    text = printed("render", "--help")
    commands = text.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in commands] == WHATS
    assert all(len(line.split()) > 2 for line in commands)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (("compose", "--app", "Shop", "--port", "9001"), "--app: 'Shop' is not 1 to 30 small letters"),
        (("compose", "--app", "shop", "--port", "80"), "--port: 80 is not a port from 1024 to 65535"),
        (("compose", *NODE, "--image", "a b"), "--image: 'a b' is not the name of an image"),
        (("compose", *NODE, "--replicas", "0"), "--replicas: 0 is not a number"),
        (("compose", "--relay", "--app", "relay", "--port", "9001"), "--app: 'relay' is another service"),
        (("kubernetes", *NODE, "--release", "../sh"), "--release: '../sh' is not"),
        (("kubernetes", *NODE, "--relay"), "--from: give 1 to 64 networks"),
        (("kubernetes", *NODE, "--from", "10.0.0.0/8"), "--from: has no meaning without --relay"),
        (
            ("kubernetes", *NODE, "--relay", "--from", "fd00::/64"),
            "--from: fd00::/64: the gateway listens on",
        ),
        (("fargate-cdk", *NODE, "--zone", "a b"), "--zone: 'a b' is not a domain name"),
        (("fargate-cdk", *NODE, "--subnet", "10.0.0.0/8"), "--subnet: has no meaning without --relay"),
        (("fargate-cdk", *NODE, "--relay", "--from", "10.0.9.0/24"), "--subnet: give 1 to 64 networks"),
        (("systemd", *NODE, "--ec2", "--dns", "a.internal"), "--dns: has no meaning with --ec2"),
        (("systemd", *NODE, "--relay"), "--far: give 1 to 64 far hosts"),
        (("systemd", *NODE, "--relay", *FAR, "--ec2"), "--ec2: has no meaning with --relay"),
        (("systemd", *NODE, "--relay", *FAR, "--release", "x"), "--release: has no meaning with --relay"),
        (("systemd", *NODE, *FAR), "--far: has no meaning without --relay"),
        (("systemd", *NODE, "--gateway", "gw:1"), "--gateway: has no meaning without --relay"),
        (("nftables", *NODE), "--from: give 1 to 64 networks"),
        (("nftables", *NODE, "--from", "10.0.0.0/8", *FAR), "--far: has no meaning without --relay"),
        (
            ("nftables", *NODE, "--relay", "--from", "fd00::/64", *FAR),
            "--far: no network of --from is of the IP version of 10.0.1.11",
        ),
        (
            (*("nftables", *NODE, "--relay", "--from", "10.0.1.0/24", *FAR), "--far", "b2.internal=fd00::12"),
            "--far: no network of --from is of the IP version of fd00::12",
        ),
        (("inetrc", *NODE), "--far: give 1 to 64 far hosts"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(call: tuple[str, ...], problem: str) -> None:
    done = called(*call)
    assert done.stdout == ""
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(problem)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    "call",
    [
        ("vm.args",),
        ("vm.args", "--app", "shop"),
        ("vm.args", "--app", "shop", "--port", "many"),
        ("vm.args", *NODE, "--replicas", "3"),
        ("env.sh", *NODE, "--image", "shop"),
        ("inetrc", *NODE, *FAR, "--relay"),
        ("compose", *NODE, "--zone", "nodes.internal"),
        ("compose", *NODE, "--from", "10.0.0.0/8"),
        ("systemd", *NODE, "--image", "shop"),
        ("helm", *NODE),
    ],
    ids=" ".join,
)
def test_an_option_that_does_not_belong_to_a_file_is_refused(call: tuple[str, ...]) -> None:
    done = called(*call)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr
