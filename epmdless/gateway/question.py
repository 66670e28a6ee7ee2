"""EPMD questions through the gateway: lookups and lists pass, and nothing else does.

Else a tunnel to a far host's EPMD server could register names there, or stop it, with the gateway's rights.
"""

from __future__ import annotations

import trio

from epmdless.errors import EpmdlessError, RemoteProtocolError
from epmdless.grants import Allowance, Grant
from epmdless.links.following import Connection
from epmdless.net.plain import send_all
from epmdless.resolve.far import MAX_ANSWER
from epmdless.wire.epmd import NamesRequest, PortPlease2Request, decode_request, encode_request
from epmdless.wire.epmd_replies import MISS, decode_names_reply, encode_names_reply

READ_SIZE = 64 * 1024

SECONDS = 10.0
"""For a question and its answer: twice what an asker waits."""


async def pass_question(
    near: Connection, far: Connection, allowance: Allowance, grants: tuple[Grant, ...]
) -> str:
    """Pass one question on, and its answer back. Both connections stay the caller's to close.

    :returns: how it ended, for a counter.
    """
    with trio.move_on_after(SECONDS):
        try:
            return await _pass(near, far, allowance, grants)
        except RemoteProtocolError:
            return "malformed"
        except (OSError, EpmdlessError):
            return "broken"
    return "timed_out"


async def _pass(near: Connection, far: Connection, allowance: Allowance, grants: tuple[Grant, ...]) -> str:
    request = None
    received = b""
    while (request := decode_request(received)) is None:
        data = await near.recv(READ_SIZE)
        if not data:
            return "unasked"
        received += data
    if isinstance(request, PortPlease2Request):
        if not allowance.allows_alive(grants, request.name):
            await send_all(near, MISS)
            return "denied"
    elif not isinstance(request, NamesRequest):
        return "refused"
    await send_all(far, encode_request(request))
    answer = await _read_all(far)
    if isinstance(request, NamesRequest) and allowance.restricts_nodes(grants):
        reply = decode_names_reply(answer)
        nodes = [node for node in reply.nodes if allowance.allows_alive(grants, node[0])]
        answer = encode_names_reply(reply.port, nodes)
    await send_all(near, answer)
    return "answered"


async def _read_all(far: Connection) -> bytes:
    answer = bytearray()
    while data := await far.recv(READ_SIZE):
        answer += data
        if len(answer) > MAX_ANSWER:
            raise RemoteProtocolError("length", "an answer longer than any can be")
    return bytes(answer)
