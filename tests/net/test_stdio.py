"""Descriptors that a program was given and must let go of."""

from tests.support.process import run
from tests.support.tools import PYTHON

KEEPS_ONE = """
import os
from epmdless.net import stdio
{before}
kept, other = os.pipe()
stdio.close_others({{kept}})
os.fstat(kept)
try:
    os.fstat(other)
except OSError as error:
    print(os.strerror(error.errno))
"""


def test_all_others_are_closed() -> None:
    assert run([PYTHON, "-c", KEEPS_ONE.format(before="")]).stdout == "Bad file descriptor\n"


def test_all_others_are_closed_where_there_is_no_proc() -> None:
    before = "def none(path): raise FileNotFoundError\nos.listdir = none"
    assert run([PYTHON, "-c", KEEPS_ONE.format(before=before)]).stdout == "Bad file descriptor\n"
