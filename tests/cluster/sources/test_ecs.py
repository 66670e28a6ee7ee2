"""The tasks of an ECS service, from moto's server, and from one that is scripted for what moto cannot do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from epmdless.cluster.peers import MAX_NAMES, LookError, Peer
from epmdless.cluster.sources.ecs import PAGE_TASKS, EcsTasks
from epmdless.config import EcsSource
from tests.cluster.sources.surroundings import surroundings
from tests.support.moto_server import REGION, Moto
from tests.support.scripted_http import Asked, Reply, serving

pytestmark = pytest.mark.usefixtures("aws_environment")


def make(endpoint: str, **changes: Any) -> EcsTasks:
    table = {"kind": "ecs", "basename": "app", "service": "app", "region": REGION, "endpoint": endpoint}
    section = msgspec.convert({**table, **changes}, EcsSource, dec_hook=lambda kind, value: kind(value))
    return EcsTasks(section, surroundings(), "epmdless.toml", "cluster.source.tasks")


class Cluster:
    """A cluster with a service whose tasks have addresses of their own."""

    def __init__(self, server: Moto) -> None:
        self.client = server.client("ecs")
        self.url = server.url
        self.name = f"cluster-{uuid4()}"
        self.client.create_cluster(clusterName=self.name)
        self._subnet = server.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        self._definition = self.client.register_task_definition(
            family="app",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[{"name": "app", "image": "app:1", "memory": 400}],
        )["taskDefinition"]["taskDefinitionArn"]
        self.client.create_service(
            cluster=self.name,
            serviceName="app",
            taskDefinition=self._definition,
            desiredCount=0,
            launchType="FARGATE",
        )

    def start(self, count: int) -> list[Any]:
        """Start tasks, ten at a time as ECS does."""
        started: list[Any] = []
        while len(started) < count:
            started += self.client.run_task(
                cluster=self.name,
                taskDefinition=self._definition,
                launchType="FARGATE",
                count=min(10, count - len(started)),
                networkConfiguration={
                    "awsvpcConfiguration": {"subnets": [self._subnet], "securityGroups": []}
                },
            )["tasks"]
        return started


@pytest.fixture
def cluster(aws_server: Moto) -> Cluster:
    return Cluster(aws_server)


def names(tasks: Sequence[Any]) -> list[str]:
    details = [detail for task in tasks for each in task["attachments"] for detail in each["details"]]
    return sorted(f"app@{each['value']}" for each in details if each["name"] == "privateIPv4Address")


async def test_tasks_are_named_by_their_own_addresses(cluster: Cluster) -> None:
    started = cluster.start(3)
    found = await make(cluster.url, cluster=cluster.name).look()
    assert sorted(peer.name for peer in found) == names(started)
    assert len(found) == 3


async def test_a_task_that_was_stopped_is_named_no_more(cluster: Cluster) -> None:
    first, second = cluster.start(2)
    cluster.client.stop_task(cluster=cluster.name, task=first["taskArn"])
    found = await make(cluster.url, cluster=cluster.name).look()
    assert [peer.name for peer in found] == names([second])


async def test_more_tasks_than_one_question_takes(cluster: Cluster) -> None:
    started = cluster.start(PAGE_TASKS + 20)
    found = await make(cluster.url, cluster=cluster.name, timeout=20).look()
    assert sorted(peer.name for peer in found) == names(started)


async def test_nobody_is_an_answer_and_no_cluster_is_none(cluster: Cluster) -> None:
    assert await make(cluster.url, cluster=cluster.name).look() == []
    with pytest.raises(LookError, match="ClusterNotFoundException") as caught:
        await make(cluster.url, cluster="nothing-of-that-name").look()
    assert caught.value.reason == "failed"


# What moto does not do: whose tasks they are, other networks, failures, pages.


class Scripted:
    """An ECS that has these pages of tasks, each as it is described."""

    def __init__(self, *pages: Sequence[Mapping[str, Any]], failures: Sequence[object] = ()) -> None:
        self.pages = pages
        self.failures = failures
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, asked: Asked, reply: Reply) -> None:
        operation = asked.headers["x-amz-target"].rpartition(".")[2]
        body = json.loads(asked.body)
        self.asked.append((operation, body))
        answer = self._list(body) if operation == "ListTasks" else self._describe(body["tasks"])
        await reply.whole(200, json.dumps(answer).encode())

    def _list(self, body: Mapping[str, Any]) -> object:
        number = int(body.get("nextToken", 0))
        arns = [task["taskArn"] for task in self.pages[number]]
        return {"taskArns": arns, **({"nextToken": str(number + 1)} if number + 1 < len(self.pages) else {})}

    def _describe(self, arns: Sequence[str]) -> object:
        tasks = {task["taskArn"]: task for page in self.pages for task in page}
        return {"tasks": [tasks[arn] for arn in arns], "failures": self.failures}


def task(number: int, status: str = "RUNNING", **more: Any) -> Mapping[str, Any]:
    details = [
        {"name": "subnetId", "value": "s"},
        {"name": "privateIPv4Address", "value": f"10.0.0.{number}"},
    ]
    interface = {"type": "ElasticNetworkInterface", "status": "ATTACHED", "details": details}
    return {"taskArn": f"arn:{number}", "lastStatus": status, "attachments": [interface], **more}


async def look(script: Scripted, **changes: Any) -> list[str]:
    """The names that are found, or a LookError."""
    async with serving(script) as server:
        problem: LookError | None = None
        found: list[str] = []
        try:
            peers = await make(f"http://127.0.0.1:{server.port}", timeout=20, **changes).look()
            found = [peer.name for peer in peers]
            assert peers == [Peer(name) for name in found]
        except LookError as error:
            problem = error
    if problem is not None:
        raise problem
    return found


async def test_the_services_running_tasks_are_asked_for() -> None:
    script = Scripted([task(1), task(2)], [], [task(3)])
    assert await look(script, cluster="main", service="shop") == [
        "app@10.0.0.1",
        "app@10.0.0.2",
        "app@10.0.0.3",
    ]
    wanted = {"cluster": "main", "serviceName": "shop", "desiredStatus": "RUNNING", "maxResults": 100}
    assert script.asked == [
        ("ListTasks", wanted),
        ("ListTasks", {**wanted, "nextToken": "1"}),
        ("ListTasks", {**wanted, "nextToken": "2"}),
        ("DescribeTasks", {"cluster": "main", "tasks": ["arn:1", "arn:2", "arn:3"]}),
    ]


async def test_a_hundred_tasks_go_into_a_question() -> None:
    script = Scripted([task(n) for n in range(250)])
    assert len(await look(script)) == 250
    assert [len(body["tasks"]) for name, body in script.asked if name == "DescribeTasks"] == [100, 100, 50]


async def test_a_task_that_does_not_run_yet_is_not_there_yet() -> None:
    script = Scripted([task(1), task(2, "PENDING"), task(3, "PROVISIONING", attachments=[])])
    assert await look(script) == ["app@10.0.0.1"]


async def test_without_an_interface_of_its_own_a_tasks_containers_may_have_one() -> None:
    containers = [
        {"name": "side"},
        {"name": "app", "networkInterfaces": [{"attachmentId": "a", "privateIpv4Address": "10.0.0.9"}]},
    ]
    other = {"type": "AmazonElasticBlockStorage", "details": [{"name": "privateIPv4Address", "value": "no"}]}
    script = Scripted([task(1, attachments=[other], containers=containers)])
    assert await look(script) == ["app@10.0.0.9"]


async def test_tasks_none_of_which_has_an_address_are_a_mistake_and_not_nobody() -> None:
    script = Scripted(
        [task(1, attachments=[]), task(2, attachments=[], containers=[{"networkBindings": []}])]
    )
    with pytest.raises(
        LookError, match="none of 2 tasks has an address: is the network mode awsvpc"
    ) as caught:
        await look(script)
    assert caught.value.reason == "malformed"


async def test_a_task_that_ended_meanwhile_is_missing_and_no_more() -> None:
    missing = {"arn": "arn:2", "reason": "MISSING"}
    assert await look(Scripted([task(1)], failures=[missing])) == ["app@10.0.0.1"]
    with pytest.raises(LookError) as caught:
        await look(Scripted([task(1)], failures=[missing, {"arn": "arn:3", "reason": "ACCESS"}]))
    assert caught.value.reason == "failed"


async def test_more_tasks_than_names_are_allowed_are_too_many() -> None:
    script = Scripted(*[[task(n) for n in range(1000)]] * (MAX_NAMES // 1000 + 1))
    with pytest.raises(LookError) as caught:
        await look(script)
    assert caught.value.reason == "too_many"


BAD: list[Mapping[str, Any]] = [
    task(1, attachments=7),
    task(1, attachments=[{"type": 7}]),
    task(
        1,
        attachments=[
            {"type": "ElasticNetworkInterface", "details": [{"name": "privateIPv4Address", "value": 7}]}
        ],
    ),
    task(1, attachments=[], containers=[7]),
    {"taskArn": "arn:1", "lastStatus": 7},
]


@pytest.mark.parametrize("bad", BAD)
async def test_what_is_no_task(bad: Mapping[str, Any]) -> None:
    with pytest.raises(LookError) as caught:
        await look(Scripted([bad]))
    assert caught.value.reason == "malformed"
