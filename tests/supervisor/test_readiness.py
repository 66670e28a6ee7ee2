"""The server's word that it serves: what counts, and what does not."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from epmdless.supervisor.readiness import Readiness
from tests.support.process import run
from tests.support.tools import PYTHON

SENDER = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.connect(chr(0) + sys.argv[1][1:])
sock.send(b"READY=1")
"""


@pytest.fixture
def readiness() -> Iterator[Readiness]:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # which by default would end these tests
    readiness = Readiness()
    yield readiness
    readiness.close()
    signal.signal(signal.SIGIO, before)


def send(readiness: Readiness, *notices: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + readiness.address[1:])
        for notice in notices:
            sock.send(notice)


@pytest.mark.parametrize("notice", [b"READY=1", b"READY=1\nSTATUS=0 nodes", b"STATUS=starting\nREADY=1"])
def test_ready_is_heard(readiness: Readiness, notice: bytes) -> None:
    assert not readiness.is_told(os.getpid())
    send(readiness, notice)
    assert readiness.is_told(os.getpid())


def test_other_notices_are_passed_over(readiness: Readiness) -> None:
    send(readiness, b"", b"STATUS=READY=1", b"\xff" * 5000, b"RELOADING=1")
    assert not readiness.is_told(os.getpid())
    send(readiness, b"STATUS=0 nodes registered", b"READY=1")
    assert readiness.is_told(os.getpid())


def test_what_another_process_says_does_not_count(readiness: Readiness) -> None:
    subprocess.run([PYTHON, "-I", "-S", "-c", SENDER, readiness.address], check=True)
    assert not readiness.is_told(os.getpid())


def test_once_it_is_closed_notices_go_nowhere(readiness: Readiness) -> None:
    readiness.close()
    with pytest.raises(ConnectionRefusedError):
        send(readiness, b"READY=1")


WAITS = """
import signal, socket
from epmdless.supervisor.readiness import Readiness
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
readiness = Readiness()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
    sender.sendto(b"READY=1", chr(0) + readiness.address[1:])
print(signal.sigtimedwait({signal.SIGIO}, 5).si_code > 0)
"""
"""In a process of its own: any thread of ours could take the signal."""


def test_the_kernel_says_that_there_is_a_notice() -> None:
    done = run([PYTHON, "-c", WAITS])
    assert (done.stdout, done.stderr) == ("True\n", "")
