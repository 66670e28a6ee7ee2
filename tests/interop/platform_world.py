"""What the tests of platforms share: rendered files taken at their word, and what a platform has besides.

What Docker, Kubernetes, ECS and EC2 do with a file and for a container is done here; the files, the programs
and the network are real.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.message
import dns.query
import yaml

from epmdless.cli.control import ControlClient
from epmdless.errors import EpmdlessError
from tests.interop.platform_services import AWS_NAMES
from tests.support.containers import GATEWAY, IMAGE_USER, Container, Network, Rights
from tests.support.deadline import DeadlineError, eventually
from tests.support.process import Finished, Program, run
from tests.support.tools import PYTHON, clean_env, require

APP: Final = "shop"
PORT: Final = 9001
COOKIE: Final = "24ea5cf12a5a45b1a8b5e3ef"

JOINED_WITHIN = 30.0
READY_WITHIN = 10.0

IMAGE_SOCKET: Final = f"/tmp/epmdless-{IMAGE_USER}/control.sock"
ROOTS_SOCKET: Final = "/run/epmdless/control.sock"

NODES: Final = (
    "for node <- [node() | Node.list()], "
    "do: IO.puts(Enum.join([node | :erpc.call(node, :erlang, :nodes, [])], ~s( )))"
)
"""Has a node print, of itself and of each that it sees, whom it sees: a line each."""

RPC: Final = (
    *("epmdless", "exec", f"--app={APP}", f"--port={PORT}", "--"),
    *(f"bin/{APP}", "rpc", NODES),
)

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::\?[^}]*)?\})")


@dataclass(frozen=True, slots=True)
class Stated:
    """What a rendered file states of a container.

    :ivar health: the words of its health check.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    rights: Rights
    health: Sequence[str] = field(default=())
    document: Any = None

    @property
    def configuration(self) -> Any:
        """The configuration of epmdless."""
        return tomllib.loads(self.env["EPMDLESS_CONFIG_TOML"])


def render(what: str, *options: str) -> str:
    """Run `epmdless render`."""
    argv = [PYTHON, "-m", "epmdless", "render", what, f"--app={APP}", f"--port={PORT}", *options]
    done = run(argv, env=clean_env())
    assert (done.status, done.stderr) == (0, ""), done.stderr
    return done.stdout


def compose(text: str, name: str = APP, image_user: int = IMAGE_USER) -> Stated:
    """Take a service of a compose file as Docker does.

    :param image_user: as whom programs run if the file does not say.
    """
    service = yaml.safe_load(text)["services"][name]
    variables = {"RELEASE_COOKIE": COOKIE}

    def filled(value: str) -> str:
        return _VARIABLE.sub(lambda found: variables[found[1]] if found[1] else "$", value)

    rights = Rights(
        user=int(str(service.get("user", image_user)).partition(":")[0]),
        is_confined=service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"],
        is_read_only=service["read_only"],
        writable=tuple(service["tmpfs"]),
    )
    argv = [*service["entrypoint"], *service.get("command", [])]
    env = {name: filled(value) for name, value in service["environment"].items()}
    return Stated(argv, env, rights, _check(service["healthcheck"]["test"]), service)


def _check(words: Sequence[str]) -> list[str]:
    return ["sh", "-c", words[1]] if words[0] == "CMD-SHELL" else list(words[1:])


def kubernetes(text: str, fields: Mapping[str, str]) -> Stated:
    """Take a manifest's pod as the kubelet does.

    :param fields: what it knows of the pod, by ``fieldPath``.
    """
    documents = {each["kind"]: each for each in yaml.safe_load_all(text) if each}
    pod = documents["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    def value(variable: Mapping[str, Any]) -> str:
        source = variable.get("valueFrom")
        if source is None:
            return str(variable["value"])
        return fields[source["fieldRef"]["fieldPath"]] if "fieldRef" in source else COOKIE

    confined = container["securityContext"]
    rights = Rights(
        user=pod["securityContext"]["runAsUser"],
        is_confined=confined["capabilities"]["drop"] == ["ALL"] and not confined["allowPrivilegeEscalation"],
        is_read_only=confined["readOnlyRootFilesystem"],
        writable=tuple(mount["mountPath"] for mount in container["volumeMounts"]),
    )
    env = {each["name"]: value(each) for each in container["env"]}
    return Stated(container["command"], env, rights, document=container)


def cloudformation(text: str, references: Mapping[str, str]) -> Stated:
    """Take a template's container as ECS does.

    :param references: what ``!Ref`` stands for.
    """

    class Template(yaml.SafeLoader):
        """Reads a reference as what it stands for, and another function as its text."""

    def function(_: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return references.get(node.value, node.value) if suffix == "Ref" else node.value
        return {suffix: node.value}

    Template.add_multi_constructor("!", function)
    resources = yaml.load(text, Template)["Resources"]
    (container,) = resources["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    env = {each["Name"]: each["Value"] for each in container["Environment"]}
    env |= {each["Name"]: COOKIE for each in container["Secrets"]}
    health = _check(container["HealthCheck"]["Command"])
    return Stated(container["EntryPoint"], env, Rights(), health, resources)


@contextmanager
def name_server(network: Network, folder: Path) -> Iterator["NameServer"]:
    """Have a DNS server on the gateway until the context ends."""
    server = NameServer(network, folder / "hosts")
    with server.program:
        server.wait("gateway", [GATEWAY])
        yield server


class NameServer:
    """dnsmasq, which answers as Docker's does: all addresses of a name, for ten minutes."""

    def __init__(self, network: Network, hosts: Path) -> None:
        self._network = network
        self._hosts = hosts
        hosts.write_text(f"{GATEWAY} gateway\n")
        argv = [require("dnsmasq", "dnsmasq-base"), "--no-daemon", "--conf-file=/dev/null", "--user="]
        argv += ["--no-resolv", "--no-hosts", "--pid-file=", "--local-ttl=600", f"--addn-hosts={hosts}"]
        argv += [f"--address=/{name}/{GATEWAY}" for name in AWS_NAMES]
        self.program: Program = network.gateway.start(argv)

    def say(self, name: str, addresses: Sequence[str], **more: str) -> None:
        """Let a name have these addresses, and all others none; wait until it says so.

        :param more: addresses of further names.
        """
        lines = [f"{address} {name}\n" for address in addresses]
        lines += [f"{address} {other}\n" for other, address in more.items()]
        self._hosts.write_text("".join(lines))
        self._network.gateway.run('kill -HUP "$1"', str(self.program.pid))
        self.wait(name, addresses)

    def wait(self, name: str, addresses: Sequence[str]) -> None:
        """Wait until it says that a name has just these."""
        wanted = sorted(addresses)
        eventually(
            lambda: self._network.gateway.call(lambda: self._says(name)) == wanted,
            within=READY_WITHIN,
            what=self.program.report,
        )

    def _says(self, name: str) -> list[str]:
        assert not self.program.ended, self.program.report()
        try:
            answer = dns.query.udp(dns.message.make_query(name, "A"), GATEWAY, timeout=0.2)
        except (OSError, dns.exception.DNSException):
            return []
        return sorted(str(record) for rrset in answer.answer for record in rrset)


def node_of(container: Container) -> str:
    """The name that all pages promise for the node in a container."""
    return f"{APP}-{PORT}@{container.address}"


def wait_joined(containers: Sequence[Container], *others_too: str, socket: str = IMAGE_SOCKET) -> None:
    """Wait until the epmdless of each container says that its node is joined with all others.

    :param others_too: further nodes, which are somewhere else.
    :param socket: the control socket in the containers.
    """
    wanted = {*map(node_of, containers), *others_too}
    for container in containers:
        others = wanted - {node_of(container)}
        try:
            eventually(
                lambda: _joined(container, socket) == others,  # noqa: B023 - called at once
                within=JOINED_WITHIN,
                what=f"{sorted(others)} at {node_of(container)}",
            )
        except DeadlineError as error:
            raise AssertionError(f"{error}\n{container.main.report()}") from None


def _joined(container: Container, socket: str) -> set[str]:
    assert not container.main.ended, container.main.report()
    try:
        sample = ControlClient([container.path(socket)]).cluster().sample
    except EpmdlessError:
        return set()
    pairs = (pair for group in sample.groups for pair in group.pairs())
    return {peer.name for _, peer in pairs if peer.state == "connected"}


def nodes_seen(container: Container) -> dict[str, set[str]]:
    """Whom each node of a cluster sees, as the release in one container says it: ``nodes()`` of all."""
    return seen_in(container.execute(*RPC))


def seen_in(done: Finished) -> dict[str, set[str]]:
    """The same, as it was printed."""
    assert done.status == 0, done
    return {name: set(others) for name, *others in map(str.split, done.stdout.splitlines())}


def full(containers: Sequence[Container]) -> dict[str, set[str]]:
    """What :func:`nodes_seen` has to be."""
    names = {*map(node_of, containers)}
    return {name: names - {name} for name in names}
