"""What an error says to the operator."""

import errno

import pytest

from epmdless import errors


@pytest.mark.parametrize(
    ("key", "problem", "said"),
    [
        ("epmd.listen", "not so", "e.toml: epmd.listen: not so"),
        ("", "not valid TOML", "e.toml: not valid TOML"),
    ],
)
def test_a_config_error_is_one_line_of_where_what_and_why(key: str, problem: str, said: str) -> None:
    error = errors.ConfigError("e.toml", key, problem)
    assert str(error) == said
    assert (error.source, error.key, error.problem) == ("e.toml", key, problem)


def test_a_protocol_error_carries_a_word_to_count_by() -> None:
    error = errors.RemoteProtocolError("length", "a request of 0 bytes")
    assert (error.reason, error.detail, str(error)) == (
        "length",
        "a request of 0 bytes",
        "length: a request of 0 bytes",
    )


def test_a_listen_error_carries_the_systems_number_where_it_has_one() -> None:
    assert errors.ListenError("cannot listen", errno.EADDRINUSE).errno == errno.EADDRINUSE
    assert errors.ListenError("nothing to listen on").errno is None


def test_every_error_can_be_caught_as_the_packages_own() -> None:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(found) == 7
    assert all(issubclass(kind, errors.EpmdlessError) for kind in found)
