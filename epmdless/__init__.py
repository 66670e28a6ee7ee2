"""epmdless: the port mapper, relay and gateway for Erlang and Elixir nodes.

The package is layered, and imports point down only (``tests/test_layers.py`` holds it to that)::

    L4  cli ─► app ─► launch  inspection  doctor     builds everything, one nursery; signals, reload, stop
    L3  epmd  relay  gateway  cluster  publish       the servers; app hands them what they share
    L2  resolve  net  links  hop  platforms  log     trio lives from here up; dnspython in resolve/srv*, dns*
        supervisor                                   PID 1 of a container: standard library only, no trio
    L1  wire  schemes  registry  policy  rules  grants  config  metrics  releases  render
                                                     pure: no I/O, no clock, no logging
    L0  names  addresses  errors                     standard library only

Words used throughout: a *node name* is ``app-9001@b1.internal``: *alive name* ``app-9001`` and
*host part* ``b1.internal``. A *registration* is a live ALIVE2 connection and what it said. A
*scheme* turns an alive name into a port. A *resolver* is one source of answers; resolvers stand in
a *chain*, and each gives an *outcome*: found, not mine, or missing. A *link* is a relayed distribution
connection, with a *near* side (who dialled) and a *far* side; a *route* says which far host a *stand-in
address*, or an original destination, means; the *pump* moves the bytes of established links. A *hop* leads
from a relay through *gateways* to a far subnet; a *tunnel* is one connection over it; a *grant* says what a
gateway's client may reach. *Facts* are what a platform says of this host, and a *plan* is the node's name,
port and environment that follow from them; a *lease* says until when a published node counts.

This module imports nothing: ``epmdless-epmd`` runs at each boot of ``erl`` and must start fast.
"""

__version__ = "0.1.0"
