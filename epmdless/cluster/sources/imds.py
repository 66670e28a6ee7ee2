"""What an EC2 instance knows of itself: the instance metadata service, version 2 (IMDSv2), which takes a
token for each question."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx
import trio

from epmdless.cluster.peers import LookError
from epmdless.cluster.sources.http_body import read_body

ENDPOINT = "http://169.254.169.254"

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
"""Of the environment, as in AWS' own programs: where the service is instead."""

TOKEN_SECONDS = 60
"""For how long a token shall be good: it is asked for anew each time."""

MAX_ANSWER_BYTES = 1024
"""Of a token or an id: both have less than a hundred."""

NO_ANSWER = "the instance metadata service answered what is no such answer"

_TOKEN = re.compile(rb"[!-~]{1,512}")
_INSTANCE = re.compile(rb"i-[0-9a-f]{1,32}")


async def instance_id(environ: Mapping[str, str], timeout: float) -> str:  # noqa: ASYNC109 - for all of it
    """The id of the instance that this is.

    :param timeout: seconds.
    :raises LookError: nobody says; this is no instance.
    """
    base = environ.get(ENDPOINT_VARIABLE) or ENDPOINT
    try:
        with trio.fail_after(timeout):
            async with httpx.AsyncClient(
                base_url=base, trust_env=False, timeout=httpx.Timeout(None)
            ) as client:
                seconds = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
                token = await _ask(client, "PUT", "/latest/api/token", seconds, _TOKEN)
                shown = {"X-aws-ec2-metadata-token": token}
                return await _ask(client, "GET", "/latest/meta-data/instance-id", shown, _INSTANCE)
    except trio.TooSlowError:
        raise LookError("timeout", "the instance metadata service did not answer in time") from None
    except (httpx.TransportError, httpx.InvalidURL):
        raise LookError("unreachable", "no instance metadata service: is this an EC2 instance?") from None


async def _ask(
    client: httpx.AsyncClient, method: str, path: str, headers: Mapping[str, str], form: re.Pattern[bytes]
) -> str:
    content = bytearray()

    def take(data: bytes) -> None:
        content.extend(data)
        if len(content) > MAX_ANSWER_BYTES:
            raise LookError("malformed", NO_ANSWER)

    request = client.build_request(method, path, headers={**headers, "Accept-Encoding": "identity"})
    response = await client.send(request, stream=True)
    try:
        if response.status_code != httpx.codes.OK:
            status = response.status_code
            reason = "denied" if status in (401, 403) else "failed"
            raise LookError(reason, f"the instance metadata service answered {status}")
        await read_body(response, take)
    finally:
        await response.aclose()
    if not form.fullmatch(content):
        raise LookError("malformed", NO_ANSWER)
    return content.decode("ascii")
