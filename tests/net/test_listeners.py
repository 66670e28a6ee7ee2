"""Opening listening sockets: all or none."""

import errno
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
import structlog

from epmdless.addresses import Endpoint
from epmdless.errors import ListenError
from epmdless.net.listeners import endpoint_of, endpoints_of, has_address, open_listeners
from tests.support.ports import free_port
from tests.support.process import run
from tests.support.tools import PYTHON, clean_env

V4: Final = Endpoint("127.0.0.1", 0)
V6: Final = Endpoint("::1", 0)
ABSENT: Final = Endpoint("192.0.2.1", 0)
"""RFC 5737: no host has it."""


class Opener:
    """Opens listeners, and closes them at the end of the test; `lines` is what was logged."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        capture = structlog.testing.LogCapture()
        self.lines = capture.entries
        self._log: Any = structlog.wrap_logger(None, processors=[capture])

    def __call__(self, *required: Endpoint, optional: tuple[Endpoint, ...] = ()) -> list[socket.socket]:
        return [self._stack.enter_context(each) for each in open_listeners(required, optional, self._log)]


@pytest.fixture
def listen() -> Iterator[Opener]:
    with ExitStack() as stack:
        yield Opener(stack)


def accepts(endpoint: Endpoint) -> bool:
    try:
        socket.create_connection(endpoint, timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_each_endpoint_is_listened_on(listen: Opener) -> None:
    listeners = listen(V4, V6)
    assert [endpoint_of(each).host for each in listeners] == ["127.0.0.1", "::1"]
    assert all(accepts(endpoint_of(each)) for each in listeners)


def test_port_0_is_chosen_once(listen: Opener) -> None:
    ports = {endpoint_of(each).port for each in listen(V4, optional=(V6,))}
    assert len(ports) == 1
    assert ports != {0}


def test_a_port_that_is_named_is_taken(listen: Opener) -> None:
    port = free_port()
    endpoints = [Endpoint("127.0.0.1", port), Endpoint("::1", port)]
    assert [endpoint_of(each) for each in listen(*endpoints)] == endpoints


def test_an_ipv6_listener_leaves_ipv4_to_others(listen: Opener) -> None:
    port = free_port()
    every = [Endpoint("0.0.0.0", port), Endpoint("::", port)]
    assert len(listen(*every)) == 2


def test_a_listener_is_no_childs(listen: Opener) -> None:
    assert not listen(V4)[0].get_inheritable()


def test_a_port_is_free_again_at_once_after_its_connections(listen: Opener) -> None:
    """Without SO_REUSEADDR, a restart would fail for the minute that closed connections linger."""
    first = open_listeners([V4], [])[0]
    endpoint = endpoint_of(first)
    client = socket.create_connection(endpoint, timeout=5)
    server, _ = first.accept()
    server.close()
    first.close()
    client.close()
    assert endpoint_of(listen(endpoint)[0]) == endpoint


def test_an_optional_address_that_the_host_lacks_is_left_out_and_logged(listen: Opener) -> None:
    listeners = listen(V4, optional=(ABSENT,))
    assert [endpoint_of(each).host for each in listeners] == ["127.0.0.1"]
    (line,) = listen.lines
    assert (line["event"], line["log_level"], line["reason"]) == (
        "address left out",
        "info",
        "Cannot assign requested address",
    )
    assert line["address"].startswith("192.0.2.1:")


def test_without_a_log_it_is_left_out_silently() -> None:
    (listener,) = open_listeners([V4], [ABSENT])
    listener.close()
    assert listener.fileno() == -1


def test_a_required_address_that_the_host_lacks_is_an_error(listen: Opener) -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign") as caught:
        listen(ABSENT)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("optional", [False, True])
def test_a_port_in_use_is_an_error_with_address_and_reason(listen: Opener, optional: bool) -> None:
    taken = endpoint_of(listen(V6)[0])
    with pytest.raises(ListenError) as caught:
        listen(V4, optional=(taken,)) if optional else listen(V4, taken)
    assert str(caught.value) == f"cannot listen on [::1]:{taken.port}: Address already in use"
    assert caught.value.errno == errno.EADDRINUSE


def test_after_an_error_none_is_left_open(listen: Opener) -> None:
    port = free_port()
    with pytest.raises(ListenError):
        listen(Endpoint("127.0.0.1", port), Endpoint("::1", port), ABSENT)
    assert not accepts(Endpoint("127.0.0.1", port))
    assert not accepts(Endpoint("::1", port))


@pytest.mark.parametrize("optional", [(), (ABSENT,)])
def test_nothing_to_listen_on_is_an_error(listen: Opener, optional: tuple[Endpoint, ...]) -> None:
    with pytest.raises(ListenError, match="none of the addresses") as caught:
        listen(optional=optional)
    assert caught.value.errno is None


RAISE: Final = """\
import json, resource
from epmdless.net.listeners import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
print(json.dumps([raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


def test_the_soft_limit_on_descriptors_is_raised_to_the_hard_one() -> None:
    done = run([PYTHON, "-c", RAISE], env=clean_env())
    assert (done.status, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [512, 512, 512]


@pytest.mark.parametrize(
    ("address", "ours"),
    [("127.0.0.1", True), ("127.8.9.10", True), ("192.0.2.1", False), ("2001:db8::1", False)],
)
def test_an_address_is_this_hosts_or_not(address: str, ours: bool) -> None:
    assert has_address(address) is ours


@pytest.mark.parametrize(
    ("family", "host", "only", "hosts"),
    [
        (socket.AF_INET, "0.0.0.0", None, ["0.0.0.0"]),
        (socket.AF_INET6, "::", 1, ["::"]),
        (socket.AF_INET6, "::", 0, ["::", "0.0.0.0"]),
        (socket.AF_INET6, "::1", 0, ["::1"]),
    ],
)
def test_a_socket_may_listen_for_both_families(
    family: int, host: str, only: int | None, hosts: list[str]
) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if only is not None:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        listener.bind((host, 0))
        assert [endpoint.host for endpoint in endpoints_of(listener)] == hosts
        assert {endpoint.port for endpoint in endpoints_of(listener)} == {listener.getsockname()[1]}
