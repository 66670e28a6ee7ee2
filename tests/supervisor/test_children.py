"""Processes of ours where a sandbox forbids what they would like."""

import sys

from tests.support.process import run
from tests.support.tools import clean_env

WITHOUT_PRCTL = """
import errno, os
from epmdless.supervisor import children, prctl

def forbidden(option, value):
    raise OSError(errno.EPERM, "Operation not permitted")

prctl._prctl = forbidden
_, status = os.waitpid(children.start_function(lambda: True, 5), 0)
print(os.waitstatus_to_exitcode(status))
"""


def test_a_child_runs_where_prctl_is_forbidden() -> None:
    done = run([sys.executable, "-c", WITHOUT_PRCTL], env=clean_env())
    assert (done.stdout, done.stderr) == ("0\n", "")
