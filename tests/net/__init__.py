"""Tests of `epmdless.net`."""
