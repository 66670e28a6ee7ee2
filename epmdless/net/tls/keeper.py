"""Certificates in use: read again when their files change, and warned about before they end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import trio

from epmdless import metrics
from epmdless.errors import ConfigError
from epmdless.log import Log
from epmdless.metrics import Metrics
from epmdless.net.tls.contexts import WARN_DAYS, Certificates, Load, TlsFiles, days_left

LOOK = 5.0
"""Seconds between looks at whether files have changed: a stat of each."""

WARN_EVERY = 86_400.0
"""Seconds between warnings of one certificate that ends soon."""


class _Kept:
    """What is kept of a role.

    :ivar warned_at: when its end was warned about, on the monotonic clock.
    :ivar problem: why the last reload failed.
    """

    __slots__ = ("certificates", "problem", "renewed", "warned_at")

    def __init__(self, certificates: Certificates, renewed: Callable[[Certificates], None]) -> None:
        self.certificates = certificates
        self.renewed = renewed
        self.warned_at = float("-inf")
        self.problem: str | None = None


class CertificateKeeper:
    """Looks after the certificates of a process, by the role that each has."""

    def __init__(self, counts: Metrics, log: Log) -> None:
        self.log = log
        self._counts = counts
        self._kept: dict[str, _Kept] = {}

    def keep(self, role: str, certificates: Certificates, renewed: Callable[[Certificates], None]) -> None:
        """Look after certificates from now on.

        :param role: ``gateway``, or ``hop.NAME``.
        :param renewed: given what was loaded when the files changed.
        """
        before = self._kept.get(role)
        kept = self._kept[role] = _Kept(certificates, renewed)
        if before is not None and before.certificates.not_after == certificates.not_after:
            kept.warned_at = before.warned_at  # each SIGHUP comes here
        self._counts.gauge(metrics.CERTIFICATE_END, lambda: kept.certificates.not_after, (role,))
        self._warn(role, kept)

    def forget(self, role: str) -> None:
        """Look after them no more."""
        if self._kept.pop(role, None) is not None:
            self._counts.forget(metrics.CERTIFICATE_END, (role,))

    async def serve(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await trio.sleep(LOOK)
            for role, kept in list(self._kept.items()):
                if kept.certificates.changed() or kept.problem is not None:
                    self._reload(role, kept)
                self._warn(role, kept)

    def _reload(self, role: str, kept: _Kept) -> None:
        """Load the files; on any mistake what is loaded stays, and it is tried again at the next look: what
        failed may mend without a change of the files, such as a lack of descriptors."""
        try:
            certificates = kept.certificates.reload()
        except ConfigError as error:
            self._note_problem(role, kept, str(error))
            return
        except Exception as error:  # noqa: BLE001 - no file may end a running server
            self._note_problem(role, kept, f"internal error: {type(error).__name__}")
            return
        kept.certificates = certificates
        kept.problem = None
        kept.warned_at = float("-inf")
        kept.renewed(certificates)
        self.log.info("certificates reloaded", role=role, ends=_date(certificates.not_after))

    def _note_problem(self, role: str, kept: _Kept, problem: str) -> None:
        """Say why files cannot be loaded, once."""
        if problem != kept.problem:
            kept.problem = problem
            self.log.error("certificates not reloaded", role=role, error=problem)

    def _warn(self, role: str, kept: _Kept) -> None:
        """Say that a certificate ends soon, or has ended."""
        days = days_left(kept.certificates.not_after, time.time())
        if days > WARN_DAYS or time.monotonic() - kept.warned_at < WARN_EVERY:
            return
        kept.warned_at = time.monotonic()
        event = "certificate ends soon" if days > 0 else "certificate has ended"
        ends = _date(kept.certificates.not_after)
        self.log.warning(event, role=role, file=kept.certificates.files.cert, ends=ends, days=round(days, 1))


def load_certificates(files: TlsFiles, key: str, load: Load, source: str) -> Certificates:
    """Load what a configuration names. Blocks as long as reading small files takes.

    :param source: the configuration's file; the error names it before the file that is wrong.
    :raises ConfigError: a file is not what it must be.
    """
    try:
        return Certificates(files, key, load)
    except ConfigError as error:
        raise ConfigError(source, error.key, f"{error.source}: {error.problem}") from None


def _date(seconds: float) -> str | None:
    return None if seconds == float("inf") else datetime.fromtimestamp(seconds, UTC).isoformat()
