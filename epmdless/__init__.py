"""epmdless: the port mapper for Erlang and Elixir nodes.

The package is layered, and imports point down only (``tests/test_layers.py`` holds it to that)::

    L4  cli ─► app                      builds everything, one nursery; signals, reload, stop
    L3  epmd                            the EPMD server
    L2  resolve    net    log           trio lives from here up; dnspython only in resolve/srv*
    L1  wire  schemes  registry  policy  config  metrics     pure: no I/O, no clock, no logging
    L0  names  errors                                        standard library only

Words used throughout: a *node name* is ``app-9001@b1.internal``: *alive name* ``app-9001`` and
*host part* ``b1.internal``. A *registration* is a live ALIVE2 connection and what it said. A
*scheme* turns an alive name into a port. A *resolver* is one source of answers; resolvers stand in
a *chain*, and each gives an *outcome*: found, not mine, or missing.

This module imports nothing: ``epmdless-epmd`` runs at each boot of ``erl`` and must start fast.
"""

__version__ = "0.1.0"
