"""Tests of `epmdless.relay`."""
