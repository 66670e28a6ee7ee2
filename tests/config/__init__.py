"""Tests of `epmdless.config`."""
