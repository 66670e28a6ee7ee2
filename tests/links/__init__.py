"""Tests of `epmdless.links`."""
