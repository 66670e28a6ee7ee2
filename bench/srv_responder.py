"""A DNS server on loopback for the benchmark: answers SRV for ``_svcNNNNN._tcp.nodes.test``.

Run as a program, it prints its UDP port; each line on stdin is answered with the number of questions
so far; the end of stdin ends it. `responder` runs it so.
"""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from bench.support import BenchError, running

PATTERN = "svc{i}"
"""The names it knows, as the load generator writes them."""
BASE_PORT = 30_000
"""Name number I has the port BASE_PORT + I, as the load generator expects it."""
TTL = 3600
"""Seconds: no answer expires while a benchmark runs."""
TARGET = "b1.nodes.test."

_KNOWN = re.compile(r"_svc(\d{5})\._tcp\.nodes\.test\.", re.IGNORECASE)


def answer(question: bytes) -> bytes | None:
    """The reply to one datagram; None for what is not a question."""
    try:
        query = dns.message.from_wire(question)
        reply = dns.message.make_response(query)
    except dns.exception.DNSException:
        return None
    reply.flags |= dns.flags.AA | dns.flags.RA
    asked = query.question[0]
    known = _KNOWN.fullmatch(asked.name.to_text())
    if known is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype == dns.rdatatype.SRV:
        record = f"0 0 {BASE_PORT + int(known[1])} {TARGET}"
        reply.answer.append(dns.rrset.from_text(asked.name, TTL, "IN", "SRV", record))
    return reply.to_wire()


def main() -> None:
    """Answer until stdin ends."""
    asked = 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint,
        selectors.DefaultSelector() as selector,
    ):
        endpoint.bind(("127.0.0.1", 0))
        selector.register(endpoint, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print(endpoint.getsockname()[1], flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is endpoint:
                    question, client = endpoint.recvfrom(65535)
                    asked += 1
                    if reply := answer(question):
                        endpoint.sendto(reply, client)
                elif sys.stdin.readline():
                    print(asked, flush=True)
                else:
                    return


@contextmanager
def responder(core: int | None) -> Iterator[tuple[int, Callable[[], int]]]:
    """Run the DNS server; gives its port, and a function that tells the number of questions so far."""
    command = [sys.executable, "-m", "bench.srv_responder"]
    with running(command, core=core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def number() -> int:
            line = stdout.readline()
            if not line.strip().isdigit():
                raise BenchError(f"the DNS responder: {line.decode(errors='replace').strip()}")
            return int(line)

        def questions() -> int:
            stdin.write(b"\n")
            stdin.flush()
            return number()

        yield number(), questions


if __name__ == "__main__":
    main()
