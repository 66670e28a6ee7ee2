"""One source in a cluster: what its table is read as, and what is said against it."""

from typing import TypeVar

import pytest

from epmdless.config import Section, decode
from epmdless.errors import ConfigError

Kind = TypeVar("Kind", bound=Section)


def table(kind: str, keys: str) -> str:
    """A cluster with a good source, one of this kind and these keys, and another good one."""
    comma = ", " if keys else ""
    return (
        "[cluster]\ncookie_file = '/cookie'\n"
        "source.good = {kind = 'file', path = '/nodes'}\n"
        f"source.'b1.x' = {{kind = '{kind}'{comma}{keys}}}\n"
        f"source.bad = {{kind = '{kind}'{comma}{keys}}}\n"
    )


def source(kind: type[Kind], keys: str) -> Kind:
    """What the table of a source is read as."""
    read = decode(table(str(kind.__struct_config__.tag), keys), "e.toml").cluster.source["b1.x"]
    assert isinstance(read, kind)
    return read


def refused(kind: str, keys: str) -> tuple[str, str]:
    """The key, below the source's own table, and the problem of a table that is refused."""
    with pytest.raises(ConfigError) as caught:
        decode(table(kind, keys), "e.toml")
    error = caught.value
    assert "\n" not in str(error)
    assert str(error).startswith('e.toml: cluster.source."b1.x"')
    return error.key.removeprefix('cluster.source."b1.x"').removeprefix("."), error.problem
