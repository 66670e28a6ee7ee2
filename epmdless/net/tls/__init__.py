"""TLS between the two ends of a hop: what is loaded, who the peer is, and what went wrong."""
