"""A PostgreSQL server of the test's own, at a UNIX socket in a folder of its own.

with postgres() as server:
    server.sql("create table nodes (name text)")
    ... PGHOST=server.folder psql -Atc 'select name from nodes'
"""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

from tests.support.deadline import eventually
from tests.support.process import Finished, Program, run
from tests.support.tools import clean_env, find, missing, require

DEBIANS_FOLDER = Path("/usr/lib/postgresql")
"""One folder in it for each version; only its clients are in PATH."""

READY_WITHIN = 30.0


@dataclass(frozen=True)
class Postgres:
    """The server; its socket is in `folder`, and whoever can reach that is its superuser."""

    folder: Path
    program: Program

    @property
    def env(self) -> dict[str, str]:
        """What lets psql find it."""
        return {"PGHOST": str(self.folder), "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def psql(self, statement: str) -> Finished:
        """Run psql on a statement."""
        return run([require("psql", "postgresql-client"), "-Atc", statement], env=clean_env(**self.env))

    def sql(self, statement: str) -> None:
        """Execute a statement that must go well."""
        done = self.psql(statement)
        assert (done.status, done.stderr) == (0, ""), done

    def stop(self) -> None:
        """End it at once, whoever is connected."""
        self.program.signal(SIGINT)
        self.program.wait(READY_WITHIN)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run one with an empty database until the context ends."""
    initdb, server = _program("initdb"), _program("postgres")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        become = _somebody_else(folder)
        data = ["-D", str(folder / "data")]
        made = run([*become, initdb, *data, "--auth=trust", "--username=postgres", "--no-sync"], within=60)
        assert made.status == 0, made
        flags = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with Program([*become, server, *data, *flags], env=clean_env()) as program:
            running = Postgres(folder, program)
            eventually(lambda: _answers(running), within=READY_WITHIN, what=program.report)
            yield running
            running.stop()
    finally:
        shutil.rmtree(folder)


def _answers(server: Postgres) -> bool:
    assert not server.program.ended, server.program.report()
    return server.psql("select 1").stdout == "1\n"


def _program(name: str) -> str:
    """The newest one of Debian's, or one in PATH."""
    versions = sorted(DEBIANS_FOLDER.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(versions[-1]) if versions else find(name)
    if found is None:
        missing(f"needs {name} (Debian package postgresql)")
    return found


def _somebody_else(folder: Path) -> Sequence[str]:
    """The words in front of a command by which it runs as the folder's new owner: initdb refuses root."""
    if os.geteuid() != 0:
        return ()
    user = next((each for each in pwd.getpwall() if each.pw_name == "postgres"), None)
    if user is None:
        missing("needs the user postgres (Debian package postgresql)")
    os.chown(folder, user.pw_uid, user.pw_gid)
    setpriv = require("setpriv", "util-linux")
    return setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"
