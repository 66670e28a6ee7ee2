"""The relay: carries distribution connections to far hosts that near nodes cannot reach themselves."""
