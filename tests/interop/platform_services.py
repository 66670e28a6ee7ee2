"""What a platform serves to its containers and instances, at the addresses where it does: the API of
Kubernetes, the metadata of ECS and EC2, and AWS itself as moto plays it."""

import itertools
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.support.certificates import Authority
from tests.support.containers import GATEWAY, PREFIX, Container, Network
from tests.support.deadline import eventually
from tests.support.http_services import Asked, http_service
from tests.support.kubernetes_api import endpoint, event, page_of, slice_of
from tests.support.moto_server import CREDENTIALS, NOTHING_ELSE, REGION, Moto
from tests.support.process import Program
from tests.support.tools import PYTHON, clean_env

T = TypeVar("T")

API: Final = "10.96.0.1"
ECS: Final = "169.254.170.2"
IMDS: Final = "169.254.169.254"
ADDRESSES: Final = (API, ECS, IMDS)
"""Of the gateway, in the containers' network alone."""

ACCOUNT: Final = Path("/run/secrets/kubernetes.io/serviceaccount")
NAMESPACE: Final = "prod"
TOKEN: Final = "token-of-the-service-account"

ZONE: Final = f"{REGION}a"
ROLE: Final = "nodes"
IMDS_TOKEN: Final = "AQAE-token=="

AWS_PORT: Final = 5000
AWS_NAMES: Final = ("aws.test", "data-aws.test")
"""botocore asks Cloud Map at a name of its own, which begins with `data-`."""

AWS_ENV: Final = {"AWS_ENDPOINT_URL": f"http://{AWS_NAMES[0]}:{AWS_PORT}"}

MOTO_WITHIN = 30.0


class KubernetesApi:
    """The API server, as far as it tells the service account of one service's EndpointSlices.

    :ivar denied: requests that the manifest's role does not allow, or for something else.
    """

    def __init__(self, service: str, folder: Path) -> None:
        self.denied: list[Asked] = []
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
        self._selector = f"kubernetes.io/service-name={service}"
        self._service = service
        self._versions: list[Any] = []
        self._changed = threading.Condition()
        self._over = False
        self._authority = Authority(folder)
        issued = self._authority.issue(API)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(issued.cert, issued.key)
        self.say([])

    def say(self, addresses: Sequence[str]) -> None:
        """Let just these be the pods of the service, none of them ready yet."""
        with self._changed:
            version = len(self._versions) + 1
            pods = [endpoint(address, ready=False, serving=False) for address in addresses]
            self._versions.append(slice_of(f"{self._service}-x1", version, pods))
            self._changed.notify_all()

    def give_account(self, container: Container) -> None:
        """Let a container have the files of its service account."""
        folder = container.path(str(ACCOUNT))
        folder.mkdir(parents=True)
        (folder / "token").write_text(TOKEN)
        (folder / "namespace").write_text(NAMESPACE)
        (folder / "ca.crt").write_bytes(self._authority.ca.read_bytes())

    def answer(self, asked: Asked) -> bytes | Iterator[bytes] | int:
        """Answer a request."""
        right = (asked.path, asked.query.get("labelSelector")) == (self._path, self._selector)
        if not right or asked.headers.get("authorization") != f"Bearer {TOKEN}":
            self.denied.append(asked)
            return 403
        if asked.query.get("watch") == "true":
            return self._watch(int(asked.query["resourceVersion"]))
        return page_of(len(self._versions), self._versions[-1])

    def _watch(self, seen: int) -> Iterator[bytes]:
        for told in itertools.count(seen):
            with self._changed:
                while not self._over and len(self._versions) <= told:
                    self._changed.wait()
                if self._over:
                    return
                changed = self._versions[told]
            yield event("MODIFIED", changed)

    def end(self) -> None:
        """End all watches."""
        with self._changed:
            self._over = True
            self._changed.notify_all()


@contextmanager
def kubernetes_api(net: Network, service: str, folder: Path) -> Iterator[KubernetesApi]:
    """Serve the API until the context ends."""
    api = KubernetesApi(service, folder)
    with http_service(net.gateway, (API, 443), api.answer, api.tls):
        try:
            yield api
        finally:
            api.end()


class Aws:
    """AWS: its APIs, and what tasks and instances are told of themselves.

    :ivar tasks: the address of each ECS task, by the id in its metadata's URL.
    :ivar instances: the id of each EC2 instance, by its address.
    """

    def __init__(self, net: Network) -> None:
        self.tasks: dict[str, str] = {}
        self.instances: dict[str, str] = {}
        self._net = net
        self._moto = Moto(f"http://{GATEWAY}:{AWS_PORT}")

    def ask(self, service: str, ask: Callable[[Any], T]) -> T:
        """Have a function ask one of the APIs, by a client of botocore."""
        return self._net.gateway.call(lambda: _asked(self._moto, service, ask))

    def scale_to(self, addresses: Iterable[str]) -> None:
        """Have an auto scaling group with instances of these addresses."""
        self.instances = self.ask("ec2", lambda client: _run_instances(client, addresses))
        self.ask("autoscaling", self._make_group)

    def _make_group(self, client: Any) -> None:
        launch = {"ImageId": "ami-12c6146b", "InstanceType": "t3.small"}
        client.create_launch_configuration(LaunchConfigurationName="shop", **launch)
        client.create_auto_scaling_group(
            AutoScalingGroupName="shop",
            LaunchConfigurationName="shop",
            MinSize=0,
            MaxSize=len(self.instances),
            AvailabilityZones=[ZONE],
        )
        client.attach_instances(AutoScalingGroupName="shop", InstanceIds=list(self.instances.values()))

    def ecs(self, asked: Asked) -> bytes | int:
        """Answer as the task metadata endpoint, version 4, and as the endpoint for credentials."""
        kind, _, path = asked.path.removeprefix("/").partition("/")
        if (kind, path) == ("v2", "credentials/of-the-task"):
            return _credentials()
        number, _, rest = path.partition("/")
        if (kind, rest) != ("v4", "task") or number not in self.tasks:
            return 404
        networks = [{"NetworkMode": "awsvpc", "IPv4Addresses": [self.tasks[number]]}]
        pause = {"DockerId": "pause", "Name": "~internal~ecs~pause", "Networks": None}
        own = {"DockerId": number, "Name": "shop", "Networks": networks}
        task = {"Cluster": "shop", "TaskARN": f"arn:aws:ecs:{REGION}:1:task/shop/{number}", "Family": "shop"}
        whole = {**task, "Revision": "3", "AvailabilityZone": ZONE, "Containers": [pause, own]}
        return json.dumps(whole).encode()

    def imds(self, asked: Asked) -> bytes | int:
        """Answer as the instance metadata service, version 2, which tasks cannot reach."""
        if asked.client not in self.instances:
            return 403
        if (asked.method, asked.path) == ("PUT", "/latest/api/token"):
            return IMDS_TOKEN.encode()
        if asked.headers.get("x-aws-ec2-metadata-token") != IMDS_TOKEN:
            return 401
        said = {
            "instance-id": self.instances[asked.client],
            "local-ipv4": asked.client,
            "placement/availability-zone": ZONE,
            "placement/availability-zone/": ZONE,
            "placement/region": REGION,
            "iam/security-credentials/": ROLE,
            f"iam/security-credentials/{ROLE}": _credentials().decode(),
        }.get(asked.path.removeprefix("/latest/meta-data/"))
        return said.encode() if said else 404


def _asked(moto: Moto, service: str, ask: Callable[[Any], T]) -> T:
    client = moto.client(service)
    try:
        return ask(client)
    finally:
        client.close()


def _run_instances(client: Any, addresses: Iterable[str]) -> dict[str, str]:
    """Run instances, and return the id of each by its address."""
    network = f"{PREFIX}.0/24"
    vpc = client.create_vpc(CidrBlock=network)["Vpc"]["VpcId"]
    subnet = client.create_subnet(VpcId=vpc, CidrBlock=network)["Subnet"]["SubnetId"]
    own = {"ImageId": "ami-12c6146b", "SubnetId": subnet, "MinCount": 1, "MaxCount": 1}
    started = [client.run_instances(PrivateIpAddress=each, **own)["Instances"][0] for each in addresses]
    return {each["PrivateIpAddress"]: each["InstanceId"] for each in started}


def _credentials() -> bytes:
    keys = {
        "AccessKeyId": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        "Token": "session",
        "Expiration": "2100-01-01T00:00:00Z",
        "LastUpdated": "2020-01-01T00:00:00Z",
        "Code": "Success",
        "Type": "AWS-HMAC",
    }
    return json.dumps(keys).encode()


@contextmanager
def aws(net: Network) -> Iterator[Aws]:
    """Have AWS until the context ends; it is ready."""
    served = Aws(net)
    argv = [*net.gateway.prefix, PYTHON, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(AWS_PORT)]
    with ExitStack() as stack:
        program = stack.enter_context(Program(argv, env=clean_env(**CREDENTIALS, **NOTHING_ELSE)))
        stack.enter_context(http_service(net.gateway, (ECS, 80), served.ecs))
        stack.enter_context(http_service(net.gateway, (IMDS, 80), served.imds))

        def is_up() -> bool:
            assert not program.ended, program.report()
            return "Running on" in program.stderr

        eventually(is_up, within=MOTO_WITHIN, what=program.report)
        yield served
