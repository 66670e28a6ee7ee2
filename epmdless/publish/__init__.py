"""Publishing: this host's registrations in a DNS zone, for resolver chains of others and any SRV client."""
