"""Nodes that only DNS knows, found through a real DNS server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.beam import Beam, Flavour, fixed_port
from tests.support.deadline import eventually
from tests.support.dns_servers import dnsmasq, knot
from tests.support.epmd_client import lookup, names
from tests.support.ports import closed_port, free_port
from tests.support.process import Program
from tests.support.servers import OUR_SERVE, answers
from tests.support.tools import clean_env

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("ours_only")]

HOST = "127.0.0.1"


@contextlib.contextmanager
def asking(folder: Path, dns_port: int, question: str, more: str = "") -> Iterator[int]:
    """A server that asks this DNS server; gives its EPMD port."""
    port = free_port()
    path = folder / "epmdless.toml"
    path.write_text(
        f'[epmd]\nlisten = ["{HOST}:{port}"]\n'
        f'[resolve]\nchain = ["registered", "scheme", "srv"]\n{more}'
        f'[resolve.srv]\nquestion = "{question}"\nservers = ["{HOST}:{dns_port}"]\n'
        'timeout = "500ms"\nlifetime = "1s"\n'
    )
    with Program([*OUR_SERVE, "--config", path], env=clean_env()) as program:
        eventually(lambda: answers(port), within=10, what=program.report)
        yield port


@contextlib.contextmanager
def unregistered(flavour: Flavour, alive: str, port: int) -> Iterator[Beam]:
    """A node on a fixed port that no EPMD server knows."""
    flags = [*fixed_port(port), "-erl_epmd_port", str(port)]
    with closed_port() as nothing, Beam(flavour, f"{alive}@{HOST}", epmd_port=nothing, args=flags) as node:
        yield node


@pytest.mark.parametrize(("found", "finder"), [("otp25", "otp27"), ("otp27", "otp25")])
def test_a_node_is_found_by_srv(tmp_path: Path, found: Flavour, finder: Flavour) -> None:
    port = free_port()
    with (
        unregistered(found, "shop", port),
        knot([f"_shop._tcp SRV 0 0 {port} b1.nodes.internal."]) as dns,
        asking(tmp_path, dns.port, "_{name}._tcp.nodes.internal") as epmd_port,
        Beam(finder, f"finder@{HOST}", epmd_port=epmd_port) as node,
    ):
        assert node.eval(f"net_adm:ping('shop@{HOST}').") == "pong"
        assert node.eval(f"net_adm:ping('other@{HOST}').") == "pang"
        assert list(names(epmd_port)) == ["finder"]


def test_the_record_of_the_host_counts(tmp_path: Path) -> None:
    """As with Cloud Map or Consul: one question for a service, a record for each of its hosts."""
    hosts = [f"--srv-host=app.service.consul,b{n}.internal,{9000 + n}" for n in range(1, 9)]
    more = 'host = "b7.internal"\n'
    with (
        dnsmasq(*hosts) as dns,
        asking(tmp_path, dns.port, "app.service.consul", more) as port,
    ):
        node = lookup(port, "anything")
        assert node is not None
        assert node.port == 9007


def test_answers_outlive_the_dns_server(tmp_path: Path) -> None:
    """With a TTL of 0 every lookup asks; once nobody answers, the last answer is served on."""
    with contextlib.ExitStack() as running_dns:
        dns = running_dns.enter_context(knot(["_shop._tcp 0 SRV 0 0 9001 b1.nodes.internal."]))
        with asking(tmp_path, dns.port, "_{name}._tcp.nodes.internal") as port:
            assert lookup(port, "shop") is not None
            running_dns.close()
            assert lookup(port, "never-asked-before") is None
            node = lookup(port, "shop")
            assert node is not None
            assert node.port == 9001
