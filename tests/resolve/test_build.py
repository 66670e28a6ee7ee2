"""Resolvers that follow others at a reload."""

import msgspec
import pytest

from epmdless.config import Address, ResolveSection, SrvSection
from epmdless.metrics import Metrics
from epmdless.registry import Registry
from epmdless.resolve.build import build_chain, build_sources
from epmdless.resolve.outcomes import Found, Query, Resolver, Verdict
from tests.support.ports import closed_port
from tests.support.relays import Lines
from tests.support.scripted_dns import ScriptedDns, answer

NAME = "_app._tcp.nodes.internal."
QUERY = Query("app", "b1.internal")


@pytest.mark.parametrize("is_same", [True, False])
async def test_routes_keep_what_dns_said_when_something_else_changes(is_same: bool) -> None:
    """No chain of our own asks DNS here: the routes alone do."""
    with ScriptedDns() as dns:
        dns.script(NAME, "SRV", answer(f"{NAME} 60 IN SRV 0 0 9005 b1.internal."))
        before = _section(f"127.0.0.1:{dns.port}")
        kept = _sources(before, None)
        assert isinstance(await kept["srv"].answer(QUERY), Found)
    with closed_port() as port:
        servers = before if is_same else _section(f"127.0.0.1:{port}")
        after = msgspec.structs.replace(servers, static={"couchdb": 9100})
        outcome = _sources(after, (before, kept))["srv"].answer_now(QUERY)
        assert isinstance(outcome, Found) if is_same else outcome is Verdict.WAIT


def _section(server: str) -> ResolveSection:
    srv = SrvSection(question="_{name}._tcp.nodes.internal", servers=(Address(server),))
    return ResolveSection(srv=srv)


def _sources(
    section: ResolveSection, before: tuple[ResolveSection, dict[str, Resolver]] | None
) -> dict[str, Resolver]:
    own = build_chain(section, Registry(), Metrics(), Lines())
    return build_sources({"srv"}, section, Metrics(), own, before)
