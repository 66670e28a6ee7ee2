"""`epmdless env`: what is printed, and that nothing is where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from click.testing import CliRunner

from epmdless.cli.env import env
from epmdless.cli.env_options import EnvOptions
from epmdless.cli.release_files import vm_args
from tests.cli import within
from tests.cli.command import as_json, complaint, epmdless, printed
from tests.support.process import Finished, run
from tests.support.scripted_http import Answer, Asked, Reply, serving
from tests.support.tools import PYTHON, clean_env

HERE: Final = ("env", "--platform=host", "--address=10.0.0.7")
FLAGS: Final = "-start_epmd false -kernel inet_dist_listen_min 9001 inet_dist_listen_max 9001"
ECS: Final = "ECS_CONTAINER_METADATA_URI_V4"


def test_lines_for_a_shell() -> None:
    assert printed(*HERE, "--app=shop").splitlines() == [
        "export RELEASE_NODE=shop-9001@10.0.0.7",
        "export RELEASE_DISTRIBUTION=name",
        "export ERL_EPMD_ADDRESS=10.0.0.7",
        f"export ERL_AFLAGS='{FLAGS}'",
    ]


def test_a_file_of_variables() -> None:
    lines = printed(*HERE, "--format=dotenv", RELEASE_NAME="shop").splitlines()
    assert lines[0] == "RELEASE_NODE=shop-9001@10.0.0.7"
    assert lines[-1] == f"ERL_AFLAGS={FLAGS}"


def test_for_programs() -> None:
    assert as_json(*HERE, "--app=shop", "--port=9100", "--host=b1.internal", ERL_AFLAGS="+P 1000") == {
        "node": "shop-9100@b1.internal",
        "alive": "shop-9100",
        "host": "b1.internal",
        "port": 9100,
        "platform": "host",
        "address": "10.0.0.7",
        "address_from": "--address",
        "labels": {},
        "variables": {
            "RELEASE_NODE": "shop-9100@b1.internal",
            "RELEASE_DISTRIBUTION": "name",
            "ERL_EPMD_ADDRESS": "10.0.0.7",
            "ERL_AFLAGS": f"{FLAGS.replace('9001', '9100')} +P 1000",
        },
    }


def test_the_configuration_says_scheme_and_host(tmp_path: Path) -> None:
    file = tmp_path / "epmdless.toml"
    file.write_text('[resolve]\nhost = "b1.internal"\nscheme = {kind = "offset"}\n')
    found = as_json(*HERE, "--app=emqx3", "--config", file)
    assert (found["node"], found["port"]) == ("emqx3@b1.internal", 4373)
    assert as_json(*HERE, "--app=emqx3", "--host=address", EPMDLESS_CONFIG=str(file))["host"] == "10.0.0.7"


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        (HERE, {}, "no name for the node: give --app"),
        ((*HERE, "--app=shop-9100", "--port=9200"), {}, "the name 'shop-9100' promises port 9100"),
        ((*HERE, "--app=shop", "--host=b1"), {}, "'b1' is no host part of a long name"),
        ((*HERE, "--app=shop", "--host=$(id).b"), {}, "'$(id).b' is no host part of a long name"),
        (
            HERE,
            {"RELEASE_NODE": "shop-9001@b1.internal\nexport X=1"},
            "'b1.internal\\nexport X=1' is no host",
        ),
        ((*HERE, "--app=shop", "--config=/none/epmdless.toml"), {}, "/none/epmdless.toml: No such file"),
        ((*HERE, "--app=shop", "--format=dotenv"), {"ERL_AFLAGS": "$X"}, "ERL_AFLAGS: what it holds already"),
        (("env", "--app=shop", "--address=b1"), {}, "--address: not an IP address"),
        (("env", "--app=shop", "--platform=ecs"), {}, "ECS_CONTAINER_METADATA_URI_V4 is not set"),
        (("env", "--app=shop", "--platform=fly"), {}, "FLY_PRIVATE_IP is not set; give --address"),
        (("env", "--app=shop"), {ECS: "http://["}, "no ECS task metadata endpoint"),
        (("env", "--app=shop"), {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_IP": "x"}, "POD_IP: what is"),
    ],
)
def test_whatever_is_wrong_is_status_2_and_nothing_is_printed(
    words: tuple[str, ...], environ: dict[str, str], said: str
) -> None:
    done = within.epmdless(*words, **environ)
    assert (done.status, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"epmdless: {said}")


def test_the_same_as_a_process() -> None:
    assert complaint(2, *HERE).startswith("no name for the node: give --app")


@pytest.mark.parametrize("form", ["--format=export", "--format=dotenv", "--json"])
def test_a_secret_is_not_printed(form: str) -> None:
    done = within.epmdless(*HERE, "--app=shop", form, RELEASE_COOKIE="never", AWS_SECRET_ACCESS_KEY="never")
    assert (done.status, done.stderr) == (0, "")
    assert "never" not in done.stdout


def test_a_shell_has_the_environment_that_is_printed_and_twice_is_as_once() -> None:
    """In the form that README recommends."""
    line = f'variables="$({PYTHON} -m epmdless {" ".join(HERE)} --app=shop)" || exit 2; eval "$variables"; '
    done = run(["sh", "-euc", f"{line}env; echo again; {line}env"], env=clean_env(ERL_AFLAGS="+P 1000"))
    once, twice = (sorted(part.splitlines()) for part in done.stdout.split("again\n"))
    assert f"ERL_AFLAGS={FLAGS} +P 1000" in once
    assert twice == once


def test_a_shell_stops_where_something_is_wrong() -> None:
    line = f'variables="$({PYTHON} -m epmdless env --platform=fly)" || exit 2; eval "$variables"; echo on'
    done = run(["sh", "-c", line], env=clean_env())
    assert (done.status, done.stdout) == (2, "")


# With a metadata service.


async def in_a_task(answer: Answer, *words: str) -> Finished:
    async with serving(answer) as server:
        uri = f"http://127.0.0.1:{server.port}/v4/own-1"
        return await trio.to_thread.run_sync(lambda: epmdless("env", "--app=shop", *words, **{ECS: uri}))


def task(**more: object) -> Answer:
    network = {"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.2.106"]}
    body = json.dumps({"Containers": [{"DockerId": "own-1", "Networks": [network | more]}], "Family": "shop"})

    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.whole(200, body.encode())

    return answer


async def test_a_task_is_named_by_its_address() -> None:
    done = await in_a_task(task(), "--json")
    assert done.status == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["node"], found["platform"]) == ("shop-9001@10.0.2.106", "ecs")
    assert (found["address_from"], found["labels"]) == ("ECS task metadata", {"family": "shop"})


@pytest.mark.parametrize("address", ["10.0.0.1'; echo x; '", "$(echo x)", "10.0.0.1\nexport X=1"])
async def test_a_hostile_task_is_an_error(address: str) -> None:
    done = await in_a_task(task(IPv4Addresses=[address]))
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == (
        "epmdless: the ECS task metadata endpoint: what is there is not an IP address; give --address\n"
    )


# The options, and a release's own files.


def test_the_options_can_be_said_again() -> None:
    """`epmdless exec` hands them to a process of its own."""
    options = EnvOptions("fly", "-shop", 9100, "--host", "10.0.0.7", "a b.toml", True)
    assert EnvOptions().words() == ["--platform=auto"]
    for wanted in (options, EnvOptions()):
        context = env.make_context("env", [*wanted.words()])
        given = {name: context.params[name] for name in EnvOptions.__dataclass_fields__}
        assert EnvOptions(**given) == wanted


def test_help_shows_how_to_use_it() -> None:
    shown = CliRunner().invoke(env, ["--help"]).output
    assert 'variables="$(epmdless env --app shop)" || exit 2\n' in shown


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for version in ("0.1.0", "0.2.0"):
        folder = tmp_path / "releases" / version
        folder.mkdir(parents=True)
        (folder / "vm.args").write_text(f"{version}")
        (folder / "remote.vm.args").write_text(f"remote {version}")
    (tmp_path / "releases" / "start_erl.data").write_text("13.1.5 0.2.0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, "0.2.0"),
        ({"RELEASE_VSN": "0.1.0", "RELEASE_COMMAND": "start"}, "0.1.0"),
        ({"RELEASE_VSN": "0.1.0", "RELEASE_COMMAND": "rpc"}, "remote 0.1.0"),
        ({"RELEASE_VSN": "9.9.9"}, ""),
        ({"RELEASE_VM_ARGS": "/none", "RELEASE_VSN": "0.1.0"}, ""),
        ({"RELEASE_VM_ARGS": "/dev/zero"}, ""),
        ({"RELEASE_REMOTE_VM_ARGS": "/none"}, "0.2.0"),
    ],
)
def test_the_arguments_that_a_release_adds(release: Path, environ: Mapping[str, str], found: str) -> None:
    assert vm_args({"RELEASE_ROOT": str(release), **environ}) == found


def test_without_a_release_there_are_none() -> None:
    assert vm_args({}) == ""


def test_a_protocol_in_a_releases_arguments_is_not_given_twice(release: Path) -> None:
    words = ("env", "--app=shop", "--address=fd00::7")
    assert "-proto_dist inet6_tcp" in printed(*words, RELEASE_ROOT=str(release))
    (release / "releases" / "0.2.0" / "vm.args").write_text("-proto_dist inet6_tls\n")
    assert "-proto_dist" not in printed(*words, RELEASE_ROOT=str(release))
