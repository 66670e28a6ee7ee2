"""How the process begins that stays: in an isolated interpreter without site-packages, given this file.

It is a program as well as a module, since on that interpreter's path the package is not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

FLAGS = ("-I", "-S")
"""Isolated from PYTHON* variables, which are the command's, and without site-packages: half the memory."""


def become(words: Sequence[str], environ: Mapping[bytes, bytes]) -> NoReturn:
    """Execute this file in the place of this process.

    :param words: the orders, as arguments.
    :raises OSError: it cannot be executed.
    """
    encoding = f"utf8={sys.flags.utf8_mode}"  # by which arguments were read, and will be written
    program = [sys.executable, *FLAGS, "-X", encoding, __file__, *words]
    os.execve(sys.executable, program, environ)  # noqa: S606 - nothing for a shell


def main() -> NoReturn:
    """Run the orders in the arguments, and end with the command's status."""
    from epmdless.net import stdio
    from epmdless.supervisor.orders import Orders
    from epmdless.supervisor.running import run

    stdio.hold_standard_descriptors()
    os._exit(run(Orders.from_words(sys.argv[1:])))


if __name__ == "__main__":
    # Behind the standard library: what else lies beside the package may have the name of one of its modules.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 - pathlib is a megabyte
    main()
