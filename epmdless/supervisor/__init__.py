"""``epmdless exec``: a command, and the EPMD server beside it, under one process that may be PID 1.

Theory of operation. The command line is read by an ordinary ``epmdless``, which then executes
``__main__`` here in an interpreter without site-packages: what stays for the life of a container is small.
That process blocks every signal and waits for them, as tini does: a child's end and a word of the server
are signals too, so there is one place to wait, and no handler, no thread and no race. Whatever could
block, or needs more than the standard library, is a child::

    plan       epmdless env --json     which variables the command gets
    question   a fork of this process  whether an EPMD server answers on the port already
    server     epmdless serve          restarted whenever it ends
    command    what it is all about

``states`` decides and does nothing (no clock, no process: it is tested without either), ``hands`` does
what it is told, ``running`` brings the two together.

This module imports nothing.
"""
