"""Routes from a configuration, and what only this machine can say against it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from epmdless.config import decode
from epmdless.errors import ConfigError
from epmdless.metrics import Metrics
from epmdless.relay.build import RouteBuilder
from epmdless.relay.routes import Cookies, RouteTable
from epmdless.resolve.convention import SchemeResolver, StaticResolver
from epmdless.resolve.far import FarEpmd
from epmdless.resolve.outcomes import Found, Query, Resolver
from epmdless.schemes import SuffixScheme
from tests.support.link_sides import FAR_ADDRESS, HOST, STAND_IN
from tests.support.ports import closed_port, free_port
from tests.support.process import run
from tests.support.relays import Lines, Settings, config_text
from tests.support.servers import OUR_SERVE
from tests.support.tools import clean_env

ROUTE = {"host": HOST, "listen": STAND_IN, "dial": FAR_ADDRESS}
SOURCES: Mapping[str, Resolver] = {
    "static": StaticResolver({"db": 9100}),
    "scheme": SchemeResolver(SuffixScheme()),
}


async def no_dial(host: str, port: int) -> trio.SocketStream:
    raise OSError(f"dialled {host} port {port}")


def no_hop(via: str, host: str, port: int) -> FarEpmd:
    raise AssertionError(f"through {via} to {host} port {port}")


def built(*routes: Settings, before: str = "") -> RouteTable:
    section = decode(config_text(*routes, before=before), "test.toml").relay
    limit = trio.CapacityLimiter(1)
    return RouteBuilder(section, "test.toml", SOURCES, no_dial, no_hop, limit, Metrics(), Lines()).build()


def cookie_file(path: Path, cookie: str = "secret", mode: int = 0o400) -> str:
    path.write_text(cookie)
    path.chmod(mode)
    return str(path)


def test_a_stand_in_route_asks_the_far_host_s_epmd_server() -> None:
    (route,) = built(ROUTE)
    assert route.chain is not None
    assert route.chain.names == ("epmd",)
    assert route.far is route.chain.resolver("epmd")
    assert route.names.matches("anything")
    assert route.cookies is None


async def test_other_sources_are_asked_in_their_order() -> None:
    before = "[resolve.static]\ndb = 9100\n"
    (route,) = built({**ROUTE, "resolve": ["static", "scheme"]}, before=before)
    assert route.far is None
    assert route.chain is not None
    assert route.chain.names == ("static", "scheme")
    for alive, port in (("db", 9100), ("app-9001", 9001)):
        outcome = await route.chain.answer(Query(alive, HOST))
        assert isinstance(outcome, Found)
        assert outcome.node.port == port


def test_a_transparent_route_has_no_chain_of_its_own() -> None:
    (route,) = built({"net": "10.0.2.0/24"}, before='[relay.transparent]\nlisten = "0.0.0.0:4400"\n')
    assert (route.chain, route.far) == (None, None)


def test_cookies_are_read_from_their_files(tmp_path: Path) -> None:
    near, far = cookie_file(tmp_path / "near", "one\n"), cookie_file(tmp_path / "far", "two")
    (route,) = built({**ROUTE, "cookie_near": near, "cookie_far": far})
    assert route.cookies == Cookies(b"one", b"two")


@pytest.mark.parametrize("listen", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_this_machine_does_not_have(listen: str) -> None:
    with pytest.raises(ConfigError, match="not an address of this machine") as raised:
        built(ROUTE, {**ROUTE, "host": "c.test", "listen": listen})
    assert (raised.value.source, raised.value.key) == ("test.toml", "relay.route[1].listen")


def test_a_cookie_file_that_others_may_read(tmp_path: Path) -> None:
    near, far = cookie_file(tmp_path / "near"), cookie_file(tmp_path / "far", mode=0o644)
    with pytest.raises(ConfigError, match="its mode is 644") as raised:
        built({**ROUTE, "cookie_near": near, "cookie_far": far})
    assert (raised.value.source, raised.value.key) == ("test.toml", "relay.route[0].cookie_far")
    assert far in raised.value.problem
    assert "secret" not in str(raised.value)


# The same from the command line: one clear line, and its exit status.


def refused(folder: Path, text: str) -> tuple[int, str]:
    path = folder / "relay.toml"
    path.write_text(text)
    finished = run([*OUR_SERVE, "--config", path], env=clean_env())
    assert finished.stderr.startswith("epmdless: ")
    assert finished.stderr.count("\n") == 1
    return finished.status, finished.stderr


def test_a_missing_address_is_status_2_with_file_and_key(tmp_path: Path) -> None:
    status, said = refused(tmp_path, config_text({**ROUTE, "listen": "192.0.2.1"}))
    assert status == 2
    assert said.startswith(f"epmdless: {tmp_path}/relay.toml: relay.route[0].listen: 192.0.2.1 is not")


def test_a_readable_cookie_file_is_status_2_with_file_and_key(tmp_path: Path) -> None:
    near, far = cookie_file(tmp_path / "near", mode=0o640), cookie_file(tmp_path / "far")
    status, said = refused(tmp_path, config_text({**ROUTE, "cookie_near": near, "cookie_far": far}))
    assert status == 2
    assert said.startswith(f"epmdless: {tmp_path}/relay.toml: relay.route[0].cookie_near: {near}: must be")


def test_a_listed_port_that_is_taken_is_status_1(tmp_path: Path) -> None:
    with closed_port() as port:
        route = {**ROUTE, "listen": "127.0.0.1", "ports": [str(port)]}
        text = config_text(route, before="[epmd]\nlisten = []\n", epmd_port=free_port())
        status, said = refused(tmp_path, text)
    assert (status, said) == (1, f"epmdless: cannot listen on 127.0.0.1:{port}: Address already in use\n")
