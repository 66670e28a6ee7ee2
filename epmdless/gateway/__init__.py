"""The gateway: takes CONNECT requests from relays on one port, and dials what they are allowed."""
