"""What an EC2 instance knows of itself, as a source of names asks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from epmdless.cluster.peers import LookError
from epmdless.platforms.imds import asking_imds
from epmdless.platforms.metadata import MetadataError

_INSTANCE = re.compile(rb"i-[0-9a-f]{1,32}")


async def instance_id(environ: Mapping[str, str], timeout: float) -> str:  # noqa: ASYNC109 - for all of it
    """The id of the instance that this is.

    :param timeout: seconds.
    :raises LookError: nobody says; this is no instance.
    """
    try:
        async with asking_imds(environ, timeout) as imds:
            return await imds.ask("instance-id", _INSTANCE)
    except MetadataError as error:
        reason = "failed" if error.reason == "absent" else error.reason
        raise LookError(reason, error.detail) from None
