"""The programs of ``epmdless demo zones``: relays and gateways on two edges, EPMD servers, Erlang nodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from epmdless.addresses import EPMD_PORT
from epmdless.cli import queries, show
from epmdless.cli.control import ControlClient, LinkView
from epmdless.cli.demo_programs import write_cookie
from epmdless.cli.demo_running import FAR_CODE, NEAR_CODE, OURS, Running, node_command
from epmdless.cli.demo_zones_world import (
    EDGE_NAME_A,
    EDGE_NAME_B,
    FIRST_B,
    GATEWAY_PORT,
    HOST_A,
    HOST_B,
    INSIDE_A,
    INSIDE_B,
    NODE_PORTS,
    OUTSIDE_A,
    SECOND_B,
    A,
    B,
    Zones,
    hosts_file,
)
from epmdless.cli.namespaces import Namespace

ZONE_OF = {EDGE_NAME_A: "az-a", EDGE_NAME_B: "az-b"}
CERTIFICATE_DAYS = 30

EDGE_A, EDGE_B, FIRST_GATEWAY = "edge A", "edge B", "first gateway"
EPMD_A, EPMD_B = "EPMD server of zone A", "EPMD server of zone B"
"""What the programs are called."""


class Node(NamedTuple):
    """An Erlang node: the other zone's nodes know it by its name and see the edge's address.

    :ivar dials: the node that it links to; None: it waits for that.
    """

    alive: str
    host: str
    address: str
    dials: str | None

    @property
    def name(self) -> str:
        return f"{self.alive}@{self.host}"


STOCK = Node("stock", HOST_B, B, None)
SHOP = Node("shop", HOST_A, A, STOCK.name)
TILL = Node("till", HOST_A, A, None)
DESK = Node("desk", HOST_B, B, TILL.name)


class ZonePrograms:
    """All programs of the demonstration; :meth:`close` ends them, the last one first.

    :param folder: for their files, of ours alone.
    :param erl: the path of ``erl``; None: without nodes.
    :ivar edge_a: the configuration of zone A's edge; `stranger`: one without a certificate.
    :ivar socket_a: the control socket of zone A's edge.
    """

    def __init__(self, zones: Zones, folder: Path, erl: str | None) -> None:
        self.zones = zones
        self.running = Running(folder, EPMD_PORT)
        self._folder = folder
        self._erl = erl
        self.edge_a = folder / "edge-a.toml"
        self.stranger = folder / "stranger.toml"
        self.socket_a = folder / "edge-a.sock"

    def make_certificates(self) -> None:
        """A CA, and a certificate for each edge, as ``epmdless certs init`` makes them."""
        from epmdless.cli import private_ca

        zones = private_ca.parse_zones([f"{zone}={edge}" for edge, zone in ZONE_OF.items()])
        private_ca.init(self._folder / "certs", zones, CERTIFICATE_DAYS)

    def start(self) -> None:
        """Start everything, and wait until the nodes are linked.

        :raises EpmdlessError: a program ended, or is too slow.
        """
        write_cookie(self._folder)
        self._write_configurations()
        zones = self.zones
        edges = (
            (FIRST_GATEWAY, zones.edge_b, "gateway-1"),
            (EDGE_B, zones.edge_b, "edge-b"),
            (EDGE_A, zones.edge_a, "edge-a"),
        )
        hosts = ((EPMD_A, zones.host_a, "host-a"), (EPMD_B, zones.host_b, "host-b"))
        for name, place, stem in (*edges, *hosts):
            config = str(self._folder / f"{stem}.toml")
            self.running.start(name, place, [*OURS, "serve", "--config", config])
        for name, _, stem in edges:
            self.running.wait(name, ControlClient([self._folder / f"{stem}.sock"]).links)
        for name, place, _ in hosts:
            self.running.wait(name, _answers(place))
        if self._erl is not None:
            self._start_nodes(self._erl)

    def links(self) -> list[LinkView]:
        """The links of zone A's edge that are up."""
        sample = ControlClient([self.socket_a]).links().sample
        return [link for link in sample.links if link.state == "established"]

    def close(self) -> None:
        """End them all."""
        self.running.close()

    # Configurations

    def _write_configurations(self) -> None:
        """Those of edges and of the hosts' EPMD servers, and a stranger's, who has no certificate."""
        hop_b = self._hop(EDGE_NAME_A, EDGE_NAME_B, FIRST_B, SECOND_B)
        gateway_a = self._gateway(EDGE_NAME_A, OUTSIDE_A, EDGE_NAME_B, "10.78.1.0/24")
        self._write("edge-a", **_route(HOST_B, INSIDE_A, B, "az-b"), hop={"az-b": hop_b}, gateway=gateway_a)
        hop_a = self._hop(EDGE_NAME_B, EDGE_NAME_A, OUTSIDE_A)
        first, second = (
            self._gateway(EDGE_NAME_B, listen, EDGE_NAME_A, "10.78.2.0/24") for listen in (FIRST_B, SECOND_B)
        )
        self._write("edge-b", **_route(HOST_A, INSIDE_B, A, "az-a"), hop={"az-a": hop_a}, gateway=second)
        self._write("gateway-1", epmd={"listen": []}, gateway=first)
        nobody = {"ca": hop_b["tls"]["ca"], "server_name": EDGE_NAME_B}
        self._write("stranger", hop={"az-b": {**hop_b, "tls": nobody}})
        for host, seen_at in (("host-a", (A, INSIDE_A)), ("host-b", (INSIDE_B, B))):
            self._write(host, epmd={"listen": [f"0.0.0.0:{EPMD_PORT}"]})
            (self._folder / f"{host}.inetrc").write_text(hosts_file(*seen_at))

    def _write(self, stem: str, **tables: Mapping[str, Any]) -> None:
        """Write a configuration; its control socket stands beside it."""
        control = {"socket": str(self._folder / f"{stem}.sock")}
        (self._folder / f"{stem}.toml").write_text(show.toml({**tables, "control": control}))

    def _hop(self, own: str, server_name: str, *gateways: str) -> dict[str, Any]:
        return {
            "gateways": [f"{gateway}:{GATEWAY_PORT}" for gateway in gateways],
            "tls": {**self._tls(own), "server_name": server_name},
        }

    def _gateway(self, own: str, listen: str, client: str, network: str) -> dict[str, Any]:
        ports = [EPMD_PORT, f"{NODE_PORTS[0]}-{NODE_PORTS[1]}"]
        return {
            "listen": f"{listen}:{GATEWAY_PORT}",
            "drain": "1s",
            "tls": self._tls(own),
            "allow": [{"client": client, "hosts": [network], "ports": ports}],
        }

    def _tls(self, own: str) -> dict[str, str]:
        certs = self._folder / "certs"
        zone = ZONE_OF[own]
        return {
            "cert": str(certs / f"{zone}.crt"),
            "key": str(certs / f"{zone}.key"),
            "ca": str(certs / "ca.crt"),
        }

    # Nodes

    def _start_nodes(self, erl: str) -> None:
        """Start those that wait for others first, and wait for the links of those others."""
        for waiting in (True, False):
            nodes = [node for node in (STOCK, TILL, SHOP, DESK) if (node.dials is None) == waiting]
            for node in nodes:
                self.running.start(node.name, self._host_of(node), self._command(erl, node))
            for node in nodes:
                self.running.wait(node.name, _said_ready(self.running, node.name))

    def _host_of(self, node: Node) -> Namespace:
        return self.zones.host_a if node.host == HOST_A else self.zones.host_b

    def _command(self, erl: str, node: Node) -> list[str]:
        hosts = self._folder / ("host-a.inetrc" if node.host == HOST_A else "host-b.inetrc")
        code = FAR_CODE if node.dials is None else NEAR_CODE.format(far_node=node.dials)
        low, high = map(str, NODE_PORTS)
        flags = ("-kernel", "inetrc", json.dumps(str(hosts)))  # an Erlang string is written as JSON's
        ports = ("inet_dist_listen_min", low, "inet_dist_listen_max", high)
        # Without a full mesh, so that the links are the two that are spoken of.
        return node_command(
            erl, node.name, node.address, *flags, *ports, "-connect_all", "false", "-eval", code
        )


def _route(host: str, listen: str, dial: str, via: str) -> dict[str, Any]:
    """The tables of an edge's relay; it serves no EPMD but for the far host."""
    ports = [f"{NODE_PORTS[0]}-{NODE_PORTS[1]}"]
    route = {"host": host, "listen": listen, "dial": dial, "via": via, "ports": ports}
    return {"epmd": {"listen": []}, "relay": {"drain": "1s", "route": [route]}}


def _answers(place: Namespace) -> Callable[[], object]:
    return lambda: place.call(lambda: queries.ask_names(("127.0.0.1",), EPMD_PORT))


def _said_ready(running: Running, name: str) -> Callable[[], bool]:
    return lambda: running.said_ready(name)
