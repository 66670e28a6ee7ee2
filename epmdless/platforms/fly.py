"""Fly.io: what a machine's environment says. The private network has IPv6 addresses alone."""

from __future__ import annotations

from collections.abc import Mapping

from epmdless.platforms.facts import Facts, PlatformError, checked_address, plain_labels

ADDRESS_VARIABLE = "FLY_PRIVATE_IP"

LABELS = {
    "app": "FLY_APP_NAME",
    "machine": "FLY_MACHINE_ID",
    "region": "FLY_REGION",
    "group": "FLY_PROCESS_GROUP",
    "image": "FLY_IMAGE_REF",
}


async def facts(environ: Mapping[str, str]) -> Facts:
    """What the machine is told.

    :raises PlatformError: it has no private address.
    """
    said = environ.get(ADDRESS_VARIABLE, "")
    if not said:
        raise PlatformError(f"{ADDRESS_VARIABLE} is not set; give --address")
    labels = plain_labels({name: environ.get(variable) for name, variable in LABELS.items()})
    return Facts("fly", checked_address(said, ADDRESS_VARIABLE), ADDRESS_VARIABLE, labels)
