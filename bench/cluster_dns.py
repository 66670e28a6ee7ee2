"""The DNS server of the cluster benchmark: dnsmasq, with the addresses that a file holds."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence

import dns.exception
import dns.message
import dns.query
import dns.rcode

from bench.cluster_world import BRIDGE_ADDRESS, World, wait_until
from bench.support import BenchError

DOMAIN = "cluster.internal"
READY = f"ready.{DOMAIN}"
READY_LIMIT = 10.0
QUESTION_SECONDS = 0.2


class Zone:
    """What the server knows; `addresses` by name, below DOMAIN."""

    def __init__(self, world: World, addresses: Mapping[str, Sequence[str]]) -> None:
        self._world = world
        self._file = world.bridge.folder / "hosts"
        self._addresses = {name: list(each) for name, each in addresses.items()}
        self._write()
        self._program = world.bridge.start("dnsmasq", self._command())
        wait_until(self._answers, READY_LIMIT, "a DNS answer", world.bridge.check)

    def add(self, name: str, address: str) -> None:
        """Add a record, at once."""
        self._addresses[name].append(address)
        self._write()
        os.kill(self._program.process_id, signal.SIGHUP)

    def _write(self) -> None:
        lines = [f"{BRIDGE_ADDRESS} {READY}"]
        lines += [f"{each} {name}.{DOMAIN}" for name, found in self._addresses.items() for each in found]
        fresh = self._file.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(self._file)

    def _command(self) -> list[str]:
        program = shutil.which("dnsmasq")
        if program is None:
            raise BenchError("dnsmasq is needed (Debian package dnsmasq-base)")
        listening = ("--port=53", f"--listen-address={BRIDGE_ADDRESS}", "--bind-interfaces")
        source = ("--no-resolv", "--no-hosts", f"--addn-hosts={self._file}", f"--local=/{DOMAIN}/")
        return [
            program,
            "--no-daemon",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=",
            *listening,
            *source,
        ]

    def _answers(self) -> bool | None:
        query = dns.message.make_query(READY, "A")
        try:
            answer = self._world.bridge.place.call(
                lambda: dns.query.udp(query, BRIDGE_ADDRESS, timeout=QUESTION_SECONDS)
            )
        except (OSError, dns.exception.DNSException):
            return None
        return True if answer.rcode() == dns.rcode.NOERROR and answer.answer else None
