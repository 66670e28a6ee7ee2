"""EC2: what the instance metadata service (IMDSv2) says of this instance."""

from __future__ import annotations

import re
from collections.abc import Mapping

from epmdless.platforms.facts import FACTS_SECONDS, Facts, PlatformError, checked_address, plain_labels
from epmdless.platforms.imds import SERVICE, Imds, asking_imds
from epmdless.platforms.metadata import MetadataError

_ADDRESS = re.compile(rb"[0-9a-fA-F.:]{2,45}\s*")
_TEXT = re.compile(rb"[!-~]{1,128}")

LABELS = {
    "instance": "instance-id",
    "zone": "placement/availability-zone",
    "region": "placement/region",
}

TROUBLE = "in a container the instance's hop limit for it must be 2; or give --address"


async def facts(environ: Mapping[str, str]) -> Facts:
    """What the instance is told.

    :raises PlatformError: nobody says.
    """
    try:
        async with asking_imds(environ, FACTS_SECONDS) as imds:
            said = await _address(imds)
            labels = {name: await _optional(imds, item, _TEXT) for name, item in LABELS.items()}
    except MetadataError as error:
        raise PlatformError(f"{error.detail}; {TROUBLE}") from None
    return Facts("ec2", checked_address(said, SERVICE), "EC2 instance metadata", plain_labels(labels))


async def _address(imds: Imds) -> str:
    """The private IPv4 address; where the subnet has none, the IPv6 address."""
    for item in ("local-ipv4", "ipv6"):
        said = await _optional(imds, item, _ADDRESS)
        if said is not None:
            return said
    raise PlatformError(f"{SERVICE} names no address of this instance; give --address")


async def _optional(imds: Imds, item: str, form: re.Pattern[bytes]) -> str | None:
    try:
        return await imds.ask(item, form)
    except MetadataError as error:
        if error.reason == "absent":
            return None
        raise
