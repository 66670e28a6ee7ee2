"""Tests of `epmdless.gateway`."""
