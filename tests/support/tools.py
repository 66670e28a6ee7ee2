"""Real programs that a test needs, and what happens where they are missing."""

import os
import shutil
import sys
from functools import cache
from typing import NoReturn

import pytest

ADMIN_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Searched after PATH: an ordinary user's PATH often lacks them, and knotd and debootstrap live there."""


def search_path() -> str:
    """PATH, then the folders of administration programs."""
    return os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin") + ":" + ADMIN_FOLDERS


@cache
def find(tool: str) -> str | None:
    """Return the tool's path, or None."""
    return shutil.which(tool, path=search_path())


def in_ci() -> bool:
    """Tell whether this is CI, where a missing tool is a failure."""
    return bool(os.environ.get("CI"))


def missing(reason: str) -> NoReturn:
    """End the test for want of a tool: failed in CI, skipped with the reason elsewhere."""
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require(tool: str, package: str | None = None) -> str:
    """Return the path of a program, or end the test as `missing` does.

    `package` is the Debian package that holds it, where it is named otherwise.
    """
    path = find(tool)
    if path is None:
        missing(f"needs {tool} (Debian package {package or tool})")
    return path


def require_root(why: str) -> None:
    """End the test as `missing` does unless it runs as root."""
    if os.geteuid() != 0:
        missing(f"needs root: {why}")


def clean_env(**extra: str) -> dict[str, str]:
    """Make an environment for a program under test, with nothing of ours that could change what it does."""
    env = {"PATH": search_path(), "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
    return env | extra


PYTHON = sys.executable
"""The interpreter that runs the tests: the package is installed in it."""
