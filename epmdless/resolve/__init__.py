"""Where answers to "on which port does this node listen?" come from."""
