"""Name, port and environment of a release, and how they are written for a shell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epmdless.releases import Plan as ReleasePlan
from epmdless.releases import ReleaseError, Wanted, dotenv_lines, export_lines, is_host_part, make_plan
from epmdless.schemes import (
    CaravanScheme,
    FixedScheme,
    OffsetScheme,
    PatternScheme,
    Scheme,
    SuffixScheme,
)
from tests.support.process import run
from tests.support.tools import clean_env, require

SUFFIX: Final = SuffixScheme()
GROUP: Final = PatternScheme(re.compile("-(?P<port>[0-9]+)$"))
INDEX: Final = PatternScheme(re.compile("_(?P<index>[0-9]+)$"), base=9000)

FLAGS: Final = "-start_epmd false -kernel inet_dist_listen_min 9001 inet_dist_listen_max 9001"
FLAGS_6: Final = f"-start_epmd false -proto_dist inet6_tcp{FLAGS.removeprefix('-start_epmd false')}"


def plan(
    app: str | None = "shop",
    port: int | None = None,
    *,
    host: str = "10.0.0.7",
    scheme: Scheme = SUFFIX,
    vm_args: str = "",
    set_name: bool = False,
    environ: Mapping[str, str] | None = None,
    **more: str,
) -> ReleasePlan:
    """Make a plan; `more` is of the environment too."""
    return make_plan(scheme, Wanted(app, port, host, host, vm_args, set_name), {**(environ or {}), **more})


def test_a_release_is_named_by_its_port_and_told_to_listen_there() -> None:
    made = plan()
    assert (made.node, made.alive, made.host, made.port) == (
        *("shop-9001@10.0.0.7", "shop-9001", "10.0.0.7"),
        9001,
    )
    assert made.variables == {
        "RELEASE_NODE": "shop-9001@10.0.0.7",
        "RELEASE_DISTRIBUTION": "name",
        "ERL_EPMD_ADDRESS": "10.0.0.7",
        "ERL_AFLAGS": FLAGS,
    }


@pytest.mark.parametrize(
    ("scheme", "app", "port", "alive", "found"),
    [
        (SUFFIX, "shop", None, "shop-9001", 9001),
        (SUFFIX, "shop", 9100, "shop-9100", 9100),
        (SUFFIX, "shop-9100", None, "shop-9100", 9100),
        (SUFFIX, "shop-9100", 9100, "shop-9100", 9100),
        (SUFFIX, "shop2", 9100, "shop2-9100", 9100),
        (CaravanScheme(), "shop", None, "shop", 4370),
        (CaravanScheme(), "shop", 9100, "shop-9100", 9100),
        (CaravanScheme(), "shop9100", None, "shop9100", 9100),
        (OffsetScheme(), "emqx3", None, "emqx3", 4373),
        (OffsetScheme(), "emqx", 4370, "emqx", 4370),
        (FixedScheme(9300), "shop", None, "shop", 9300),
        (GROUP, "shop", None, "shop-9001", 9001),
        (INDEX, "shop_7", None, "shop_7", 9007),
    ],
)
def test_name_and_port_agree(scheme: Scheme, app: str, port: int | None, alive: str, found: int) -> None:
    made = plan(app, port, scheme=scheme)
    assert (made.alive, made.port) == (alive, found)
    assert scheme.promises(made.alive, made.port)


@pytest.mark.parametrize(
    ("scheme", "app", "port", "said"),
    [
        (SUFFIX, "shop-9100", 9200, "the name 'shop-9100' promises port 9100, not 9200 as --port has it"),
        (SUFFIX, "shop", 80, "the scheme promises no port for the names 'shop' and 'shop-80'"),
        (SUFFIX, "rem-4f2a-shop", None, "a remote shell's or a helper's"),
        (CaravanScheme(), "shop9100", 9200, "promises port 9100"),
        (OffsetScheme(), "emqx", 9001, "promises port 4370"),
        (FixedScheme(9300), "shop", 9001, "promises port 9300"),
        (INDEX, "shop", None, "the scheme promises no port"),
        (SUFFIX, "shop app", None, "a node cannot be called 'shop app'"),
        (SUFFIX, "shop\n$(id)", None, r"a node cannot be called 'shop\\n$(id)'"),
        (SUFFIX, "a" * 256, None, "longer than 255 characters"),
        (CaravanScheme(), "9" * 5000, None, "longer than 255 characters"),
        (SUFFIX, "a" * 250, None, "longer than 255 characters"),
        (SUFFIX, None, None, "no name for the node: give --app"),
    ],
)
def test_what_cannot_be_made_to_agree(scheme: Scheme, app: str | None, port: int | None, said: str) -> None:
    with pytest.raises(ReleaseError, match=re.escape(said).replace(r"\\\\", r"\\")) as caught:
        plan(app, port, scheme=scheme)
    assert "\n" not in str(caught.value)


def test_the_name_is_found_in_the_environment() -> None:
    assert plan(None, RELEASE_NAME="shop").node == "shop-9001@10.0.0.7"
    assert plan(None, RELEASE_NAME="shop", RELEASE_NODE="stock").node == "stock-9001@10.0.0.7"
    assert plan("app", RELEASE_NAME="shop", RELEASE_NODE="stock").node == "app-9001@10.0.0.7"


def test_a_whole_name_that_is_set_already_is_kept() -> None:
    made = plan("other", RELEASE_NODE="shop-9100@b1.internal")
    assert (made.node, made.host, made.port) == ("shop-9100@b1.internal", "b1.internal", 9100)
    assert plan(None, 9100, RELEASE_NODE="shop@b1.internal").port == 9100


@pytest.mark.parametrize(
    ("node", "port", "said"),
    [
        ("shop-9100@b1.internal", 9200, "RELEASE_NODE: the name 'shop-9100' promises port 9100, not 9200"),
        ("shop@b1.internal", None, "RELEASE_NODE: the name 'shop' promises no port: give --port"),
        ("shop-9100@b1", None, "'b1' is no host part of a long name"),
        ("shop-9100@b1.internal@c", None, "is no host part"),
        ("@b1.internal", None, "a node cannot be called ''"),
        ("shop-9100@", None, "'' is no host part"),
        ("shop-9100@b1.internal\n", None, "is no host part"),
        ("shop-9100@b1.$(id)", None, "is no host part"),
    ],
)
def test_a_name_that_is_set_already_and_is_wrong(node: str, port: int | None, said: str) -> None:
    with pytest.raises(ReleaseError, match=re.escape(said)):
        plan("shop", port, RELEASE_NODE=node)


@pytest.mark.parametrize(
    "text", ["10.0.0.7", "fd00::7", "::1", "b1.internal", "a_b.c-d.9x", "xn--bcher-kva.ch"]
)
def test_what_may_stand_after_the_at_sign(text: str) -> None:
    assert is_host_part(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "b1", "b1.", ".b1", "10.0.0.300", "a.9", "fe80::1%eth0", "[::1]", "a b.c", "a..b", "-a.b"),
        *("a.b\n", "a'.b", "a.$(id)", "ä.de", "a." + "b" * 64, "a." * 127 + "b"),
    ],
)
def test_what_may_not(text: str) -> None:
    assert not is_host_part(text)


# The environment.


def test_ipv6_needs_its_own_protocol() -> None:
    assert plan(host="fd00::7").variables["ERL_AFLAGS"] == FLAGS_6


def test_a_node_with_an_ipv6_address_needs_it_under_a_domain_name_too() -> None:
    """Without it, it would listen on IPv4 alone, where nobody can reach it (a pod behind a gateway, say)."""
    named = Wanted("shop", None, "shop-0.shop-nodes.prod.svc.cluster.local", "fd00::7")
    assert make_plan(SUFFIX, named, {}).flags == FLAGS_6
    assert make_plan(SUFFIX, named, {"RELEASE_NODE": "shop-9001@b1.internal"}).flags == FLAGS_6
    assert make_plan(SUFFIX, named, {"RELEASE_NODE": "shop-9001@10.0.0.7"}).flags == FLAGS
    assert make_plan(SUFFIX, named, {"ERL_FLAGS": "-proto_dist inet6_tls"}).flags == FLAGS


@pytest.mark.parametrize("variable", ["ERL_AFLAGS", "ERL_FLAGS", "ERL_ZFLAGS", "ELIXIR_ERL_OPTIONS"])
def test_a_protocol_that_the_operator_chose_is_not_given_twice(variable: str) -> None:
    """OTP 25 takes neither of two, and speaks plain TCP over IPv4."""
    made = plan(host="fd00::7", environ={variable: "+P 1000 -proto_dist inet6_tls"})
    assert made.flags == FLAGS


def test_a_protocol_in_vm_args_counts_too() -> None:
    assert plan(host="fd00::7", vm_args="+Q 1\n-proto_dist inet6_tls\n").flags == FLAGS
    assert plan(host="fd00::7", vm_args="# -proto_dist inet6_tls\n").flags == FLAGS_6


def test_plain_erl_is_named_on_request() -> None:
    made = plan(set_name=True)
    assert made.flags == FLAGS.replace("false", "false -name shop-9001@10.0.0.7")


@pytest.mark.parametrize("command", ["start", "start_iex", "daemon", "daemon_iex", ""])
def test_the_system_itself_gets_the_port(command: str) -> None:
    assert plan(RELEASE_COMMAND=command).flags == FLAGS


@pytest.mark.parametrize("command", ["remote", "rpc", "eval", "stop", "restart", "pid", "version", "else"])
def test_other_commands_of_a_release_get_none(command: str) -> None:
    made = plan(set_name=True, RELEASE_COMMAND=command, ERL_AFLAGS=f"{FLAGS} +P 1000")
    assert made.node == "shop-9001@10.0.0.7"
    assert made.variables["ERL_AFLAGS"] == "-start_epmd false +P 1000"


def test_what_is_there_already_is_kept() -> None:
    there = {
        "ERL_EPMD_ADDRESS": "10.9.9.9",
        "RELEASE_DISTRIBUTION": "none",
        "ERL_AFLAGS": "-kernel inet_dist_listen_min 1 inet_dist_listen_max 2",
    }
    made = plan(environ=there).variables
    assert made["ERL_EPMD_ADDRESS"] == "10.9.9.9"
    assert made["RELEASE_DISTRIBUTION"] == "none"
    assert made["ERL_AFLAGS"] == f"{FLAGS} {there['ERL_AFLAGS']}", "the first of two counts"
    assert plan(RELEASE_DISTRIBUTION="sname").variables["RELEASE_DISTRIBUTION"] == "name"


@given(
    host=st.sampled_from(["10.0.0.7", "fd00::7", "b1.internal"]),
    set_name=st.booleans(),
    command=st.sampled_from(["", "start", "rpc"]),
    rest=st.sampled_from(["", "+P 1000", "-setcookie secret", "-proto_dist inet6_tls", FLAGS]),
)
def test_applying_it_twice_adds_nothing(host: str, set_name: bool, command: str, rest: str) -> None:
    start = {"ERL_AFLAGS": rest, "RELEASE_COMMAND": command}
    once = plan(host=host, set_name=set_name, environ=start).variables
    twice = plan(host=host, set_name=set_name, environ={**start, **once}).variables
    assert twice == once


def test_a_later_plan_replaces_an_earlier_one() -> None:
    first = plan(host="fd00::7", set_name=True, ERL_AFLAGS="+P 1000").variables["ERL_AFLAGS"]
    assert plan(None, 9002, RELEASE_NAME="shop", ERL_AFLAGS=first).variables["ERL_AFLAGS"] == (
        FLAGS.replace("9001", "9002") + " +P 1000"
    )


# For a shell.

HOSTILE: Final = "-setcookie 'a'\\''b' \"$(touch HERE)\" `touch HERE` \\ \n;touch HERE\n'"

SHELLS: Final = ("sh", "bash")


def evaluated(lines: str, folder: Path, shell: str = "sh", **env: str) -> dict[str, str]:
    """The environment of a program that a shell runs after it has read these lines."""
    script = 'cd "$1"; eval "$2"; exec env -0'
    done = run([require(shell), "-euc", script, "sh", str(folder), lines], env=clean_env(**env))
    assert (done.status, done.stderr) == (0, "")
    return dict(item.split("=", 1) for item in done.stdout.split("\0") if item)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("there", ["", "+P 1000", HOSTILE, f"{FLAGS}\t{HOSTILE}", f" {FLAGS} +P 1"])
def test_a_shell_reads_just_the_plan(tmp_path: Path, shell: str, there: str) -> None:
    environ = {"ERL_AFLAGS": there} if there else {}
    made = plan(host="fd00::7", environ=environ)
    found = evaluated(export_lines(made), tmp_path, shell, **environ)
    assert {name: found[name] for name in made.variables} == made.variables
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_is_not_printed() -> None:
    lines = export_lines(plan(ERL_AFLAGS="-setcookie secret", RELEASE_COOKIE="secret"))
    assert "secret" not in lines
    assert '"$ERL_AFLAGS"' in lines


def test_lines_that_a_shell_reads_are_quoted_even_if_a_value_is_hostile(tmp_path: Path) -> None:
    """No plan is made of such values; the last line of defence is tried all the same."""
    bad = "x'$(touch HERE)\n`touch HERE`"
    made = ReleasePlan(bad, bad, bad, 9001, {"RELEASE_NODE": bad}, "", FLAGS)
    assert evaluated(export_lines(made), tmp_path)["RELEASE_NODE"] == bad
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_variables_has_no_quotes() -> None:
    assert dotenv_lines(plan(ERL_AFLAGS="+P 1000")).splitlines() == [
        "RELEASE_NODE=shop-9001@10.0.0.7",
        "RELEASE_DISTRIBUTION=name",
        "ERL_EPMD_ADDRESS=10.0.0.7",
        f"ERL_AFLAGS={FLAGS} +P 1000",
    ]


@pytest.mark.parametrize("there", ["a'b", "$HOME", "a\nB=c", "a # b", 'a"', "ends in a blank ", "\\"])
def test_what_such_a_file_cannot_say_is_an_error(there: str) -> None:
    with pytest.raises(ReleaseError, match="ERL_AFLAGS: what it holds already cannot be written") as caught:
        dotenv_lines(plan(ERL_AFLAGS=there))
    assert there not in str(caught.value)
