"""Kubernetes and Fly.io, where the environment says it all."""

from __future__ import annotations

import pytest

from epmdless.platforms import fly, kubernetes
from epmdless.platforms.facts import Facts, PlatformError

POD = {"POD_IP": "10.1.2.3", "POD_NAME": "shop-0", "POD_NAMESPACE": "prod", "NODE_NAME": "worker-1"}

MACHINE = {
    "FLY_PRIVATE_IP": "fdaa:0:18:a7b:7d:1:a2b:2",
    "FLY_APP_NAME": "shop",
    "FLY_MACHINE_ID": "3d8d413b29d089",
    "FLY_REGION": "ams",
    "FLY_PROCESS_GROUP": "web",
    "FLY_IMAGE_REF": "registry.fly.io/shop:deployment-1",
}


async def test_a_pod_knows_its_address_and_what_it_is() -> None:
    labels = {"pod": "shop-0", "namespace": "prod", "node": "worker-1"}
    assert await kubernetes.facts(POD) == Facts("kubernetes", "10.1.2.3", "POD_IP", labels)


@pytest.mark.parametrize(
    ("environ", "address", "source"),
    [
        ({"POD_IPS": "10.1.2.3,fd00::3"}, "10.1.2.3", "POD_IPS"),
        ({"POD_IPS": "fd00::3"}, "fd00::3", "POD_IPS"),
        ({"POD_IP": "fd00:0::3", "POD_IPS": "10.1.2.3"}, "fd00::3", "POD_IP"),
        ({"POD_IP": "", "POD_IPS": "fd00::3"}, "fd00::3", "POD_IPS"),
    ],
)
async def test_the_first_of_a_pods_addresses(environ: dict[str, str], address: str, source: str) -> None:
    found = await kubernetes.facts(environ)
    assert (found.address, found.address_from) == (address, source)


async def test_a_pod_that_is_told_nothing_has_the_default_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def default() -> tuple[str, str]:
        return "10.1.2.4", "default route"

    monkeypatch.setattr(kubernetes, "default_address", default)
    assert await kubernetes.facts({}) == Facts("kubernetes", "10.1.2.4", "default route", {})


@pytest.mark.parametrize(
    "text", ["b1.internal", "10.1.2.3'", "$(id)", ",", "10.1.2.3/16", "fe80::1%eth0", " "]
)
async def test_what_is_not_an_address(text: str) -> None:
    for facts, variable in ((kubernetes.facts, "POD_IP"), (fly.facts, "FLY_PRIVATE_IP")):
        with pytest.raises(PlatformError, match=f"^{variable}: .*; give --address$"):
            await facts({variable: text})


async def test_a_label_that_could_forge_a_line_is_left_out() -> None:
    found = await kubernetes.facts(POD | {"POD_NAME": "shop-0\nx"})
    assert found.labels == {"namespace": "prod", "node": "worker-1"}


async def test_a_machine_knows_its_address_and_what_it_is() -> None:
    assert await fly.facts(MACHINE) == Facts(
        "fly",
        "fdaa:0:18:a7b:7d:1:a2b:2",
        "FLY_PRIVATE_IP",
        {
            "app": "shop",
            "machine": "3d8d413b29d089",
            "region": "ams",
            "group": "web",
            "image": "registry.fly.io/shop:deployment-1",
        },
    )


async def test_a_machine_without_a_private_address_says_so() -> None:
    with pytest.raises(PlatformError, match=r"^FLY_PRIVATE_IP is not set; give --address$"):
        await fly.facts({"FLY_APP_NAME": "shop"})
