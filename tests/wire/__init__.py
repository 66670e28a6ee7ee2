"""Tests of `epmdless.wire`."""
