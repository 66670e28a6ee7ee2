"""A release, as `mix release` makes it; its application does nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.support import BenchError, clean_environment

NAME = "shop"
MAKING_SECONDS = 60.0

PROJECT = f"""
defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [app: :{NAME}, version: "1.0.0", deps: [], releases: [{NAME}: [cookie: "platformsbench"]]]
  end

  def application, do: [extra_applications: []]
end
"""

LOCALE = {"LANG": "C.UTF-8"}
"""Elixir complains without one of UTF-8."""


def make_release(folder: Path) -> Path:
    """Make it.

    :returns: its script, ``bin/shop``.
    :raises BenchError: there is no Elixir, or it fails.
    """
    mix = shutil.which("mix")
    if mix is None:
        raise BenchError("mix is needed (Debian package elixir)")
    (folder / "lib").mkdir()
    (folder / "mix.exs").write_text(PROJECT)
    (folder / "lib" / "shop.ex").write_text("defmodule Shop do\nend\n")
    environment = clean_environment() | LOCALE | {"HOME": os.fspath(folder), "MIX_ENV": "prod"}
    result = subprocess.run(
        [mix, "release", "--quiet"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=MAKING_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise BenchError(f"mix release fails:\n{result.stdout}{result.stderr}")
    return folder / "_build" / "prod" / "rel" / NAME / "bin" / NAME
