"""Files for ECS Fargate: one stack, as a template of CloudFormation and as a program for the CDK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from epmdless import __version__
from epmdless.render.gateways import GATEWAY_PORT, gateway_config
from epmdless.render.template import Values, fill
from epmdless.render.values import Network, Node


@dataclass(frozen=True, slots=True)
class Stack:
    """What the stack is made of; checked values.

    :ivar image: None: said when the stack is made.
    :ivar zone: the private DNS namespace of Cloud Map.
    :ivar relays: whose hosts may use the gateway, in IPv4; empty: there is none.
    :ivar subnets: where the tasks are, to which the gateway leads.
    """

    node: Node
    release: str
    replicas: int
    image: str | None
    zone: str
    relays: Sequence[Network] = ()
    subnets: Sequence[Network] = ()


def cloudformation(stack: Stack) -> str:
    """A template for CloudFormation."""
    default = "" if stack.image is None else f'Default: "{stack.image}"'
    values = _common(stack, "# ", "GatewayTls") | {"image_default": default}
    if not stack.relays:
        empty = ("more_parameters", "gateway_parameters", "gateway")
        return fill("fargate-cloudformation.yaml", values | dict.fromkeys(empty, ""))
    ingress = "\n".join(map(_ingress, stack.relays))
    own: Values = {
        "more_parameters": " GatewayTls=arn:…",
        "gateway_parameters": fill("fargate-cloudformation-gateway-parameters.yaml", {}),
        "gateway": fill(
            "fargate-cloudformation-gateway.yaml", values | _gateway(stack) | {"ingress": ingress}
        ),
    }
    return fill("fargate-cloudformation.yaml", values | own)


def cdk(stack: Stack) -> str:
    """A program in TypeScript for the CDK: the same stack."""
    context = 'app.node.getContext("image")'
    given = f'app.node.tryGetContext("image") ?? "{stack.image}"'
    values = _common(stack, "// ", "gatewayTls") | {"image_from": context if stack.image is None else given}
    if not stack.relays:
        empty = ("more_context", "gateway_constants", "gateway_property", "gateway_argument", "gateway")
        return fill("fargate-cdk.ts", values | dict.fromkeys(empty, ""))
    peers = ", ".join(f'ec2.Peer.ipv4("{each}")' for each in stack.relays)
    own: Values = {
        "more_context": " -c gatewayTls=arn:…",
        "gateway_constants": fill("fargate-cdk-gateway-constants.ts", _gateway(stack)),
        "gateway_property": "gatewayTls: string;",
        "gateway_argument": 'gatewayTls: app.node.getContext("gatewayTls"),',
        "gateway": fill("fargate-cdk-gateway.ts", values | {"peers": peers}),
    }
    return fill("fargate-cdk.ts", values | own)


def _common(stack: Stack, comment: str, secret_name: str) -> Values:
    node = stack.node
    names: Values = {"app": node.app, "alive": node.alive, "port": node.port, "zone": stack.zone}
    steps = {"secret_name": secret_name, "subnets": ", ".join(map(str, stack.subnets))}
    before, after = (
        _commented(fill(f"fargate-gateway-{when}.txt", names | steps), comment) if stack.relays else ""
        for when in ("before", "after")
    )
    own: Values = {
        "version": __version__,
        "release": stack.release,
        "replicas": stack.replicas,
        "config": fill("fargate.toml", names),
        "before": before,
        "after": after,
    }
    return names | own


def _gateway(stack: Stack) -> Values:
    hosts = [str(each) for each in stack.subnets]
    return {
        "gateway_config": gateway_config(stack.node, hosts, metrics="127.0.0.1"),
        "entry": fill("fargate-gateway.sh", {}),
    }


def _ingress(network: Network) -> str:
    """A security group's entry that opens the gateway's port to a network."""
    return f'- {{IpProtocol: tcp, FromPort: {GATEWAY_PORT}, ToPort: {GATEWAY_PORT}, CidrIp: "{network}"}}'


def _commented(text: str, comment: str) -> str:
    return "".join(f"{comment}{line}\n" for line in text.splitlines())
