"""AWS as moto plays it, in a process of its own, and a client to set things up there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from botocore.session import Session

from tests.support.deadline import eventually
from tests.support.process import Program
from tests.support.tools import PYTHON, clean_env

REGION = "eu-west-1"

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-of-the-account"}

NOTHING_ELSE = {
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""For an environment in which botocore finds no more than it is given."""

READY_WITHIN = 30.0
"""Seconds: it imports much."""

_ADDRESS = re.compile(r"Running on (http://127\.0\.0\.1:[0-9]+)")


class Moto:
    """A running server.

    :ivar url: the endpoint of each of its services.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, service: str) -> Any:
        """A client of one of its services."""
        return Session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=_without_prefix(),
        )

    def keep(self, kind: str) -> None:
        """Let resources of a kind stay as they are: moto ends a task once it was looked at."""
        never = {"model_name": kind, "transition": {"progression": "time", "seconds": 10**6}}
        url = f"{self.url}/moto-api/state-manager/set-transition"
        urlopen(Request(url, json.dumps(never).encode(), {"Content-Type": "application/json"})).close()


def _without_prefix() -> Any:
    from botocore.config import Config

    return Config(inject_host_prefix=False)


@contextmanager
def moto() -> Iterator[Moto]:
    """Run a server for as long as the context lasts, at a port that the kernel chooses."""
    argv = [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with Program(argv, env=clean_env(**CREDENTIALS, **NOTHING_ELSE)) as program:

        def address() -> re.Match[str] | None:
            assert not program.ended, program.report()
            return _ADDRESS.search(program.stderr)

        server = Moto(eventually(address, within=READY_WITHIN, what=program.report)[1])
        server.keep("ecs::task")
        yield server
