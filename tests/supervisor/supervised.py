"""The supervisor as the process that it is, with a plan and a server from a script."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from epmdless.supervisor import start
from epmdless.supervisor.orders import Orders
from tests.supervisor import scripted_server
from tests.support.deadline import eventually
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.tools import PYTHON, clean_env

HOST = "b1.internal"
VARIABLES = {"RELEASE_NODE": "shop-9001@b1.internal", "ERL_AFLAGS": "-start_epmd false"}

START = (PYTHON, *start.FLAGS, start.__file__)
WITHIN = 10.0


def scripted_orders(journal: Path, command: Sequence[str], server: str = "ready") -> Orders:
    """Orders with a plan from here and a scripted server, which writes to the journal."""
    return Orders(
        command=tuple(command),
        plan=("/bin/echo", json.dumps({"host": HOST, "variables": VARIABLES})),
        server=(PYTHON, "-I", "-S", scripted_server.__file__, server, str(journal)),
        helper="",
        release="",
        epmd_port=free_port(),
        kill_after=None,
        blocked=(),
    )


class Supervised:
    """A running supervisor: use it as a context manager, its `program` is what runs."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        server: str = "ready",
        plan: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        port: int | None = None,
        kill_after: float | None = None,
        blocked: Sequence[int] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.journal = folder / "journal"
        orders = scripted_orders(self.journal, command, server)._replace(
            kill_after=kill_after, blocked=tuple(blocked)
        )
        if plan:
            orders = orders._replace(plan=tuple(plan))
        if port:
            orders = orders._replace(epmd_port=port)
        words = orders.to_words()
        descriptor = int(words[0])
        self.program = Program(
            [*prefix, *START, *words],
            env=clean_env() if env is None else env,
            pass_fds=[descriptor, *pass_fds],
        )
        os.close(descriptor)

    @property
    def noted(self) -> list[str]:
        """What the servers wrote down."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def servers(self) -> list[int]:
        """The process ids of the servers that were started."""
        return [int(word) for word in re.findall(r"^started (\d+)", "\n".join(self.noted), re.MULTILINE)]

    def says(self, text: str) -> None:
        """Wait until the command has printed this."""
        eventually(lambda: text in self.program.stdout, within=WITHIN, what=self.program.report)

    def wait(self) -> int:
        return self.program.wait(WITHIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.stop()
        self.program.close()
