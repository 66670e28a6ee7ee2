"""What `epmdless render` writes for relays and gateways, carried out: real nodes across a firewall."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from epmdless.config import HostPort
from epmdless.render import hosts, values
from tests.interop.relay_world import ping, serving, wait_ready, wait_value
from tests.render.forms import FORMS, SHOP, documents, files_of_script, find, variables
from tests.support.beam import Beam
from tests.support.certificates import Authority
from tests.support.deadline import eventually
from tests.support.machine import Machine
from tests.support.process import Program, run
from tests.support.subnets import EPMD_PORT, Host, subnets
from tests.support.tools import PYTHON, clean_env, require
from tests.support.zones import GATEWAY_PORT, Zones, zones

pytestmark = pytest.mark.interop

READY_WITHIN = 10.0

CONFIG = "/etc/epmdless/epmdless.toml"

POD = "shop-0.shop-nodes.team.svc.cluster.local"


@contextmanager
def node(host: Host, host_part: str, args: Path, **env: str) -> Iterator[Beam]:
    """Run a node as the rendered vm.args has it."""
    name = f"{SHOP.alive}@{host_part}"
    flags = ("-args_file", str(args))
    with Beam("host", name, epmd_port=EPMD_PORT, args=flags, env=env, prefix=host.prefix) as beam:
        yield beam


@pytest.fixture
def vm_args(tmp_path: Path) -> Path:
    path = tmp_path / "vm.args"
    path.write_text(hosts.vm_args(SHOP))
    return path


def test_a_relay_with_its_firewall_and_the_near_nodes_resolver(tmp_path: Path, vm_args: Path) -> None:
    require("nft", "nftables")
    with subnets() as world:
        world.know(stand_ins=False)
        a1, b1 = world.near[0], world.far[0]
        far = values.far_hosts([f"{b1.name}={b1.stand_in}={b1.address}"])
        (tmp_path / "inetrc").write_text(hosts.inetrc(SHOP, far))
        rules = tmp_path / "relay.nft"
        rules.write_text(hosts.nftables_relay(SHOP, values.networks("--from", ["10.0.1.0/24"]), far))
        world.relay.run('nft --file "$1"', str(rules))
        config = files_of_script(hosts.systemd_relay(SHOP, far, None))[CONFIG]
        with serving(world.relay, config) as relay:
            wait_ready(relay, a1, b1.stand_in)
            with (
                node(b1, b1.name, vm_args) as there,
                node(a1, a1.name, vm_args, ERL_INETRC=str(tmp_path / "inetrc")) as here,
            ):
                assert ping(here, there) == "pong"
                wait_value(there, "nodes(hidden).", f"['{here.name}']")
                assert answers(a1, b1.stand_in, SHOP.port)
                assert not answers(b1, b1.stand_in, SHOP.port)
                assert not answers(b1, b1.stand_in, EPMD_PORT)


def answers(machine: Machine, address: str, port: int) -> bool:
    """Tell whether a machine can connect there; a refusal is seen at once."""

    def dial() -> bool:
        try:
            socket.create_connection((address, port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True

    return machine.call(dial)


@pytest.fixture(scope="module")
def world() -> Iterator[Zones]:
    with zones() as world:
        yield world


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Gateway:
    """The container of a rendered gateway: its command, and its configuration."""

    def __init__(self, form: str, name: str, folder: Path, secret: Path) -> None:
        """Find it in a form of a file.

        :param name: the container's.
        :param folder: stands in for /tmp.
        :param secret: stands in for the folder of the mounted secret.
        """
        containers = [
            each
            for key in ("containers", "ContainerDefinitions")
            for document in documents(FORMS[form](SHOP))
            for listed in find(document, key)
            for each in listed
        ]
        (own,) = (each for each in containers if name in (each.get("name"), each.get("Name")))
        text = dict(variables({"Environment": own.get("Environment"), "env": own.get("env", [])}))
        self.config = text["EPMDLESS_CONFIG_TOML"].replace("/tmp/", f"{folder}/")
        words = own.get("EntryPoint") or own["command"]
        moved = (word.replace("/tmp", str(folder)) for word in words)
        self.command = [word.replace("/etc/epmdless/tls", str(secret)) for word in moved]

    @contextmanager
    def running(self, machine: Machine, **env: str) -> Iterator[None]:
        """Run it, with `epmdless` in its PATH, until the context ends."""
        path = f"{Path(PYTHON).parent}:/usr/bin:/bin"
        env |= {"PATH": path, "EPMDLESS_CONFIG_TOML": self.config}
        with machine.start(self.command, stdin=False, **env) as program:
            machine.call(partial(wait_open, program))
            yield


def wait_open(program: Program) -> None:
    def is_open() -> bool:
        assert not program.ended, program.report()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", GATEWAY_PORT)) == 0

    eventually(is_open, within=READY_WITHIN, what=lambda: f"a gateway: {program.report()}")


def relay_config(world: Zones, authority: Authority, host: str, stand_in: str) -> str:
    """The configuration of a relay's host as its script writes it, with the files that are here."""
    far = values.far_hosts([f"{host}={stand_in}"])
    script = hosts.systemd_relay(SHOP, far, HostPort(world.far_edge.name, GATEWAY_PORT))
    config = files_of_script(script)[CONFIG]
    issued = authority.issue(world.near_edge.name)
    for name, path in {"relay.crt": issued.cert, "relay.key": issued.key, "ca.crt": authority.ca}.items():
        assert f'"/etc/epmdless/tls/{name}"' in config
        config = config.replace(f"/etc/epmdless/tls/{name}", str(path))
    return config


def test_the_gateway_of_kubernetes_leads_to_a_pod_by_its_name(
    world: Zones, authority: Authority, vm_args: Path, tmp_path: Path
) -> None:
    a1, b1 = world.near[0], world.far[0]
    secret = tmp_path / "secret"
    secret.mkdir()
    issued = authority.issue(world.far_edge.name)
    for name, path in {"tls.crt": issued.cert, "tls.key": issued.key, "ca.crt": authority.ca}.items():
        (secret / name).write_bytes(path.read_bytes())
    world.far_edge.know({POD: b1.address})
    a1.know(stand_ins=True, also={POD: b1.stand_in})
    made = Gateway("kubernetes --relay", "gateway", tmp_path, secret)
    config = relay_config(world, authority, POD, b1.stand_in)
    with made.running(world.far_edge), serving(world.near_edge, config) as relay:
        wait_ready(relay, a1, b1.stand_in)
        with node(b1, POD, vm_args) as there, node(a1, a1.name, vm_args) as here:
            assert ping(here, there) == "pong"
            wait_value(there, "nodes(hidden).", f"['{here.name}']")


def test_the_gateway_of_fargate_leads_to_the_nodes_port_in_the_tasks_subnets(
    world: Zones, authority: Authority, tmp_path: Path
) -> None:
    """Seen by the relay's own check: tasks' names are addresses, which transparent routes lead to."""
    b1 = world.far[0]
    issued = authority.issue(world.far_edge.name)
    made = Gateway("fargate-cloudformation --relay", "gateway", tmp_path, tmp_path)
    tls = {"TLS_CRT": issued.cert, "TLS_KEY": issued.key, "TLS_CA": authority.ca}
    file = tmp_path / "relay.toml"
    file.write_text(relay_config(world, authority, b1.name, b1.stand_in))
    with made.running(world.far_edge, **{name: path.read_text() for name, path in tls.items()}):
        assert (tmp_path / "tls.key").stat().st_mode & 0o777 == 0o600
        targets = (f"{b1.address}:4369", f"{b1.address}:9001", f"{b1.address}:22", "10.0.4.1:9001")
        statuses = [_status(world.near_edge, file, target) for target in targets]
    assert statuses == [200, 502, 403, 403]  # 502: it would have dialled, and there is no node


def _status(machine: Machine, config: Path, target: str) -> int:
    """What a gateway answers to a request for this target."""
    argv: list[str | Path] = [*machine.prefix, PYTHON, "-m", "epmdless", "hop", "check", "far"]
    argv += ["--config", config, "--target", target, "--json"]
    checked = run(argv, env=clean_env())
    assert checked.stderr == ""
    ((hop,),) = find(json.loads(checked.stdout), "hops")
    (gateway,) = hop["gateways"]
    return int(gateway["answer"]["status"])
