"""Hops: the near side's way through gateways, or through any other CONNECT proxy."""
