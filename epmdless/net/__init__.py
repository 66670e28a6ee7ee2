"""Sockets, descriptors and what the operating system hands over."""
