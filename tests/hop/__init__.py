"""Tests of `epmdless.hop`."""
