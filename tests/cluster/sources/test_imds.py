"""The instance metadata service, which has a token for each question, and others in its place."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from epmdless.cluster.peers import LookError
from epmdless.cluster.sources.imds import instance_id
from epmdless.platforms.imds import MAX_ANSWER_BYTES
from tests.support.ports import closed_port
from tests.support.scripted_http import Answer, Asked, Reply, serving

ID = "i-0123456789abcdef0"


@pytest.fixture
def clock() -> MockClock:
    """Jumps once nothing has happened for a moment."""
    return MockClock(autojump_threshold=0.05)


def answers(token: bytes = b"a-token", body: bytes = ID.encode(), status: int = 200) -> Answer:
    async def answer(asked: Asked, reply: Reply) -> None:
        if asked.method == "PUT":
            await reply.whole(200, token)
        else:
            await reply.whole(status, body)

    return answer


async def ask(answer: Answer) -> tuple[str, list[Asked]]:
    async with serving(answer) as server:
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{server.port}"}
        return await instance_id(environ, 5), server.asked


async def failure(answer: Answer) -> LookError:
    found: list[LookError] = []
    async with serving(answer) as server:
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{server.port}"}
        try:
            await instance_id(environ, 5)
        except LookError as error:
            found.append(error)
        await server.is_left()
    return found[0]


async def test_an_instance_knows_its_id() -> None:
    found, (first, second) = await ask(answers())
    assert found == ID
    assert (first.method, first.path) == ("PUT", "/latest/api/token")
    assert first.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "60"
    assert (second.method, second.path) == ("GET", "/latest/meta-data/instance-id")
    assert second.headers["x-aws-ec2-metadata-token"] == "a-token"


BAD: dict[str, tuple[Answer, str]] = {
    "denied": (answers(status=401), "denied"),
    "absent": (answers(status=404), "failed"),
    "elsewhere": (answers(status=302), "failed"),
    "a page": (answers(body=b"<html>log in</html>"), "malformed"),
    "nothing": (answers(body=b""), "malformed"),
    "two lines": (answers(body=f"{ID}\n".encode()), "malformed"),
    "a long id": (answers(body=b"i-" + b"0" * 33), "malformed"),
    "much": (answers(body=b"i" * 10_000_000), "malformed"),
    "a little too much": (answers(body=b"i" * (MAX_ANSWER_BYTES + 1)), "malformed"),
    "a token that is none": (answers(token=b"a\r\nHost: evil"), "malformed"),
    "a long token": (answers(token=b"a" * 513), "malformed"),
}


@pytest.mark.parametrize(("answer", "reason"), BAD.values(), ids=BAD)
async def test_what_is_no_answer(answer: Answer, reason: str) -> None:
    error = await failure(answer)
    assert error.reason == reason
    assert "evil" not in error.detail


async def test_silence_is_a_time_out(clock: MockClock) -> None:
    async def silence(_asked: Asked, reply: Reply) -> None:
        await reply.until_left()

    began = trio.current_time()
    assert (await failure(silence)).reason == "timeout"
    assert trio.current_time() - began == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:{port}", "http://[", "nowhere", "ftp://127.0.0.1"])
async def test_where_there_is_none_it_says_so(endpoint: str) -> None:
    with closed_port() as port, pytest.raises(LookError) as caught:
        await instance_id({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint.format(port=port)}, 5)
    assert caught.value.reason == "unreachable"
