"""Names of nodes in a table of a real PostgreSQL."""

from collections.abc import Iterator

import pytest

from epmdless.cluster.peers import LookError, Peer
from epmdless.cluster.sources.command import NamesCommand
from epmdless.config import CommandSource, Duration
from tests.support.postgres import Postgres, postgres

pytestmark = pytest.mark.interop


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    with postgres() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


def source(*flags: str) -> NamesCommand:
    return NamesCommand(CommandSource(argv=("psql", *flags), timeout=Duration(30)))


async def failure(source: NamesCommand) -> LookError:
    with pytest.raises(LookError) as caught:
        await source.look()
    return caught.value


async def test_the_rows_of_a_table_are_nodes(server: Postgres) -> None:
    names = source("-Atc", "select name from nodes")
    error = await failure(names)
    assert error.reason == "failed"
    assert 'relation "nodes" does not exist' in error.detail
    server.sql("create table nodes (name text, port integer)")
    assert await names.look() == (), "an empty table is nobody"
    server.sql("insert into nodes values ('app@10.0.0.7', 9001), ('app@fd00::7', null)")
    assert await names.look() == (Peer("app@10.0.0.7"), Peer("app@fd00::7"))
    server.sql("delete from nodes where port is not null")
    assert await names.look() == (Peer("app@fd00::7"),)
    server.stop()
    error = await failure(names)
    assert error.reason == "failed"
    assert str(server.folder) in error.detail


async def test_json_has_the_ports_too(server: Postgres) -> None:
    server.sql("create table nodes (name text, port integer)")
    names = source("-Atc", "select json_agg(nodes) from nodes")
    assert await names.look() == ()
    server.sql("insert into nodes values ('app@10.0.0.7', 9001), ('app@fd00::7', null)")
    assert await names.look() == (Peer("app@10.0.0.7", 9001), Peer("app@fd00::7"))


async def test_a_table_with_its_head_is_no_list(server: Postgres) -> None:
    """Without -t and -A the names of columns, rules and a count come along."""
    server.sql("create table nodes (name text)")
    error = await failure(source("-c", "select name from nodes"))
    assert (error.reason, error.detail) == ("malformed", "line 1: 'name' is not NAME@HOST")


async def test_a_query_that_takes_too_long_is_a_time_out(server: Postgres) -> None:
    argv = ("psql", "-Atc", "select 'app@b1' from pg_sleep(1000)")
    names = NamesCommand(CommandSource(argv=argv, timeout=Duration(1)))
    assert (await failure(names)).reason == "timeout"
