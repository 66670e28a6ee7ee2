"""A release, made by `mix release` as users make theirs: without dependencies, and without a network.

    release = make_release(tmp_path)
    release.write_env_sh('export RELEASE_NODE="shop-9001@127.0.0.1"')
    with Program(release.command("start"), env=clean_env(ERL_EPMD_PORT=…)) as running: ...

It takes about a second: a module's tests share one. Its application does nothing; its name is `shop`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.process import Finished, Program
from tests.support.tools import clean_env, require

NAME: Final = "shop"
VERSION: Final = "0.1.0"
COOKIE: Final = "a-cookie-of-the-tests"

MAKING_WITHIN = 60.0
"""Seconds for `mix release`."""

COMMAND_WITHIN = 20.0
"""Seconds for a command like `rpc`, which starts a node."""

PROJECT = f"""
defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [app: :{NAME}, version: "{VERSION}", deps: [], releases: [{NAME}: [cookie: "{COOKIE}"]]]
  end

  def application, do: [extra_applications: []]
end
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A release that was made.

    :ivar root: what is called RELEASE_ROOT inside.
    """

    root: Path

    def command(self, *words: str) -> list[str]:
        """Return the words that run one of its commands: `start`, `rpc`, …"""
        return [str(self.root / "bin" / NAME), *words]

    def start(self, *words: str, **env: str) -> Program:
        """Start one of its commands, with `env` added to a clean environment; the caller ends it."""
        return Program(self.command(*words), env=release_env(env), cwd=self.root)

    def run(self, *words: str, **env: str) -> Finished:
        """Run one of its commands to its end."""
        with self.start(*words, **env) as program:
            status = program.wait(COMMAND_WITHIN)
            return Finished(status, program.stdout, program.stderr)

    def write_env_sh(self, text: str) -> None:
        """Let it have this env.sh, as if it had been made with such an env.sh.eex."""
        (self._versioned / "env.sh").write_text(f"#!/bin/sh\n{text}\n")

    def write_vm_args(self, text: str) -> None:
        """Let it have this vm.args, which its helpers do not read."""
        (self._versioned / "vm.args").write_text(f"{text}\n")

    @property
    def _versioned(self) -> Path:
        return self.root / "releases" / VERSION


def release_env(env: Mapping[str, str]) -> dict[str, str]:
    """Make an environment for a release: it cannot do without a locale in UTF-8."""
    return clean_env(LANG="C.UTF-8", **env)


def make_release(folder: Path) -> Release:
    """Make it in an empty folder; ends the test where there is no Elixir."""
    mix = require("mix", "elixir")
    (folder / "lib").mkdir()
    (folder / "mix.exs").write_text(PROJECT)
    (folder / "lib" / "shop.ex").write_text("defmodule Shop do\nend\n")
    env = clean_env(LANG="C.UTF-8", HOME=str(folder), MIX_ENV="prod")
    with Program([mix, "release", "--quiet"], env=env, cwd=folder) as program:
        assert program.wait(MAKING_WITHIN) == 0, program.report()
    return Release(folder / "_build" / "prod" / "rel" / NAME)
