"""The command lines. This module imports nothing: ``epmdless-epmd`` must start fast."""
