"""The port that the configured chain says, whatever EPMD does."""

from __future__ import annotations

import pytest
import structlog
import trio
from trio.testing import MockClock

from epmdless.config import Config, ResolveSection, decode
from epmdless.doctor import promising
from epmdless.doctor.promising import CHAIN_SECONDS, Promise, Promised, ask_chain
from epmdless.errors import ResolveError
from epmdless.resolve.outcomes import Outcome, Query, Verdict

STATIC = '[resolve]\nchain = ["static"]\n[resolve.static]\n"shop" = 9005\n'


async def promised(text: str, name: str = "app-9001") -> Promised:
    section = decode(text, "e.toml").resolve if text else Config().resolve
    return await ask_chain(Query(name, "b1"), section, structlog.testing.CapturingLogger())


async def test_without_a_configuration_the_scheme_promises() -> None:
    assert await promised("") == Promised(Promise(9001, "scheme"))
    assert await promised("", "app") == Promised(None)


async def test_the_chain_comes_before_the_scheme() -> None:
    assert await promised(STATIC, "shop") == Promised(Promise(9005, "static"))


async def test_a_scheme_that_is_not_in_the_chain_promises_all_the_same() -> None:
    """Registrations are compared with it."""
    assert await promised(STATIC, "app-9001") == Promised(Promise(9001, "scheme"))


class _Chain:
    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def explain(self, query: Query) -> list[Outcome]:
        await trio.sleep(3600)
        return [Verdict.NOT_MINE]


async def test_a_chain_that_hangs(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promising, "build_chain", _Chain)
    found = await promised("")
    assert found.promise == Promise(9001, "scheme")
    assert "within 5 s" in (found.problem or "")
    assert trio.current_time() <= CHAIN_SECONDS


async def test_a_chain_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(section: ResolveSection, *_: object, **__: object) -> object:
        raise ResolveError("no server")

    monkeypatch.setattr(promising, "build_chain", broken)
    found = await promised("")
    assert found == Promised(Promise(9001, "scheme"), "the chain cannot be asked: no server")
