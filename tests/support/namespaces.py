"""Namespaces of mounts and networks, which some tests make and remove themselves."""

from tests.support.process import run
from tests.support.tools import missing, require, require_root


def require_namespaces() -> str:
    """Return the path of unshare, or end the test as `missing` does."""
    require_root("it makes namespaces of mounts and networks")
    unshare = require("unshare", "util-linux")
    require("ip", "iproute2")
    if run([unshare, "--mount", "--net", "true"]).status != 0:
        missing("needs namespaces of mounts and networks, which this container may not make")
    return unshare
