"""Questions to a running EPMD server, with blocking sockets, and their decoded answers."""

from __future__ import annotations

from epmdless.cli.ask import ask
from epmdless.wire.epmd import NamesRequest, PortPlease2Request, encode_request
from epmdless.wire.epmd_replies import NamesReply, PortReply, decode_names_reply, decode_port_reply


def ask_names(hosts: tuple[str, ...], port: int) -> NamesReply:
    """Who is registered there?

    :raises NoServerError: nobody answers.
    :raises RemoteProtocolError: the answer cannot be read.
    """
    return decode_names_reply(ask(hosts, port, encode_request(NamesRequest())))


def ask_port(hosts: tuple[str, ...], port: int, alive: str) -> PortReply:
    """Where does this node listen?

    :raises NoServerError: nobody answers.
    :raises RemoteProtocolError: the answer cannot be read.
    """
    data = ask(hosts, port, encode_request(PortPlease2Request(alive)))
    reply = decode_port_reply(data, closed=True)
    assert reply is not None, "a closed connection leaves nothing to wait for"
    return reply
