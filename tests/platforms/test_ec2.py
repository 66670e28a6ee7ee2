"""What an EC2 instance says of itself, and a metadata service that says it badly."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from trio.testing import MockClock

from epmdless.platforms import ec2, imds
from epmdless.platforms.facts import Facts, PlatformError
from epmdless.platforms.imds import ENDPOINT_VARIABLE, SERVICE
from epmdless.platforms.metadata import PAUSES
from tests.platforms.services import MISBEHAVING, failure, service
from tests.support.ports import closed_port
from tests.support.scripted_http import Answer, Asked, Reply

ITEMS = {
    "local-ipv4": "10.0.2.106",
    "instance-id": "i-0123456789abcdef0",
    "placement/availability-zone": "eu-west-1d",
    "placement/region": "eu-west-1",
}


def instance(items: Mapping[str, str], more: Answer | None = None) -> Answer:
    """An instance with these items; `more` answers for all others."""

    async def answer(asked: Asked, reply: Reply) -> None:
        item = asked.path.partition("/latest/meta-data/")[2]
        if (asked.method, asked.path) == ("PUT", "/v4/own-1/latest/api/token"):
            await reply.whole(200, b"a-token")
        elif asked.headers.get("x-aws-ec2-metadata-token") != "a-token":
            await reply.whole(401)
        elif item in items:
            await reply.whole(200, items[item].encode())
        elif more is not None:
            await more(asked, reply)
        else:
            await reply.whole(404)

    return answer


async def told(items: Mapping[str, str]) -> Facts:
    async with service(instance(items), ENDPOINT_VARIABLE) as (_, environ):
        return await ec2.facts(environ)


async def test_an_instance_knows_its_address_and_where_it_is() -> None:
    labels = {"instance": "i-0123456789abcdef0", "zone": "eu-west-1d", "region": "eu-west-1"}
    assert await told(ITEMS) == Facts("ec2", "10.0.2.106", "EC2 instance metadata", labels)


async def test_an_instance_without_ipv4_has_its_ipv6_address() -> None:
    assert (await told({"ipv6": "2600:1F14:0::7\n"})).address == "2600:1f14::7"


async def test_the_service_has_an_ipv6_address_for_those_who_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service(instance(ITEMS), ENDPOINT_VARIABLE) as (_, environ):
        monkeypatch.setattr(imds, "ENDPOINT_IPV6", environ[ENDPOINT_VARIABLE])
        assert (await ec2.facts({imds.MODE_VARIABLE: "IPv6"})).address == "10.0.2.106"


async def test_what_an_instance_does_not_know_is_left_out() -> None:
    assert (await told({"local-ipv4": "10.0.2.106"})).labels == {}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ({}, f"{SERVICE} names no address of this instance; give --address"),
        ({"local-ipv4": "10.0.0.999"}, f"{SERVICE}: what is there is not an IP address; give --address"),
        ({"local-ipv4": "127.0.0.1"}, f"{SERVICE}: other hosts cannot reach 127.0.0.1; give --address"),
        ({"local-ipv4": "fe80::1"}, f"{SERVICE}: other hosts cannot reach fe80::1; give --address"),
        ({"local-ipv4": "10.0.0.1'; touch x"}, f"{SERVICE} answered what is no such answer; {ec2.TROUBLE}"),
        ({"local-ipv4": "$(touch x)"}, f"{SERVICE} answered what is no such answer; {ec2.TROUBLE}"),
        ({"local-ipv4": "10.0.0.1\n10.0.0.2"}, f"{SERVICE} answered what is no such answer; {ec2.TROUBLE}"),
        (ITEMS | {"instance-id": "i-0\nx"}, f"{SERVICE} answered what is no such answer; {ec2.TROUBLE}"),
    ],
)
async def test_what_is_no_answer(items: Mapping[str, str], said: str) -> None:
    assert await failure(ec2.facts, instance(items), ENDPOINT_VARIABLE) == said


@pytest.mark.parametrize(("answer", "said"), MISBEHAVING.values(), ids=MISBEHAVING)
async def test_a_service_that_misbehaves(clock: MockClock, answer: Answer, said: str) -> None:
    assert said in await failure(ec2.facts, answer, ENDPOINT_VARIABLE)


@pytest.mark.parametrize(("answer", "said"), MISBEHAVING.values(), ids=MISBEHAVING)
async def test_a_service_that_misbehaves_in_the_end(clock: MockClock, answer: Answer, said: str) -> None:
    items = {name: ITEMS[name] for name in list(ITEMS)[:3]}
    assert said in await failure(ec2.facts, instance(items, answer), ENDPOINT_VARIABLE)


async def test_where_there_is_no_service() -> None:
    with closed_port() as port, pytest.raises(PlatformError) as caught:
        await ec2.facts({ENDPOINT_VARIABLE: f"http://127.0.0.1:{port}"})
    said = str(caught.value)
    assert said == f"no instance metadata service (is this an EC2 instance?); {ec2.TROUBLE}"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_service_that_is_busy_is_asked_again(clock: MockClock, status: int) -> None:
    busy = [status] * len(PAUSES)

    async def answer(asked: Asked, reply: Reply) -> None:
        if asked.path.endswith("/local-ipv4") and busy:
            await reply.whole(busy.pop())
        else:
            await instance(ITEMS)(asked, reply)

    async with service(answer, ENDPOINT_VARIABLE) as (server, environ):
        assert (await ec2.facts(environ)).address == ITEMS["local-ipv4"]
        assert sum(asked.path.endswith("/local-ipv4") for asked in server.asked) == len(PAUSES) + 1
