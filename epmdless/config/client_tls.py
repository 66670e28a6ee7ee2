"""What the tables of TLS have in common in which epmdless is the client."""

from __future__ import annotations

from epmdless.config.checks import check_host, check_path
from epmdless.config.errors import SectionError
from epmdless.config.values import Section


class ClientTlsSection(Section, frozen=True):
    """Paths of files in PEM, read again when they change."""

    ca: str
    """Certificates to one of which the other end's must chain."""
    cert: str | None = None
    """Our own certificate; absent, with `key`: we show none."""
    key: str | None = None
    server_name: str | None = None
    """What the other end's certificate must be for."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            missing = "cert" if self.cert is None else "key"
            raise SectionError(missing, "missing: cert and key come together or not at all")
        for key, path in (("cert", self.cert), ("key", self.key), ("ca", self.ca)):
            if path is not None:
                check_path(key, path, of_secret=key == "key")
        if self.server_name is not None:
            check_host("server_name", self.server_name)
