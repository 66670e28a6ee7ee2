"""The walk along the way that a connection to a node takes, to say where it ends and what to do about it."""
