"""Tests of `epmdless.cli`."""
