"""Whom the facts are asked from, and this host's full name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from epmdless.platforms import gather as gathering
from epmdless.platforms.facts import FACTS_SECONDS, Facts, PlatformError
from epmdless.platforms.gather import full_name, gather
from tests.support.machine import Machine
from tests.support.tools import PYTHON

PRINT_FULL_NAME = (
    "import trio; from epmdless.platforms.gather import full_name; print(trio.run(full_name, 2.5))"
)

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_IP": "10.1.2.3"}


@pytest.fixture
def default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    async def default() -> tuple[str, str]:
        return "10.0.0.7", "default route"

    monkeypatch.setattr(gathering, "default_address", default)
    monkeypatch.setattr(gathering, "detect", lambda environ: "compose" if not environ else "kubernetes")


@pytest.mark.usefixtures("default_route")
async def test_the_platform_is_told_or_found_out() -> None:
    assert await gather(None, {}) == Facts("compose", "10.0.0.7", "default route", {})
    assert await gather("host", POD) == Facts("host", "10.0.0.7", "default route", {})
    assert (await gather(None, POD)).address == "10.1.2.3"
    assert (await gather("kubernetes", POD)).platform == "kubernetes"


@pytest.mark.parametrize(
    ("address", "found"), [("10.0.0.7", "10.0.0.7"), ("FD00::7", "fd00::7"), ("::1", "::1")]
)
async def test_an_address_that_is_given_is_taken_and_nobody_is_asked(address: str, found: str) -> None:
    environ: Mapping[str, str] = {"ECS_CONTAINER_METADATA_URI_V4": "http://["}
    assert await gather(None, environ, address=address) == Facts("ecs", found, "--address", {})


@pytest.mark.parametrize(
    "address", ["", "b1.internal", "0.0.0.0", "::", "fe80::1%eth0", "224.0.0.1", "10.0.0.7/8"]
)
async def test_what_cannot_be_a_hosts_address(address: str) -> None:
    with pytest.raises(PlatformError, match=r"^--address: "):
        await gather("host", {}, address=address)


def answer_with(monkeypatch: pytest.MonkeyPatch, canonical: str) -> None:
    def addresses(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, canonical, ("10.0.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)


@pytest.mark.parametrize("canonical", ["b1.internal", "b1.internal."])
async def test_a_full_name(monkeypatch: pytest.MonkeyPatch, canonical: str) -> None:
    answer_with(monkeypatch, canonical)
    assert await full_name(1) == "b1.internal"


@pytest.mark.parametrize("canonical", ["b1", "b1.", "", "localhost"])
async def test_a_name_without_a_dot_is_not_full(monkeypatch: pytest.MonkeyPatch, canonical: str) -> None:
    answer_with(monkeypatch, canonical)
    monkeypatch.setattr(socket, "gethostname", lambda: "b1")
    with pytest.raises(PlatformError, match="this host's full name has no dot, and a long name needs one"):
        await full_name(1)


async def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PlatformError, match="Name or service not known; give --host"):
        await full_name(1)


async def test_a_name_service_that_is_silent_is_given_up(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(gathering, "_canonical", lambda _: done.wait())
    try:
        with pytest.raises(PlatformError, match="the name service did not answer in time"):
            await full_name(FACTS_SECONDS)
        assert trio.current_time() == pytest.approx(FACTS_SECONDS, abs=0.1)
    finally:
        done.set()


def test_a_full_name_is_what_the_hosts_own_command_says(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.0.0.7 b1.nodes.internal b1\n")
    machine = Machine("b1", hosts)
    try:
        own = machine.run('exec "$@"', PYTHON, "-c", PRINT_FULL_NAME)
        assert own == machine.run("hostname -f") == "b1.nodes.internal\n"
    finally:
        machine.close()
