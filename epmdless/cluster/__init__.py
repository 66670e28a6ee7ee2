"""From names that sources know to nodes that are joined, with no code in the nodes."""
