"""On which platform this is, as far as can be told without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from epmdless.platforms import ecs, fly
from epmdless.platforms.facts import Platform

ROOT = Path("/")

CONTAINER_MARKS = (".dockerenv", "run/.containerenv")
"""Files that docker and podman put into each container."""

VENDOR = "sys/class/dmi/id/sys_vendor"
BOARD = "sys/class/dmi/id/board_asset_tag"
HYPERVISOR = "sys/hypervisor/uuid"
"""DMI names the vendor on Nitro and on metal; older Xen instances have a number that begins with ``ec2``."""


def detect(environ: Mapping[str, str], root: Path = ROOT) -> Platform:
    """On which platform this is; a task or a pod on an EC2 instance is in ECS or in Kubernetes."""
    if environ.get(ecs.VARIABLE):
        return "ecs"
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if environ.get(fly.ADDRESS_VARIABLE) or environ.get("FLY_APP_NAME"):
        return "fly"
    if any((root / mark).exists() for mark in CONTAINER_MARKS):
        return "compose"
    return "ec2" if _is_ec2(root) else "host"


def _is_ec2(root: Path) -> bool:
    return (
        _line(root / VENDOR) == "Amazon EC2"
        or _line(root / BOARD).startswith("i-")
        or _line(root / HYPERVISOR).lower().startswith("ec2")
    )


def _line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(256).decode("ascii", "replace").strip()
    except OSError:
        return ""
