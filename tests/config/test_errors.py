"""Each kind of mistake is one error: the file, the dotted key, and what is allowed."""

import pytest

from epmdless.config import decode
from epmdless.errors import ConfigError


def mistake(text: str) -> ConfigError:
    """The error that a configuration's text gives, which is one line that starts with its source."""
    with pytest.raises(ConfigError) as caught:
        decode(text, "e.toml")
    error = caught.value
    assert error.source == "e.toml"
    assert str(error).startswith("e.toml: ")
    assert "\n" not in str(error)
    return error


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("x = 1", "x", "epmd, resolve, relay, gateway, hop, cluster, publish, control, metrics, log"),
        ("epmd.lisen = []", "epmd.lisen", "listen, packet_timeout, relaxed_command_check, access"),
        ("epmd.'weird key' = 1", "epmd.weird key", "listen, packet_timeout, relaxed_command_check, access"),
        (
            r'epmd."a\nb" = 1',
            r"epmd.a\nb",
            "listen, packet_timeout, relaxed_command_check, access",
        ),
        ("epmd.access.kill = []", "epmd.access.kill", "lookup, names"),
        ("metrics.port = 1", "metrics.port", "listen"),
        ("log.file = 'x'", "log.file", "level, format"),
        (
            "resolve.chains = []",
            "resolve.chains",
            "chain, fallthrough, on_mismatch, host, scheme, static, srv",
        ),
        (
            "resolve.srv = {questions = 'x'}",
            "resolve.srv.questions",
            "question, servers, tcp, timeout, lifetime, max_ttl, negative_ttl, max_stale, cache_entries",
        ),
    ],
)
def test_an_unknown_key_names_the_known_ones(text: str, key: str, allowed: str) -> None:
    error = mistake(text)
    assert (error.key, error.problem) == (key, f"unknown key; allowed: {allowed}")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("kind = 'suffix', port = 9001", "port"),
        ("kind = 'fixed', port = 9001, base = 1", "base"),
        ("kind = 'offset', regex = 'x'", "regex"),
    ],
)
def test_a_key_of_another_scheme_is_not_called_allowed(table: str, key: str) -> None:
    error = mistake(f"resolve.scheme = {{{table}}}")
    assert error.key == f"resolve.scheme.{key}"
    assert key not in error.problem.partition("allowed: ")[2].split(", ")


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("resolve.on_mismatch = 'refuse'", "resolve.on_mismatch", {"warn", "reject", "ignore"}),
        (
            "resolve.chain = ['registered', 'dns']",
            "resolve.chain[1]",
            {"registered", "scheme", "static", "srv", "peers"},
        ),
        (
            "resolve.fallthrough = ['dns']",
            "resolve.fallthrough[0]",
            {"registered", "scheme", "static", "srv", "peers"},
        ),
        ("log.level = 'loud'", "log.level", {"debug", "info", "warning", "error"}),
        ("log.format = 'xml'", "log.format", {"auto", "console", "json"}),
        (
            "resolve.scheme.kind = 'prefix'",
            "resolve.scheme.kind",
            {"suffix", "caravan", "offset", "fixed", "pattern"},
        ),
    ],
)
def test_a_choice_that_is_none_names_the_choices(text: str, key: str, allowed: set[str]) -> None:
    error = mistake(text)
    problem, _, choices = error.problem.partition("; allowed: ")
    assert error.key == key
    assert problem.endswith("is not one of the choices")
    assert set(choices.split(", ")) == allowed


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("resolve.scheme.kind = 'fixed'", "resolve.scheme.port"),
        ("resolve.scheme.kind = 'pattern'", "resolve.scheme.regex"),
        ("resolve.srv.servers = []", "resolve.srv.question"),
    ],
)
def test_a_key_that_is_missing_is_named(text: str, key: str) -> None:
    error = mistake(text)
    assert (error.key, error.problem) == (key, "this key is required")


def test_a_scheme_without_its_kind_names_the_kinds() -> None:
    error = mistake("resolve.scheme.port = 9001")
    assert error.key == "resolve.scheme.kind"
    assert error.problem == "this key is required; allowed: suffix, caravan, offset, fixed, pattern"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("epmd = 1", "epmd", "expected `object`, got `int`"),
        ("epmd.listen = 'x'", "epmd.listen", "got `str`"),
        ("epmd.relaxed_command_check = 'yes'", "epmd.relaxed_command_check", "expected `bool"),
        ("resolve.chain = 'scheme'", "resolve.chain", "got `str`"),
        ("resolve.host = 1", "resolve.host", "expected `str"),
        ("resolve.scheme = 'suffix'", "resolve.scheme", "got `str`"),
        ("resolve.scheme.kind = 1", "resolve.scheme.kind", "expected `str`, got `int`"),
        ("resolve.scheme = {kind = 'fixed', port = '9001'}", "resolve.scheme.port", "got `str`"),
    ],
)
def test_a_value_of_the_wrong_type_names_the_right_one(text: str, key: str, problem: str) -> None:
    error = mistake(text)
    assert error.key == key
    assert problem in error.problem


@pytest.mark.parametrize(
    ("text", "key", "bound"),
    [
        ("resolve.scheme = {kind = 'fixed', port = 0}", "resolve.scheme.port", ">= 1"),
        ("resolve.scheme = {kind = 'fixed', port = 65536}", "resolve.scheme.port", "<= 65535"),
        ("resolve.scheme = {kind = 'caravan', default = 0}", "resolve.scheme.default", ">= 1"),
        ("resolve.scheme = {kind = 'offset', modulo = 0}", "resolve.scheme.modulo", ">= 1"),
        ("resolve.srv = {question = 'x', cache_entries = 0}", "resolve.srv.cache_entries", ">= 1"),
        (
            "resolve.srv = {question = 'x', cache_entries = 1000001}",
            "resolve.srv.cache_entries",
            "<= 1000000",
        ),
    ],
)
def test_a_number_out_of_range_names_the_bound(text: str, key: str, bound: str) -> None:
    error = mistake(text)
    assert error.key == key
    assert error.problem == f"expected `int` {bound}"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("epmd.listen = ['::1', 'b1:4369']", "epmd.listen[1]", "'b1:4369' is not ADDRESS or ADDRESS:PORT"),
        ("epmd.listen = ['10.0.0.1:70000']", "epmd.listen[0]", "a number from 0 to 65535"),
        ("metrics.listen = 'localhost'", "metrics.listen", "'localhost' is not ADDRESS or ADDRESS:PORT"),
        ("metrics.listen = ['127.0.0.1']", "metrics.listen", "is not ADDRESS or ADDRESS:PORT"),
        (
            "resolve.srv = {question = 'x', servers = ['dns']}",
            "resolve.srv.servers[0]",
            "'dns' is not ADDRESS",
        ),
        ("epmd.packet_timeout = 60", "epmd.packet_timeout", "60 is not a duration"),
        (
            "epmd.packet_timeout = '60'",
            "epmd.packet_timeout",
            "'60' is not a duration: a number with ms, s, m",
        ),
        ("epmd.packet_timeout = '367d'", "epmd.packet_timeout", "is not a duration"),
        (
            "epmd.access.names = ['10.0.0.1/8']",
            "epmd.access.names[0]",
            "has host bits set; write a network as in",
        ),
        ("epmd.access.lookup = ['all']", "epmd.access.lookup[0]", 'write a network as in "10.0.0.0/8"'),
    ],
)
def test_a_text_that_is_not_what_it_must_be_says_what_it_must_be(text: str, key: str, problem: str) -> None:
    error = mistake(text)
    assert error.key == key
    assert problem in error.problem


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("epmd.packet_timeout = '0s'", "epmd", "packet_timeout must be more than 0s"),
        ("resolve.chain = ['scheme', 'scheme']", "resolve", "chain: each resolver may stand in it once"),
        ("resolve.chain = ['srv']", "resolve", 'chain names "srv", which needs a [resolve.srv] table'),
        ("resolve.static.a = 1", "resolve", "[resolve.static] is never asked"),
        ("resolve.srv.question = 'x'", "resolve", "[resolve.srv] is never asked"),
        ("resolve.fallthrough = ['srv']", "resolve", 'fallthrough names "srv", which chain does not'),
        ("resolve.scheme = {kind = 'pattern', regex = '('}", "resolve.scheme", "is not a regular expression"),
        ("resolve.scheme = {kind = 'pattern', regex = 'a'}", "resolve.scheme", '"port" or "index"'),
        (
            "resolve.scheme = {kind = 'pattern', regex = '([a-z]+-?)+(?P<port>[0-9]+)$'}",
            "resolve.scheme",
            "regex repeats what repeats",
        ),
        ("resolve.scheme = {kind = 'offset', base = 5537}", "resolve.scheme", "must not pass 65535"),
        (
            "resolve.srv = {question = 'x', timeout = '0s'}",
            "resolve.srv",
            "timeout and lifetime must be more",
        ),
        (
            "resolve.srv.question = '{nam}.x'",
            "resolve.srv",
            "{nam} is unknown; allowed: {name}, {host}, {label1}",
        ),
        ("resolve.srv.question = '{label10}.x'", "resolve.srv", "{label10} is unknown"),
        ("resolve.srv.question = '{}.x'", "resolve.srv", "{} is unknown"),
    ],
)
def test_keys_that_do_not_fit_together_say_so(text: str, key: str, problem: str) -> None:
    error = mistake(text)
    assert error.key == key
    assert problem in error.problem


@pytest.mark.parametrize("host", ["", "a b", "b1.internal:4369", "[::1]", "app@b1.internal", "a..b"])
def test_a_host_that_no_node_can_have_is_refused(host: str) -> None:
    error = mistake(f"resolve.host = '{host}'")
    assert error.key == "resolve.host"
    assert error.problem == f"{host!r} is neither a host name nor an IP address, without a port"


@pytest.mark.parametrize(
    ("listen", "metrics", "key", "problem"),
    [
        ("'10.0.0.1:1', '10.0.0.1:1'", "10.0.0.2", "epmd.listen[1]", "10.0.0.1:1 is epmd.listen[0]"),
        ("'10.0.0.1', '[::]', '10.0.0.1'", "10.0.0.2", "epmd.listen[2]", "10.0.0.1 is epmd.listen[0]"),
        ("'0.0.0.0:1', '127.0.0.1:1'", "10.0.0.2", "epmd.listen[1]", "0.0.0.0:1 is epmd.listen[0]"),
        ("'[::1]:1', '[::]:1'", "10.0.0.2", "epmd.listen[1]", "[::1]:1 is epmd.listen[0]"),
        ("'10.0.0.1:1', '10.0.0.2:1'", "10.0.0.2:1", "metrics.listen", "10.0.0.2:1 is epmd.listen[1]"),
        ("'0.0.0.0:9568'", "127.0.0.1", "metrics.listen", "0.0.0.0:9568 is epmd.listen[0]"),
    ],
)
def test_an_address_that_is_not_free_names_who_has_it(
    listen: str, metrics: str, key: str, problem: str
) -> None:
    error = mistake(f"epmd.listen = [{listen}]\nmetrics.listen = '{metrics}'")
    assert error.key == key
    assert error.problem.endswith(f" is not free: {problem}")


@pytest.mark.parametrize(
    "listen", ["'0.0.0.0:1', '[::]:1'", "'10.0.0.1:1', '10.0.0.1:2'", "'10.0.0.1', '10.0.0.2', '::1'"]
)
def test_addresses_side_by_side_are_listened_on(listen: str) -> None:
    config = decode(f"epmd.listen = [{listen}]\nmetrics.listen = '10.0.0.1'", "test")
    assert config.epmd.listen is not None


@pytest.mark.parametrize(
    "question", ["", ".", "a b", "a..b", ".a", "{name", "name}", "{{name}}", "a" * 64, "é.x"]
)
def test_a_question_that_makes_no_domain_name_is_refused(question: str) -> None:
    error = mistake(f"resolve.srv.question = '{question}'")
    assert error.key == "resolve.srv"
    assert error.problem.startswith("question: ")


@pytest.mark.parametrize("port", ["0", "65536", "'x'"])
def test_a_bad_port_in_the_static_table_names_its_table(port: str) -> None:
    assert mistake(f"resolve = {{chain = ['static'], static = {{a = {port}}}}}").key.startswith(
        "resolve.static"
    )


@pytest.mark.parametrize("name", ["", "a" * 256, r"a\u0000b"])
def test_a_static_name_that_no_node_can_have_is_found_before_anything_starts(name: str) -> None:
    error = mistake(f'resolve = {{chain = ["static"], static = {{"{name}" = 9001}}}}')
    assert "static" in f"{error.key} {error.problem}"


@pytest.mark.parametrize(
    "text", ["[log", "a = ", "a = 1\na = 2", "epmd = {", "\0", "[epmd]\n[epmd]", "a = 'x"]
)
def test_what_is_not_toml_names_the_file_alone(text: str) -> None:
    error = mistake(text)
    assert error.key == ""
    assert error.problem.startswith("not valid TOML: ")


def test_only_the_first_of_several_mistakes_is_told() -> None:
    assert mistake("log.level = 'x'\nepmd.listen = 5").key in ("log.level", "epmd.listen")
