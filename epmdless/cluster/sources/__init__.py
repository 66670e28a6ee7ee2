"""Where the names of a cluster's nodes come from, a file each."""
