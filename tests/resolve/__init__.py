"""Tests of `epmdless.resolve`."""
