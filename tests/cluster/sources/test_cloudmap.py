"""The instances of a Cloud Map service, from moto's server: all of them, and not the eight that DNS shows."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from epmdless.cluster.peers import LookError, Peer
from epmdless.cluster.sources.cloudmap import MAX_INSTANCES, CloudMapInstances
from epmdless.config import CloudMapSource
from tests.cluster.sources.surroundings import running, surroundings
from tests.support.moto_server import REGION, Moto
from tests.support.scripted_http import Asked, Reply, serving

pytestmark = pytest.mark.usefixtures("aws_environment")


def make(endpoint: str, service: str = "app", **changes: Any) -> CloudMapInstances:
    names = {"namespace": "nodes.internal", "service": service}
    table = {
        "kind": "cloudmap",
        "basename": "app",
        **names,
        "region": REGION,
        "endpoint": endpoint,
        **changes,
    }
    section = msgspec.convert(table, CloudMapSource, dec_hook=lambda kind, value: kind(value))
    return CloudMapInstances(section, surroundings(), "epmdless.toml", "cluster.source.map")


class Service:
    """A service with instances of its own."""

    def __init__(self, server: Moto) -> None:
        self.client = server.client("servicediscovery")
        self.url = server.url
        self.name = f"app-{uuid4()}"
        namespaces = {each["Name"]: each["Id"] for each in self.client.list_namespaces()["Namespaces"]}
        if "nodes.internal" not in namespaces:
            self.client.create_http_namespace(Name="nodes.internal")
            namespaces = {each["Name"]: each["Id"] for each in self.client.list_namespaces()["Namespaces"]}
        created = self.client.create_service(Name=self.name, NamespaceId=namespaces["nodes.internal"])
        self.id = created["Service"]["Id"]

    def register(self, name: str, **attributes: str) -> None:
        self.client.register_instance(ServiceId=self.id, InstanceId=name, Attributes=attributes)

    def source(self, **changes: Any) -> CloudMapInstances:
        return make(self.url, self.name, **changes)


@pytest.fixture
def service(aws_server: Moto) -> Service:
    return Service(aws_server)


async def test_all_instances_are_named_however_many(service: Service) -> None:
    for number in range(30):
        service.register(f"i{number}", AWS_INSTANCE_IPV4=f"10.0.0.{number}")
    assert set(await service.source().look()) == {Peer(f"app@10.0.0.{number}") for number in range(30)}


async def test_an_instance_may_have_a_port_and_an_address_of_either_kind(service: Service) -> None:
    service.register(
        "both", AWS_INSTANCE_IPV4="10.0.0.1", AWS_INSTANCE_IPV6="fd00::1", AWS_INSTANCE_PORT="9001"
    )
    service.register("six", AWS_INSTANCE_IPV6="fd00::2", AWS_INSTANCE_PORT="9002")
    service.register("none", AWS_INSTANCE_CNAME="b3.internal")
    plain = await service.source().look()
    assert set(plain) == {Peer("app@10.0.0.1", 9001), Peer("app@fd00::2", 9002)}
    ported = await service.source(names="port").look()
    assert set(ported) == {Peer("app-9001@10.0.0.1", 9001), Peer("app-9002@fd00::2", 9002)}


async def test_those_that_are_not_healthy_are_left_out_unless_wanted(service: Service) -> None:
    for name in ("a", "b"):
        service.register(name, AWS_INSTANCE_IPV4=f"10.0.0.{ord(name)}", AWS_INIT_HEALTH_STATUS="HEALTHY")
    service.client.update_instance_custom_health_status(
        ServiceId=service.id, InstanceId="b", Status="UNHEALTHY"
    )
    assert await service.source().look() == [Peer("app@10.0.0.97")]
    assert len(await service.source(health="ALL").look()) == 2


async def test_nobody_is_an_answer_and_no_service_is_none(service: Service, aws_server: Moto) -> None:
    assert await service.source().look() == []
    with pytest.raises(LookError, match="ServiceNotFound") as caught:
        await make(aws_server.url, "nothing-of-that-name").look()
    assert caught.value.reason == "failed"


async def test_a_source_that_runs_sees_who_comes_and_who_goes(service: Service) -> None:
    async with running(service.source(poll=0.2), within=60) as said:
        assert await said.names() == set()
        service.register("one", AWS_INSTANCE_IPV4="10.0.0.1")
        await said.until("app@10.0.0.1")
        service.client.deregister_instance(ServiceId=service.id, InstanceId="one")
        await said.until()


# What moto would not say.


async def discovered(*instances: object, **changes: Any) -> list[Peer]:
    """What a server is understood that names these instances."""
    body = json.dumps({"Instances": instances}).encode()

    async def answer(asked: Asked, reply: Reply) -> None:
        assert json.loads(asked.body) == {
            "NamespaceName": "nodes.internal",
            "ServiceName": "app",
            "HealthStatus": "HEALTHY",
            "MaxResults": 1000,
        }
        await reply.whole(200, body)

    async with serving(answer) as server:
        result: list[Peer] | LookError
        try:
            result = list(await make(f"http://127.0.0.1:{server.port}", timeout=20, **changes).look())
        except LookError as error:
            result = error
    if isinstance(result, LookError):
        raise result
    return result


def instance(address: str, **attributes: str) -> object:
    return {"InstanceId": address, "Attributes": {"AWS_INSTANCE_IPV4": address, **attributes}}


@pytest.mark.parametrize("port", ["0", "65536", "-1", "9001x", "", "٩", "9" * 5000, " 1"])
async def test_a_port_that_is_none_is_as_none(port: str) -> None:
    assert await discovered(instance("10.0.0.1", AWS_INSTANCE_PORT=port)) == [Peer("app@10.0.0.1", None)]
    with pytest.raises(LookError, match="none of 1 instances has AWS_INSTANCE_IPV4 or _IPV6 and _PORT"):
        await discovered(instance("10.0.0.1", AWS_INSTANCE_PORT=port), names="port")


async def test_instances_none_of_which_has_an_address_are_a_mistake_and_not_nobody() -> None:
    with pytest.raises(LookError, match="none of 2 instances") as caught:
        await discovered({"InstanceId": "a"}, {"InstanceId": "b", "Attributes": {}})
    assert caught.value.reason == "malformed"


async def test_a_full_answer_may_leave_others_out() -> None:
    several = [instance(f"10.0.{n >> 8}.{n & 255}") for n in range(MAX_INSTANCES)]
    assert len(await discovered(*several[1:])) == MAX_INSTANCES - 1
    with pytest.raises(LookError) as caught:
        await discovered(*several)
    assert caught.value.reason == "too_many"


@pytest.mark.parametrize("bad", [7, "a", [], {"Attributes": 7}, {"Attributes": {"AWS_INSTANCE_IPV4": 7}}])
async def test_what_is_no_instance(bad: object) -> None:
    with pytest.raises(LookError) as caught:
        await discovered(bad)
    assert caught.value.reason == "malformed"
