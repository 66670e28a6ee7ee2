"""Links, whoever set them up: the handshake as it is followed, the pump that carries them, and their end."""
