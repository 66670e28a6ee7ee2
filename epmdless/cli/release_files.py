"""What a release's own files say that its environment must agree with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from epmdless.net import files
from epmdless.releases import is_helper

MAX_BYTES = 65_536
"""Of a file of arguments: a long one has some hundred lines."""


def vm_args(environ: Mapping[str, str]) -> str:
    """The arguments that a ``mix release`` will add to its command line; ``""``: not known, or no release.

    :param environ: as ``env.sh`` has it; with RELEASE_ROOT alone, the version that ``bin/app`` would start.
    """
    helper = is_helper(environ)
    named = environ.get("RELEASE_REMOTE_VM_ARGS" if helper else "RELEASE_VM_ARGS", "")
    if named:
        return _read(Path(named))
    root = environ.get("RELEASE_ROOT", "")
    if not root:
        return ""
    releases = Path(root) / "releases"
    version = environ.get("RELEASE_VSN") or _read(releases / "start_erl.data").partition(" ")[2].strip()
    return _read(releases / version / ("remote.vm.args" if helper else "vm.args")) if version else ""


def _read(path: Path) -> str:
    try:
        return files.read(str(path), most=MAX_BYTES, what="file of arguments").decode(errors="replace")
    except (OSError, ValueError):
        return ""  # the release says so itself, and knows better what it needs
