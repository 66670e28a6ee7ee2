"""Which platform this looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from epmdless.platforms.detect import BOARD, HYPERVISOR, VENDOR, detect
from epmdless.platforms.facts import Platform

ECS = {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/x"}
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


@pytest.mark.parametrize(
    ("environ", "files", "platform"),
    [
        ({}, {}, "host"),
        (ECS, {VENDOR: "Amazon EC2"}, "ecs"),
        (ECS | KUBERNETES, {}, "ecs"),
        (KUBERNETES, {".dockerenv": "", VENDOR: "Amazon EC2"}, "kubernetes"),
        ({"FLY_PRIVATE_IP": "fdaa::1"}, {}, "fly"),
        ({"FLY_APP_NAME": "shop"}, {".dockerenv": ""}, "fly"),
        ({}, {".dockerenv": "", VENDOR: "Amazon EC2"}, "compose"),
        ({}, {"run/.containerenv": ""}, "compose"),
        ({}, {VENDOR: "Amazon EC2\n"}, "ec2"),
        ({}, {VENDOR: "Xen", HYPERVISOR: "ec2a1b2c\n"}, "ec2"),
        ({}, {BOARD: "i-0123456789abcdef0\n"}, "ec2"),
        ({}, {VENDOR: "QEMU", BOARD: "Not Specified", HYPERVISOR: "a1b2"}, "host"),
        ({}, {VENDOR: "\xff" * 10_000}, "host"),
        ({"KUBERNETES_SERVICE_HOST": "", "FLY_APP_NAME": ""}, {}, "host"),
    ],
)
def test_what_this_looks_like(
    tmp_path: Path, environ: dict[str, str], files: dict[str, str], platform: Platform
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert detect(environ, tmp_path) == platform
