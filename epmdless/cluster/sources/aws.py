"""Questions to AWS by botocore, which waits in threads of its own and never in the event loop.

botocore finds credentials as AWS' own programs do: the environment, files, the container, the instance. It
reads an answer whole, however long it is; time is bounded, and so is the number of threads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import msgspec
import trio

from epmdless.cluster.peers import LookError
from epmdless.errors import ConfigError

MAX_THREADS = 2
"""Of a source: one that asks, and one that was given up and may still be waiting."""

ATTEMPTS = 2
"""For each question, where the first one may have failed by chance."""

TIMEOUTS_A_QUESTION = 3
"""Time-outs that a question may take, attempts and the search for credentials included."""

MAX_PAGES = 200
"""Of one answer: with 1,000 instances or 100 tasks in each, no fewer than names are allowed."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._:-]{0,99}")

_DENIED = re.compile(
    r"AccessDenied.*|UnauthorizedOperation|AuthFailure|Expired.*|.*Token.*|NotAuthorized.*|OptInRequired"
    r"|UnrecognizedClient.*|InvalidSignature.*|SignatureDoesNotMatch|IncompleteSignature|MissingAuthentic.*"
    r"|InvalidAccessKeyId|InvalidClientTokenId|Blocked"
)

_THROTTLED = re.compile(r".*Throttl.*|RequestLimitExceeded|TooManyRequests.*|SlowDown|LimitExceeded.*")

_CREDENTIALS = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"),
        *("NoAuthTokenError", "UnauthorizedSSOTokenError", "SSOTokenLoadError", "ProfileNotFound"),
        *("RefreshWithMFAUnsupportedError", "InvalidConfigError"),
    }
)
_TIMED_OUT = frozenset({"ConnectTimeoutError", "ReadTimeoutError"})
_UNREACHABLE = frozenset(
    {
        *("EndpointConnectionError", "ConnectionClosedError", "ConnectionError", "SSLError"),
        *("ProxyConnectionError", "HTTPClientError", "ResponseStreamingError"),
    }
)

T = TypeVar("T")
"""A structure whose fields are called as in AWS' answers."""


class Aws:
    """A service of AWS.

    :param service: its name in botocore.
    :param region: None: the environment's, the profile's or the instance's.
    :param endpoint: its URL, in place of the region's own.
    :param timeout: seconds for a connection, and for each wait on an answer.
    :param file: the configuration's file, for errors.
    :param key: the dotted key of the source's table.
    :raises ConfigError: botocore is not installed.
    """

    def __init__(
        self, service: str, region: str | None, endpoint: str | None, timeout: float, file: str, key: str
    ) -> None:
        if find_spec("botocore") is None:
            problem = "needs a package that is not installed: pip install 'epmdless[aws]'"
            raise ConfigError(file, f"{key}.kind", problem)
        self._service = service
        self._region = region
        self._endpoint = endpoint
        self._timeout = timeout
        self._limiter = trio.CapacityLimiter(MAX_THREADS)
        self._client: Any = None

    async def ask(self, operation: str, kind: type[T], **parameters: object) -> T:
        """Call an operation.

        :param operation: as botocore's method is called.
        :param kind: what the answer is decoded into.
        :raises LookError: there is no such answer, within a time that is bounded.
        """

        def ask() -> T:
            try:
                with _named_errors(operation):
                    client = self._client = self._client or self._make_client()
                    return _decoded(getattr(client, operation)(**parameters), kind)
            except LookError as error:
                if error.reason == "denied":
                    # A client keeps for ever what it was made with: no credentials, where their server was
                    # not up yet, or those that a file held then.
                    self._client = None
                raise

        try:
            with trio.fail_after(TIMEOUTS_A_QUESTION * self._timeout):
                return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._limiter)
        except trio.TooSlowError:
            raise LookError("timeout", f"{operation}: no answer in time") from None

    async def ask_all(
        self, operation: str, kind: type[T], take: Callable[[T], str | None], key: str, **parameters: object
    ) -> None:
        """Call an operation for one page after the other.

        :param take: called with each; what it raises goes through.
        :param key: the parameter for the token of the next page, which `take` returns, if there is one.
        :raises LookError: as `ask`; or there are too many.
        """
        for _ in range(MAX_PAGES):
            token = take(await self.ask(operation, kind, **parameters))
            if not token:
                return
            parameters[key] = token
        raise LookError("too_many", f"{operation}: more than {MAX_PAGES} pages")

    def _make_client(self) -> Any:
        """Takes some 0.1 s of a processor."""
        from botocore.config import Config
        from botocore.session import Session
        from botocore.utils import IMDSRegionProvider

        session = Session()
        # ECS and Lambda tell their containers AWS_REGION, which botocore does not read.
        region = self._region or os.environ.get("AWS_REGION") or session.get_config_variable("region")
        config = Config(
            connect_timeout=self._timeout,
            read_timeout=self._timeout,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=MAX_THREADS,
            inject_host_prefix=self._endpoint is None,
            user_agent_extra="epmdless",
        )
        return session.create_client(
            self._service,
            region_name=region or IMDSRegionProvider(session).provide(),
            endpoint_url=self._endpoint,
            config=config,
        )


def _decoded(answer: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError:
        # What msgspec says could hold text that the other end chose.
        raise LookError("malformed", "AWS answered what is no such answer") from None


@contextmanager
def _named_errors(operation: str) -> Iterator[None]:
    """Errors as what they mean; nothing of their text, which may hold what a request was signed with."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except LookError:
        raise
    except ClientError as error:
        code = _code_of(error.response)
        raise LookError(reason_of(code), f"{operation}: {code}") from None
    except BotoCoreError as error:
        raise LookError(_reason_of_fault(error), f"{operation}: {type(error).__name__}") from None
    except Exception as error:  # noqa: BLE001 - botocore takes for granted that an answer has its shape
        detail = f"{operation}: an answer that botocore cannot read ({type(error).__name__})"
        raise LookError("malformed", detail) from None


def _code_of(response: object) -> str:
    """The code of an error that AWS answered with."""
    told = response.get("Error") if isinstance(response, dict) else None
    code = told.get("Code") if isinstance(told, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "an error without a code"


def reason_of(code: str) -> str:
    """The reason, for :class:`LookError`, of an error code of AWS'."""
    if _THROTTLED.fullmatch(code):
        return "refused"
    return "denied" if _DENIED.fullmatch(code) else "failed"


def _reason_of_fault(error: Exception) -> str:
    """The reason of an error that botocore raises by itself, by its class or one that it derives from."""
    kinds = {each.__name__ for each in type(error).__mro__}
    for names, reason in (
        (_CREDENTIALS, "denied"),
        (_TIMED_OUT, "timeout"),
        (_UNREACHABLE, "unreachable"),
        ({"ResponseParserError"}, "malformed"),
    ):
        if kinds & names:
            return reason
    return "failed"
