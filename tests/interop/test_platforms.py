"""Each platform's page in README, from a rendered file to full `nodes()`, with a real release."""

import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop import platform_world
from tests.interop.platform_services import (
    ADDRESSES,
    API,
    AWS_ENV,
    ECS,
    NAMESPACE,
    Aws,
    aws,
    kubernetes_api,
)
from tests.interop.platform_units import Service, host
from tests.interop.platform_world import (
    APP,
    COOKIE,
    NODES,
    PORT,
    ROOTS_SOCKET,
    RPC,
    NameServer,
    Stated,
    full,
    name_server,
    node_of,
    nodes_seen,
    render,
    seen_in,
    wait_joined,
)
from tests.support.beam import Beam
from tests.support.containers import IMAGE_ENV, Container, Network, network
from tests.support.deadline import eventually
from tests.support.moto_server import REGION
from tests.support.process import Program
from tests.support.releases import make_release

pytestmark = pytest.mark.interop

READY_WITHIN = 10.0

FAR_NODE = f"{APP}-{PORT}@b1.far"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    release = make_release(tmp_path_factory.mktemp("release"))
    with network(release) as made:
        for address in ADDRESSES:
            made.serve_at(address)
        yield made


@pytest.fixture(scope="module")
def dns(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    with name_server(net, tmp_path_factory.mktemp("dns")) as server:
        yield server


@pytest.fixture(scope="module")
def cloud(net: Network, dns: NameServer) -> Iterator[Aws]:
    with aws(net) as served:
        yield served


class Engine:
    """Makes and starts containers, and removes them all at the end."""

    def __init__(self, net: Network, stack: ExitStack) -> None:
        self.net = net
        self._stack = stack

    def make(self, net: Network | None = None, address: str | None = None) -> Container:
        return self._stack.enter_context((net or self.net).container(address))

    def host(self) -> Container:
        """Make a host, on which epmdless and the release are."""
        return self._stack.enter_context(host(self.make()))

    def set_up(self, container: Container, script: str, **env: str) -> None:
        """Run a script that sets a host up, and start the services that it has systemd start.

        :param env: what is added to the environment of EPMDLESS' service.
        """
        container.path("/opt/set-up").write_text(script)
        done = container.execute("sh", "/opt/set-up", COOKIE=COOKIE)
        assert (done.status, done.stdout, done.stderr) == (0, "", "")
        started = container.path("/run/systemctl").read_text().splitlines()
        assert started[-2:] == [f"enable {APP}.service", f"restart {APP}.service"]
        self.serve(container, Service(container, "epmdless").start(**env))
        self.keep(Service(container, APP).start(**env))

    def serve(self, container: Container, server: Program) -> None:
        """Keep `epmdless serve` on a host until the end, and wait until it serves."""
        self.keep(server)
        socket = container.path(ROOTS_SOCKET)
        eventually(lambda: server.ended or socket.exists(), within=READY_WITHIN, what=server.report)
        assert not server.ended, server.report()

    def keep(self, program: Program) -> None:
        """End a program at the end."""
        self._stack.enter_context(program)

    def start(self, container: Container, stated: Stated, **env: str) -> None:
        self._stack.enter_context(container.running(stated.argv, {**stated.env, **env}, stated.rights))


@pytest.fixture
def engine(net: Network) -> Iterator[Engine]:
    with ExitStack() as stack:
        yield Engine(net, stack)


def test_docker_compose(engine: Engine, dns: NameServer) -> None:
    stated = platform_world.compose(render("compose"))
    replicas: list[Container] = []

    def scale(count: int) -> None:
        while len(replicas) < count:
            container = engine.make()
            container.path("/.dockerenv").touch()
            engine.start(container, stated)
            replicas.append(container)
        dns.say("shop", [each.address for each in replicas])

    scale(stated.document["deploy"]["replicas"])
    wait_joined(replicas)
    assert nodes_seen(replicas[0]) == full(replicas)
    health = replicas[0].execute(*stated.health)
    assert health.status == 0, health
    scale(len(replicas) + 1)
    wait_joined(replicas)
    shown = replicas[-1].execute("epmdless", "cluster")
    assert (shown.status, shown.stderr) == (0, "")
    assert "3/3" in shown.stdout
    assert replicas[0].stop() == 0
    wait_joined(replicas[1:])


def test_docker_compose_with_a_relay(engine: Engine, dns: NameServer) -> None:
    text = render("compose", "--relay", "--replicas=2")
    # Of an image whose user is root.
    stated = {name: platform_world.compose(text, name, image_user=0) for name in (APP, "relay", "b1")}
    stand_in = stated["relay"].document["networks"]["near"]["ipv4_address"]
    near, far = engine.net.beside(stand_in.rpartition(".")[0]), engine.net.beside("10.78.1")
    replicas = [engine.make(near) for _ in range(2)]
    b1, relay = engine.make(far), engine.make(near, stand_in)
    far.connect(relay, "10.78.1.9", "eth1")
    (alias,) = stated["relay"].document["networks"]["near"]["aliases"]
    dns.say("shop", [each.address for each in replicas], **{alias: stand_in, "b1": b1.address})
    engine.start(relay, stated["relay"])
    (own,) = stated["b1"].document["networks"]["far"]["aliases"]
    with b1.path("/etc/hosts").open("a") as hosts:  # as the far network's DNS says
        hosts.write(f"{b1.address} {own}\n")
    engine.start(b1, stated["b1"])
    for each in replicas:
        engine.start(each, stated[APP])
    wait_joined(replicas, FAR_NODE, socket=ROOTS_SOCKET)
    assert nodes_seen(replicas[0]) == full(replicas)  # to them the far node is a hidden one
    assert nodes_seen(b1) == {FAR_NODE: set()}
    for each, service in ((relay, "relay"), (b1, "b1")):
        health = each.execute(*stated[service].health)
        assert health.status == 0, health


def test_kubernetes(engine: Engine, tmp_path: Path) -> None:
    text = render("kubernetes", "--replicas=2")
    pods = [engine.make() for _ in range(2)]
    with kubernetes_api(engine.net, f"{APP}-nodes", tmp_path) as api:
        for number, pod in enumerate(pods):
            fields = {"metadata.name": f"{APP}-{number}", "metadata.namespace": NAMESPACE}
            stated = platform_world.kubernetes(text, {**fields, "status.podIP": pod.address})
            api.give_account(pod)
            engine.start(pod, stated, KUBERNETES_SERVICE_HOST=API, KUBERNETES_SERVICE_PORT="443")
            api.say([each.address for each in pods[: number + 1]])
        wait_joined(pods)
        assert nodes_seen(pods[0]) == full(pods)
        assert api.denied == []
        for probe in ("readinessProbe", "livenessProbe"):
            asked = pods[0].execute(*stated.document[probe]["exec"]["command"])
            assert asked.status == 0, asked
        (port,) = (each for each in stated.document["ports"] if each["name"] == "epmdless")
        url = f"http://{pods[0].address}:{port['containerPort']}/readyz"
        assert status_of(engine.net, url) == 200


def status_of(net: Network, url: str) -> int:
    def ask() -> int:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    return net.gateway.call(ask)


def test_ecs_fargate(engine: Engine, cloud: Aws) -> None:
    stated = platform_world.cloudformation(render("fargate-cloudformation"), {"AWS::Region": REGION})
    service = CloudMapService(cloud, stated.document)
    tasks = [engine.make() for _ in range(2)]
    for task in tasks:
        cloud.tasks[task.name] = task.address
        env = {
            "ECS_CONTAINER_METADATA_URI_V4": f"http://{ECS}/v4/{task.name}",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/of-the-task",
        }
        engine.start(task, stated, **env, **AWS_ENV)
        service.register(task)
    wait_joined(tasks)
    assert nodes_seen(tasks[0]) == full(tasks)
    health = tasks[0].execute(*stated.health)
    assert health.status == 0, health


class CloudMapService:
    """The service of a template in Cloud Map, where ECS registers its tasks."""

    def __init__(self, cloud: Aws, resources: Mapping[str, Any]) -> None:
        self._cloud = cloud
        zone = resources["Namespace"]["Properties"]["Name"]
        name = resources["Discovery"]["Properties"]["Name"]
        (registry,) = resources["Service"]["Properties"]["ServiceRegistries"]
        self._port = str(registry["ContainerPort"])

        def make(client: Any) -> Any:
            client.create_http_namespace(Name=zone)
            (namespace,) = client.list_namespaces()["Namespaces"]
            return client.create_service(Name=name, NamespaceId=namespace["Id"])["Service"]["Id"]

        self._id = cloud.ask("servicediscovery", make)

    def register(self, task: Container) -> None:
        """Register a task that is not healthy yet."""
        attributes = {"AWS_INSTANCE_IPV4": task.address, "AWS_INSTANCE_PORT": self._port}
        attributes["AWS_INIT_HEALTH_STATUS"] = "UNHEALTHY"
        own = {"ServiceId": self._id, "InstanceId": task.name, "Attributes": attributes}
        self._cloud.ask("servicediscovery", lambda client: client.register_instance(**own))


def test_ec2_auto_scaling(engine: Engine, cloud: Aws) -> None:
    script = render("systemd", "--ec2")
    instances = [engine.host() for _ in range(2)]
    cloud.scale_to({each.address for each in instances})
    for instance in instances:
        instance.path("/sys/class/dmi/id").mkdir(parents=True)
        instance.path("/sys/class/dmi/id/sys_vendor").write_text("Amazon EC2\n")
        engine.set_up(instance, script, **AWS_ENV)
    wait_joined(instances, socket=ROOTS_SOCKET)
    # "Look", as root.
    asked = ["sh", "-c", f"set -a; . /etc/shop/cookie.env; exec {' '.join(map(shlex.quote, RPC))}"]
    assert seen_in(instances[0].execute(*asked)) == full(instances)


HOSTS = """
[cluster]
cookie_variable = "RELEASE_COOKIE"

[cluster.source.dns]
kind      = "dns"
basename  = "shop-9001"
addresses = ["hosts.internal"]
"""


def test_plain_hosts(engine: Engine, dns: NameServer) -> None:
    """On one a release whose env.sh was rendered, beside `epmdless serve`; on the other OTP 27's `erl`."""
    hosts = [engine.host() for _ in range(2)]
    env = {**IMAGE_ENV, "HOME": "/root", "RELEASE_COOKIE": COOKIE, "EPMDLESS_CONFIG_TOML": HOSTS}
    dns.say("hosts.internal", [each.address for each in hosts])
    release, erl = hosts
    release.path("/opt/shop/releases/0.1.0/env.sh").write_text(render("env.sh"))
    prefix = [*erl.beside, "epmdless", "exec", f"--app={APP}", "--set-name", "--"]
    engine.serve(release, release.begin(["epmdless", "serve"], env))
    engine.keep(release.begin(["bin/shop", "start"], env))
    with Beam("otp27", None, epmd_port=4369, args=["-setcookie", COOKIE], env=env, prefix=prefix) as beam:
        assert beam.name == node_of(erl)
        wait_joined(hosts, socket=ROOTS_SOCKET)
        assert beam.eval("nodes().") == f"['{node_of(release)}']"
        assert seen_in(release.execute("bin/shop", "rpc", NODES, **env)) == full(hosts)
