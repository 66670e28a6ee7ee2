"""Tests of `epmdless.platforms`."""
