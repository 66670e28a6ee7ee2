"""What tests share: real programs as subprocesses, raw EPMD clients, DNS servers, ports, deadlines.

Nothing here imports the package under test: these helpers check it.
"""
