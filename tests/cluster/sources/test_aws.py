"""Questions to an endpoint that answers, refuses, lies and hangs: it says why, and nothing waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
import trio

from epmdless.cluster.peers import LookError
from epmdless.cluster.sources import aws
from epmdless.cluster.sources.aws import MAX_PAGES, MAX_THREADS, Aws, reason_of
from epmdless.errors import ConfigError
from tests.support.moto_server import CREDENTIALS, REGION
from tests.support.ports import closed_port
from tests.support.scripted_http import Answer, Asked, HttpServer, Reply, serving

pytestmark = pytest.mark.usefixtures("aws_environment")

TIMEOUT = 0.3


class Tasks(msgspec.Struct, rename="camel"):
    """An answer to ListTasks."""

    task_arns: list[str]
    next_token: str = ""


def make(server: HttpServer | int, timeout: float = 20.0, region: str | None = REGION) -> Aws:
    port = server if isinstance(server, int) else server.port
    return Aws("ecs", region, f"http://127.0.0.1:{port}", timeout, "epmdless.toml", "cluster.source.tasks")


def whole(status: int, answer: object, **headers: str) -> Answer:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    async def reply(_asked: Asked, reply: Reply) -> None:
        await reply.whole(status, body, headers)

    return reply


async def silence(_asked: Asked, reply: Reply) -> None:
    await reply.until_left()


async def break_off(_asked: Asked, reply: Reply) -> None:
    await reply.start(200, {"Content-Length": "7"})


async def drip(_asked: Asked, reply: Reply) -> None:
    await reply.start(200)
    while True:
        await reply.send(b" ")
        await trio.sleep(TIMEOUT / 3)


async def failure(source: Aws) -> LookError:
    with pytest.raises(LookError) as caught:
        await source.ask("list_tasks", Tasks)
    assert caught.value.detail.splitlines() == [caught.value.detail]
    assert caught.value.__cause__ is None
    return caught.value


async def test_an_answer_is_decoded() -> None:
    async with serving(whole(200, {"taskArns": ["arn:a"], "more": 7})) as server:
        answer = await make(server).ask("list_tasks", Tasks, cluster="main", serviceName="app")
        assert answer.task_arns == ["arn:a"]
    asked = server.asked[0]
    assert json.loads(asked.body) == {"cluster": "main", "serviceName": "app"}
    assert asked.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
    assert "epmdless" in asked.headers["user-agent"]


async def test_a_client_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    create = botocore.session.Session.create_client

    def counted(*arguments: Any, **more: Any) -> Any:
        made.append(arguments)
        return create(*arguments, **more)

    monkeypatch.setattr(botocore.session.Session, "create_client", counted)
    async with serving(whole(200, {"taskArns": []})) as server:
        source = make(server)
        assert made == [], "a constructor starts nothing"
        for _ in range(3):
            await source.ask("list_tasks", Tasks)
    assert len(made) == 1


async def test_pages_are_asked_for_until_there_are_no_more() -> None:
    async def pages(asked: Asked, reply: Reply) -> None:
        number = int(json.loads(asked.body).get("nextToken", "0"))
        more = {"nextToken": str(number + 1)} if number < 3 else {}
        await reply.whole(200, json.dumps({"taskArns": [f"arn:{number}"], **more}).encode())

    found: list[str] = []

    def take(page: Tasks) -> str:
        found.extend(page.task_arns)
        return page.next_token

    async with serving(pages) as server:
        await make(server).ask_all("list_tasks", Tasks, take, "nextToken", cluster="main")
    assert found == ["arn:0", "arn:1", "arn:2", "arn:3"]
    assert {json.loads(asked.body)["cluster"] for asked in server.asked} == {"main"}


async def test_pages_without_an_end_are_too_many() -> None:
    async with serving(whole(200, {"taskArns": [], "nextToken": "again"})) as server:
        with pytest.raises(LookError) as caught:
            await make(server).ask_all("list_tasks", Tasks, lambda page: page.next_token, "nextToken")
        assert caught.value.reason == "too_many"
        assert len(server.asked) == MAX_PAGES


# Refusals.

CODES: dict[str, str] = {
    "AccessDenied": "denied",
    "AccessDeniedException": "denied",
    "UnauthorizedOperation": "denied",
    "AuthFailure": "denied",
    "ExpiredToken": "denied",
    "ExpiredTokenException": "denied",
    "InvalidClientTokenId": "denied",
    "UnrecognizedClientException": "denied",
    "SignatureDoesNotMatch": "denied",
    "InvalidSignatureException": "denied",
    "RequestExpired": "failed",
    "Throttling": "refused",
    "ThrottlingException": "refused",
    "RequestLimitExceeded": "refused",
    "TooManyRequestsException": "refused",
    "ServiceNotFoundException": "failed",
    "ClusterNotFoundException": "failed",
    "InvalidInstanceID.NotFound": "failed",
    "InternalError": "failed",
}


@pytest.mark.parametrize(("code", "reason"), CODES.items())
def test_a_code_is_a_reason(code: str, reason: str) -> None:
    assert reason_of(code) == reason


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ClusterNotFoundException", "ExpiredTokenException"]
)
async def test_a_refusal_is_told_by_its_code_alone(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Its message may hold the request as it was signed, the session's token included."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-session")
    secrets = [*CREDENTIALS.values(), "token-of-the-session"]
    async with serving(whole(400, {"__type": code, "message": f"no:\n{' '.join(secrets)}"})) as server:
        error = await failure(make(server))
    assert (error.reason, error.detail) == (reason_of(code), f"list_tasks: {code}")
    assert server.asked[0].headers["x-amz-security-token"] == "token-of-the-session"


BAD: dict[str, tuple[Answer, set[str]]] = {
    "no JSON": (whole(200, b"<html>"), {"malformed"}),
    "not UTF-8": (whole(200, b'{"taskArns": ["\xff"]}'), {"malformed"}),
    "nothing": (whole(200, b""), {"malformed"}),
    "null": (whole(200, None), {"malformed"}),
    "a list": (whole(200, [1]), {"malformed"}),
    "a number": (whole(200, 7), {"malformed"}),
    "deep": (whole(200, b"[" * 100_000), {"malformed"}),
    "another shape": (whole(200, {"taskArns": 7}), {"malformed"}),
    "a list of others": (whole(200, {"taskArns": [7, None]}), {"malformed"}),
    "nothing in it": (whole(200, {}), {"malformed"}),
    "a token that is none": (whole(200, {"taskArns": [], "nextToken": 7}), {"malformed"}),
    "an error that is no object": (whole(400, [1]), {"malformed", "failed"}),
    "an error without a code": (whole(400, {}), {"failed"}),
    "an error with rubbish for a code": (whole(400, {"__type": "a b\n\x1b[2J"}), {"failed"}),
    "an error of another kind": (whole(400, b"<html>"), {"failed", "malformed"}),
    "elsewhere": (whole(302, b"", Location="http://127.0.0.1:1/"), {"failed", "malformed"}),
    "broken off": (break_off, {"malformed", "unreachable"}),
}


@pytest.mark.parametrize(("answer", "reasons"), BAD.values(), ids=BAD)
async def test_an_endpoint_that_lies(answer: Answer, reasons: set[str]) -> None:
    async with serving(answer) as server:
        error = await failure(make(server))
    assert error.reason in reasons
    assert error.detail.isprintable()
    assert len(server.asked) <= 2


# Endpoints that are not there.


async def test_nobody_is_unreachable() -> None:
    with closed_port() as nobody:
        assert (await failure(make(nobody))).reason == "unreachable"


@pytest.mark.parametrize("answer", [silence, drip])
async def test_whoever_is_slow_is_given_up_and_nothing_else_waits(answer: Answer) -> None:
    async with serving(answer) as server:
        source = make(server, TIMEOUT)
        for _ in range(100):  # on a busy machine the SDK alone takes the time of the first ones
            assert (await failure(source)).reason == "timeout"
            if server.asked:
                return
    raise AssertionError("the server, which shares the event loop, did not go on")


async def test_however_often_is_asked_in_vain_few_threads_wait() -> None:
    async with serving(drip) as server:
        source = make(server, TIMEOUT)
        for _ in range(MAX_THREADS + 3):
            assert (await failure(source)).reason == "timeout"
        assert server.open <= MAX_THREADS


# Credentials, the region, and what is not installed.


async def test_without_credentials_it_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    async with serving(whole(200, {"taskArns": []})) as server:
        error = await failure(make(server))
        assert (error.reason, error.detail) == ("denied", "list_tasks: NoCredentialsError")
    assert server.asked == []


async def test_credentials_that_come_late_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """At boot, those of an instance may be later than we are."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    async with serving(whole(200, {"taskArns": []})) as server:
        source = make(server)
        assert (await failure(source)).detail == "list_tasks: NoCredentialsError"
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        await source.ask("list_tasks", Tasks)


async def test_credentials_that_are_renewed_in_their_file_are_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def renew(token: str) -> None:
        names = {name.lower(): value for name, value in CREDENTIALS.items()} | {"aws_session_token": token}
        file.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in names.items()))

    async def expiring(asked: Asked, reply: Reply) -> None:
        if asked.headers["x-amz-security-token"] == "old":
            await reply.whole(400, b'{"__type": "ExpiredTokenException"}')
        else:
            await reply.whole(200, b'{"taskArns": []}')

    async with serving(expiring) as server:
        source = make(server)
        renew("old")
        assert (await failure(source)).detail == "list_tasks: ExpiredTokenException"
        renew("new")
        await source.ask("list_tasks", Tasks)


async def test_a_profile_that_there_is_not_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert (await failure(make(1))).reason == "denied"


def region_of(server: HttpServer) -> str:
    return server.asked[-1].headers["authorization"].split("/")[2]


@pytest.mark.parametrize("variable", ["AWS_DEFAULT_REGION", "AWS_REGION"])
async def test_the_environment_may_tell_the_region(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "eu-north-1")
    async with serving(whole(200, {"taskArns": []})) as server:
        await make(server, region=None).ask("list_tasks", Tasks)
        assert region_of(server) == "eu-north-1"


async def test_the_instance_may_tell_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    async def instance(asked: Asked, reply: Reply) -> None:
        await reply.whole(200, b"a-token" if asked.method == "PUT" else b"eu-south-1a")

    async with serving(instance) as metadata, serving(whole(200, {"taskArns": []})) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{metadata.port}")
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        await make(server, region=None).ask("list_tasks", Tasks)
        assert region_of(server) == "eu-south-1"


async def test_without_a_region_it_says_so() -> None:
    error = await failure(make(1, region=None))
    assert (error.reason, error.detail) == ("failed", "list_tasks: NoRegionError")


def test_without_botocore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: Callable[[str], None] = lambda _: None  # noqa: E731
    monkeypatch.setattr(aws, "find_spec", absent)
    with pytest.raises(ConfigError) as caught:
        make(1)
    assert (caught.value.source, caught.value.key) == ("epmdless.toml", "cluster.source.tasks.kind")
    assert "pip install 'epmdless[aws]'" in caught.value.problem
