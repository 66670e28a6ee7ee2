"""The EPMD server."""
