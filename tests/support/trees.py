"""Erlang releases to run nodes of: the host's own, or one in a Debian tree made once by debootstrap.

As a program (`python -m tests.support.trees`) it makes the trees that are missing.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from tests.support import tools
from tests.support.process import run

Otp = Literal["otp25", "otp27"]

SUITES: dict[Otp, str] = {"otp25": "bookworm", "otp27": "trixie"}
"""The Debian release that carries each OTP release."""

PACKAGES = ("erlang-base", "erlang-crypto", "erlang-public-key", "erlang-ssl", "erlang-inets")
"""In every tree: enough for a node, and for TLS distribution."""

MAKING_WITHIN = 900.0
"""Seconds for debootstrap, slow mirrors included."""

RELEASE = "io:put_chars(erlang:system_info(otp_release)), halt()."


@dataclass(frozen=True, slots=True)
class Runtime:
    """An installation: the words in front of a command to run it there, and its root as seen from here."""

    prefix: tuple[str, ...]
    root: Path

    def inside(self, path: Path) -> str:
        """Return the path as programs of this installation see it."""
        return "/" + str(path.relative_to(self.root))


HOST = Runtime((), Path("/"))


@cache
def host_release() -> str | None:
    """Return the host's own OTP release, like "25", or None when there is no erl."""
    erl = tools.find("erl")
    if erl is None:
        return None
    return run([erl, "-noinput", "-boot", "start_clean", "-eval", RELEASE], env=tools.clean_env()).stdout


def cache_folder() -> Path:
    """Return the folder that outlives test runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "epmdless-tests"


def runtime(otp: Otp) -> Runtime:
    """Return an OTP release's installation, made first where need be; ends the test where it cannot be."""
    if host_release() == otp.removeprefix("otp"):
        return HOST
    if not _is_whole(_tree(otp)):
        tools.require_root(f"debootstrap makes the Debian tree with {otp}, and chroot runs it")
        tools.require("debootstrap")
        make(otp)
    tools.require_root(f"chroot runs {otp} in its Debian tree")
    return Runtime(("chroot", str(_tree(otp))), _tree(otp))


def make(otp: Otp) -> None:
    """Make the tree: aside, then renamed, so that a tree under its name is always whole."""
    tree = _tree(otp)
    tree.parent.mkdir(parents=True, exist_ok=True)
    with locked(tree.with_suffix(".lock")):
        if _is_whole(tree):
            return  # somebody else made it while this one waited for the lock
        shutil.rmtree(tree, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{tree.name}-", dir=tree.parent))
        try:
            _debootstrap(SUITES[otp], aside)
            _manifest(aside).write_text(" ".join(PACKAGES))
            aside.rename(tree)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


def _tree(otp: Otp) -> Path:
    return cache_folder() / SUITES[otp]


def _manifest(tree: Path) -> Path:
    return tree / "etc" / "epmdless-tests-packages"


def _is_whole(tree: Path) -> bool:
    """Tell whether the tree is there with just the packages that are wanted now."""
    manifest = _manifest(tree)
    return manifest.exists() and manifest.read_text() == " ".join(PACKAGES)


def _debootstrap(suite: str, target: Path) -> None:
    target.chmod(0o755)
    program = tools.require("debootstrap")
    argv = [program, "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(target)]
    done = run(argv, env=tools.clean_env(), within=MAKING_WITHIN)
    if done.status != 0:
        raise RuntimeError(
            f"debootstrap of {suite} ended with {done.status}\n{done.stdout[-4000:]}\n{done.stderr}"
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes of the tests wait for."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Make every tree that the host's own Erlang does not stand in for."""
    for otp in SUITES:
        if host_release() != otp.removeprefix("otp") and not _is_whole(_tree(otp)):
            if tools.find("debootstrap") is None:
                print(f"no debootstrap: no tests with {otp}")
                continue
            print(f"making the Debian tree with {otp} (once; about a minute)", flush=True)
            make(otp)


if __name__ == "__main__":
    main()
