"""EC2 instances by tags and state, and those of one's own auto scaling group, from moto's server."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec
import pytest

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer
from epmdless.cluster.sources import ec2
from epmdless.cluster.sources.ec2 import GROUP_TAG, PAGE_INSTANCES, Ec2Instances
from epmdless.config import Ec2Source
from tests.cluster.sources.surroundings import running, surroundings
from tests.support.moto_server import REGION, Moto
from tests.support.scripted_http import Answer, Asked, HttpServer, Reply, serving

pytestmark = pytest.mark.usefixtures("aws_environment")


def make(endpoint: str, environ: dict[str, str] | None = None, **changes: Any) -> Ec2Instances:
    table = {"kind": "ec2", "basename": "app", "region": REGION, "endpoint": endpoint, **changes}
    section = msgspec.convert(table, Ec2Source, dec_hook=lambda kind, value: kind(value))
    return Ec2Instances(section, surroundings(environ), "epmdless.toml", "cluster.source.cloud")


class Instances:
    """Instances of one test, told from all others by a tag."""

    def __init__(self, server: Moto) -> None:
        self.client = server.client("ec2")
        self.cluster = f"cluster-{uuid4()}"

    def start(self, count: int = 1, **tags: str) -> list[Any]:
        """Start some, and return them as they are described."""
        shown = [{"Key": key, "Value": value} for key, value in {"cluster": self.cluster, **tags}.items()]
        started = self.client.run_instances(
            ImageId="ami-12c6146b",
            MinCount=count,
            MaxCount=count,
            TagSpecifications=[{"ResourceType": "instance", "Tags": shown}],
        )
        return list(started["Instances"])


@pytest.fixture
def instances(aws_server: Moto) -> Instances:
    return Instances(aws_server)


def dns(*instances: Any) -> list[Peer]:
    return [Peer(f"app@{each['PrivateDnsName']}") for each in instances]


async def test_instances_with_the_tags_are_named_by_their_domain_names(
    aws_server: Moto, instances: Instances
) -> None:
    wanted = instances.start(2, role="web")
    instances.start(1, role="db")
    source = make(aws_server.url, tags={"cluster": instances.cluster, "role": "web"})
    found = await source.look()
    assert sorted(found) == sorted(dns(*wanted))
    assert all(name.endswith(".internal") for name, _ in found)


async def test_a_tags_value_may_be_a_pattern(aws_server: Moto, instances: Instances) -> None:
    wanted = instances.start(1, role="web-1") + instances.start(1, role="web-2")
    instances.start(1, role="db-1")
    source = make(aws_server.url, tags={"cluster": instances.cluster, "role": "web-*"})
    assert sorted(await source.look()) == sorted(dns(*wanted))


async def test_instances_are_named_by_their_addresses(aws_server: Moto, instances: Instances) -> None:
    (one,) = instances.start()
    source = make(aws_server.url, tags={"cluster": instances.cluster}, names="private_ip")
    assert await source.look() == [Peer(f"app@{one['PrivateIpAddress']}")]


async def test_only_instances_in_the_wanted_states_are_named(aws_server: Moto, instances: Instances) -> None:
    running_one, stopped, ended = instances.start(3)
    instances.client.stop_instances(InstanceIds=[stopped["InstanceId"]])
    instances.client.terminate_instances(InstanceIds=[ended["InstanceId"]])
    tags = {"cluster": instances.cluster}
    assert await make(aws_server.url, tags=tags).look() == dns(running_one)
    both = make(aws_server.url, tags=tags, states=["running", "stopped"])
    assert sorted(await both.look()) == sorted(dns(running_one, stopped))


async def test_nobody_is_an_answer(aws_server: Moto, instances: Instances) -> None:
    assert await make(aws_server.url, tags={"cluster": instances.cluster}).look() == []


async def test_a_source_that_runs_sees_who_comes(aws_server: Moto, instances: Instances) -> None:
    source = make(aws_server.url, tags={"cluster": instances.cluster}, poll=0.2)
    async with running(source, within=60) as said:
        assert await said.names() == set()
        (one,) = instances.start()
        await said.until(f"app@{one['PrivateDnsName']}")


# Large accounts, from a server that is scripted.


def described(first: int, count: int, more: str = "") -> bytes:
    """A page of an answer, with instances of these numbers."""
    items = "".join(
        f"<item><instanceId>i-{n}</instanceId><privateDnsName>ip-{n}.internal</privateDnsName></item>"
        for n in range(first, first + count)
    )
    reservations = f"<item><instancesSet>{items}</instancesSet></item>"
    token = f"<nextToken>{more}</nextToken>" if more else ""
    tag = "DescribeInstancesResponse"
    space = "http://ec2.amazonaws.com/doc/2016-11-15/"
    return f'<{tag} xmlns="{space}"><reservationSet>{reservations}</reservationSet>{token}</{tag}>'.encode()


def pages(*answers: bytes) -> Answer:
    left = iter(answers)

    async def answer(_asked: Asked, reply: Reply) -> None:
        await reply.whole(200, next(left), {"Content-Type": "text/xml"})

    return answer


def at(server: HttpServer) -> str:
    return f"http://127.0.0.1:{server.port}"


async def test_all_pages_are_read() -> None:
    async with serving(pages(described(0, 1000, "page 2"), described(1000, 7))) as server:
        found = await make(at(server), tags={"a": "b"}, timeout=20).look()
    assert found == [Peer(f"app@ip-{n}.internal") for n in range(1007)]
    first, second = (asked.body.decode() for asked in server.asked)
    assert f"MaxResults={PAGE_INSTANCES}" in first
    assert "Filter.1.Name=tag%3Aa&Filter.1.Value.1=b" in first
    assert "Filter.2.Name=instance-state-name&Filter.2.Value.1=running" in first
    assert "NextToken" not in first
    assert "NextToken=page+2" in second


async def test_more_instances_than_names_are_allowed_are_too_many() -> None:
    endless = (described(n * 1000, 1000, "more") for n in range(MAX_NAMES // 1000 + 1))
    async with serving(pages(*endless)) as server:
        with pytest.raises(LookError) as caught:
            await make(at(server), tags={"a": "b"}, timeout=20).look()
    assert caught.value.reason == "too_many"


async def test_instances_without_a_name_are_left_out() -> None:
    answer = described(0, 2).replace(b"ip-1.internal", b"")
    async with serving(pages(answer)) as server:
        assert await make(at(server), tags={"a": "b"}, timeout=20).look() == [Peer("app@ip-0.internal")]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("private_dns", "private DNS name: are DNS hostnames enabled in the VPC?"),
        ("private_ip", "private address"),
    ],
)
async def test_instances_that_all_lack_a_name_are_not_nobody(names: str, said: str) -> None:
    """As those of a VPC without DNS hostnames."""
    answer = described(0, 2).replace(b"ip-0.internal", b"").replace(b"ip-1.internal", b"")
    async with serving(pages(answer)) as server:
        with pytest.raises(LookError) as caught:
            await make(at(server), tags={"a": "b"}, timeout=20, names=names).look()
    assert (caught.value.reason, caught.value.detail) == ("malformed", f"none of 2 instances has a {said}")


@pytest.mark.parametrize("answer", [b"", b"<html>", b"{}", b"<a/>" * 2, b"\xff"])
async def test_what_is_no_answer(answer: bytes) -> None:
    async with serving(pages(answer, answer)) as server:
        with pytest.raises(LookError) as caught:
            await make(at(server), tags={"a": "b"}, timeout=20).look()
    assert caught.value.reason == "malformed"


# One's own group.


def metadata(instance: str, token: bytes = b"AQAE-token==") -> Answer:
    """The metadata service of an instance: a token first, and no answer without it."""

    async def answer(asked: Asked, reply: Reply) -> None:
        seconds = asked.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if (asked.method, asked.path) == ("PUT", "/latest/api/token") and seconds.isdigit():
            await reply.whole(200, token)
        elif asked.headers.get("x-aws-ec2-metadata-token", "").encode() != token:
            await reply.whole(401)
        elif (asked.method, asked.path) == ("GET", "/latest/meta-data/instance-id"):
            await reply.whole(200, instance.encode())
        else:
            await reply.whole(404)

    return answer


def group_of(server: Moto, name: str, size: int) -> list[str]:
    """An auto scaling group: the ids of its instances."""
    scaling = server.client("autoscaling")
    template = f"template-{uuid4()}"
    scaling.create_launch_configuration(
        LaunchConfigurationName=template, ImageId="ami-12c6146b", InstanceType="t2.medium"
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName=template,
        MinSize=size,
        MaxSize=size,
        AvailabilityZones=[f"{REGION}a"],
    )
    groups = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return [each["InstanceId"] for each in groups[0]["Instances"]]


async def test_the_instances_of_ones_own_group(aws_server: Moto, instances: Instances) -> None:
    instances.start()
    own, _ = group_of(aws_server, f"own-{uuid4()}", 2), group_of(aws_server, f"other-{uuid4()}", 1)
    async with serving(metadata(own[0])) as service:
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": at(service)}
        source = make(aws_server.url, environ, own_group=True)
        found = await source.look()
        described = instances.client.describe_instances(InstanceIds=own)["Reservations"]
        assert sorted(found) == sorted(dns(*(each for one in described for each in one["Instances"])))
        assert len(found) == 2
        assert await source.look() == found
        assert len(service.asked) == 2, "the group is asked for once in a while"


async def test_an_instance_of_no_group_says_so(aws_server: Moto, instances: Instances) -> None:
    (alone,) = instances.start()
    async with serving(metadata(alone["InstanceId"])) as service:
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": at(service)}
        with pytest.raises(LookError, match="belongs to no auto scaling group") as caught:
            await make(aws_server.url, environ, own_group=True).look()
        assert caught.value.reason == "failed"


async def test_an_instance_that_there_is_not_says_so(aws_server: Moto) -> None:
    async with serving(metadata("i-0123456789abcdef0")) as service:
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": at(service)}
        with pytest.raises(LookError, match=r"InvalidInstanceID\.NotFound"):
            await make(aws_server.url, environ, own_group=True).look()


async def test_a_groups_name_is_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    async def own(*_: object) -> str:
        return "i-1"

    monkeypatch.setattr(ec2, "instance_id", own)
    tag = f"<tagSet><item><key>{GROUP_TAG}</key><value>a*b?\\</value></item></tagSet></item></instancesSet>"
    described_own = described(1, 1).replace(b"</item></instancesSet>", tag.encode())
    async with serving(pages(described_own, described(1, 1))) as server:
        await make(at(server), own_group=True, timeout=20).look()
    assert "Filter.1.Value.1=a%5C%2Ab%5C%3F%5C%5C" in server.asked[1].body.decode()
