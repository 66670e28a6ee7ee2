"""Where the command ``epmdless`` starts."""

from __future__ import annotations

import signal
import sys

from epmdless.net import stdio


def main() -> None:
    """Run the command line.

    A server's SIGHUP means "reload", from its first moment on: the imports take long enough for one to
    come. What comes to ``exec`` waits: as PID 1 it would never see it otherwise. Ctrl-C during the imports
    is no fault of theirs, and ends in silence; the commands have their own ways with it.
    """
    is_held = sys.argv[1:2] == ["exec"]
    is_left = not is_held and stdio.leave_interrupts_to_the_system()
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    elif is_held:
        from epmdless.supervisor import signals

        signals.hold()
    from epmdless.cli.main import main as run

    if is_left:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
