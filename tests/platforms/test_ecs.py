"""The ECS task metadata endpoint: what a task is told, and a service that tells it badly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trio.testing import MockClock

from epmdless.platforms import ecs
from epmdless.platforms.facts import Facts, PlatformError
from tests.platforms.services import MISBEHAVING, SECRET, failure, replying, service
from tests.support.ports import closed_port
from tests.support.scripted_http import Answer

AWSVPC = {"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.2.106"]}
"""As documented for version 4 of the endpoint, with what is not wanted left out."""


def task(*networks: object, **more: object) -> dict[str, Any]:
    """A task with a container for each list of networks."""
    containers = [{"DockerId": f"id-{n}", "Name": "app", "Networks": each} for n, each in enumerate(networks)]
    return {
        "Cluster": "shop",
        "TaskARN": "arn:aws:ecs:eu-1:1:task/shop/5c8f",
        "Containers": containers,
    } | more


async def told(answer: object) -> Facts:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    async with service(replying(body), ecs.VARIABLE) as (server, environ):
        found = await ecs.facts(environ)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/v4/own-1/task")
    return found


async def complaint(answer: object) -> str:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return await failure(ecs.facts, replying(body), ecs.VARIABLE)


async def test_a_task_knows_its_address_and_what_it_is() -> None:
    more = {"Family": "shop", "Revision": "26", "AvailabilityZone": "eu-1d", "LaunchType": "FARGATE"}
    assert await told(task([AWSVPC], **more)) == Facts(
        "ecs",
        "10.0.2.106",
        "ECS task metadata",
        {
            "zone": "eu-1d",
            "family": "shop",
            "revision": "26",
            "task": "arn:aws:ecs:eu-1:1:task/shop/5c8f",
            "cluster": "shop",
            "launch_type": "FARGATE",
        },
    )


async def test_ones_own_container_is_looked_at_first() -> None:
    two = task([AWSVPC | {"IPv4Addresses": ["10.0.0.1"]}], [AWSVPC | {"IPv4Addresses": ["10.0.0.2"]}])
    assert (await told(two)).address == "10.0.0.1"
    two["Containers"][1]["DockerId"] = "own-1"
    assert (await told(two)).address == "10.0.0.2"


async def test_a_container_without_a_network_is_passed_over() -> None:
    assert (await told(task(None, [], [AWSVPC]))).address == "10.0.2.106"


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ({"IPv6Addresses": ["2600:1f14::7"]}, "2600:1f14::7"),
        ({"IPv4Addresses": [], "IPv6Addresses": ["2600:1F14:0::7"]}, "2600:1f14::7"),
        ({"IPv4Addresses": None, "IPv6Addresses": ["2600:1f14::7"]}, "2600:1f14::7"),
        ({"IPv4Addresses": ["10.0.0.1"], "IPv6Addresses": ["2600:1f14::7"]}, "10.0.0.1"),
    ],
)
async def test_a_task_without_ipv4_has_its_ipv6_address(network: dict[str, Any], address: str) -> None:
    assert (await told(task([{"NetworkMode": "awsvpc", **network}]))).address == address


async def test_in_network_mode_host_the_address_is_the_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    async def default() -> tuple[str, str]:
        return "10.0.0.9", "default route"

    monkeypatch.setattr(ecs, "default_address", default)
    found = await told(task([{"NetworkMode": "host", "IPv4Addresses": [""]}]))
    assert (found.address, found.address_from) == ("10.0.0.9", "default route")


@pytest.mark.parametrize("mode", ["bridge", "default", "nat", "none"])
async def test_an_address_behind_an_instance_is_an_error_that_says_what_to_do(mode: str) -> None:
    said = await complaint(task([{"NetworkMode": mode, "IPv4Addresses": ["172.17.0.2"]}]))
    assert said.startswith(f"network mode {mode}: other hosts cannot reach this container's address; ")
    assert "awsvpc or host" in said
    assert "--address" in said


HOSTILE = [
    "10.0.0.1'; touch x",
    "$(touch x)",
    "10.0.0.1\nRELEASE_NODE=x",
    SECRET,
    "b1.internal",
]


@pytest.mark.parametrize("address", HOSTILE)
async def test_an_address_that_is_none_goes_nowhere(address: str) -> None:
    said = await complaint(task([AWSVPC | {"IPv4Addresses": [address]}]))
    assert said == f"{ecs.SERVICE}: what is there is not an IP address; give --address"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "169.254.172.2", "fe80::1", "::", "224.0.0.1"])
async def test_an_address_that_others_cannot_reach_is_an_error(address: str) -> None:
    said = await complaint(task([AWSVPC | {"IPv4Addresses": [address]}]))
    assert said == f"{ecs.SERVICE}: other hosts cannot reach {address}; give --address"


async def test_labels_are_plain_text_or_are_left_out() -> None:
    bad: list[object] = ["a\nb", "\x1b[31m", " a", "", "ä", 7, None, ["a"], {"a": 1}, "a" * 513]
    for value in bad:
        assert "family" not in (await told(task([AWSVPC], Family=value))).labels, value
    assert (await told(task([AWSVPC], Family="a 'b' $(c)"))).labels["family"] == "a 'b' $(c)"


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"<html>log in</html>", b"\xff\xfe", b"[]", b"null", b"7", b'"text"', b"{}", b"{" * 100_000),
        *({"Containers": None}, {"Containers": {}}, {"Containers": [7]}, task("text"), task({"a": 1})),
        *(task([7]), task([{"IPv4Addresses": "10.0.0.1"}]), task([{"IPv4Addresses": [7]}])),
        *(task([{"NetworkMode": 7}]), {"Containers": [{"DockerId": 7}]}),
    ],
)
async def test_what_is_no_task(answer: object) -> None:
    assert await complaint(answer) == f"{ecs.SERVICE} answered what is no task"


@pytest.mark.parametrize("answer", [task(), task(None), task([]), task([{"NetworkMode": "awsvpc"}])])
async def test_a_task_without_an_address(answer: object) -> None:
    assert (await complaint(answer)).startswith(f"{ecs.SERVICE} names no ")


@pytest.mark.parametrize(("answer", "said"), MISBEHAVING.values(), ids=MISBEHAVING)
async def test_a_service_that_misbehaves(clock: MockClock, answer: Answer, said: str) -> None:
    assert said in await failure(ecs.facts, answer, ecs.VARIABLE)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://127.0.0.1:{port}/v4/x", "http://127.0.0.1:{port}/\udcff", "http://xn--/", "http://["),
        *("nowhere", "ftp://127.0.0.1/", "http://\udcff/", "\0"),
    ],
)
async def test_where_there_is_no_service(uri: str) -> None:
    with closed_port() as port, pytest.raises(PlatformError) as caught:
        await ecs.facts({ecs.VARIABLE: uri.format(port=port)})
    assert str(caught.value).startswith(f"no ECS task metadata endpoint (is {ecs.VARIABLE} right?)")


async def test_outside_of_a_task_it_says_so() -> None:
    with pytest.raises(PlatformError, match="is not set"):
        await ecs.facts({})
