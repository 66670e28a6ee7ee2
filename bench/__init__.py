"""Benchmarks: one file a question. ``python -m bench.lookup --help``, from the project's root."""
