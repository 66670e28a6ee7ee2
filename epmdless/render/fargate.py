"""Files for ECS Fargate: one stack, as a template of CloudFormation and as a program for the CDK."""

from __future__ import annotations

from epmdless import __version__
from epmdless.render.template import fill
from epmdless.render.values import Node


def cloudformation(node: Node, image: str | None, release: str, replicas: int, zone: str) -> str:
    """A template for CloudFormation; the arguments are checked ones of ``values``.

    :param image: None: a parameter without a default.
    :param zone: the private DNS namespace of Cloud Map.
    """
    default = "" if image is None else f'Default: "{image}"'
    return fill(
        "fargate-cloudformation.yaml", _common(node, release, replicas, zone) | {"image_default": default}
    )


def cdk(node: Node, image: str | None, release: str, replicas: int, zone: str) -> str:
    """A program in TypeScript for the CDK: the same stack as :func:`cloudformation`."""
    context = 'app.node.getContext("image")'
    image_from = context if image is None else f'app.node.tryGetContext("image") ?? "{image}"'
    return fill("fargate-cdk.ts", _common(node, release, replicas, zone) | {"image_from": image_from})


def _common(node: Node, release: str, replicas: int, zone: str) -> dict[str, str | int]:
    return {
        "version": __version__,
        "app": node.app,
        "alive": node.alive,
        "port": node.port,
        "release": release,
        "replicas": replicas,
        "zone": zone,
        "config": fill("fargate.toml", {"app": node.app, "zone": zone}),
    }
