"""Every exception that epmdless raises on purpose.

::

    EpmdlessError
    ├── ConfigError           the configuration is wrong: file, key, what is allowed
    ├── ResolveError          a source of answers failed (a DNS server, a far EPMD server)
    ├── ListenError           an address cannot be listened on
    ├── LocalProtocolError    we were about to send what the protocol forbids: a caller's mistake
    ├── RemoteProtocolError   the peer sent what the protocol forbids
    └── LinkError             a link cannot be set up; its code says why

"Not found" is an outcome, not an exception (``epmdless.resolve.outcomes``).
"""

from __future__ import annotations


class EpmdlessError(Exception):
    """Base of all errors below."""


class ConfigError(EpmdlessError):
    """The configuration is wrong.

    :param source: the file's path, an environment variable or a flag: where the operator must look.
    :param key: the dotted path of the key, ``""`` where the whole file is meant.
    :param problem: what is wrong, and what is allowed instead.
    """

    def __init__(self, source: str, key: str, problem: str) -> None:
        self.source = source
        self.key = key
        self.problem = problem
        super().__init__(": ".join(part for part in (source, key, problem) if part))


class ResolveError(EpmdlessError):
    """A source of answers failed; that a name does not exist is not a failure."""


class ListenError(EpmdlessError):
    """An address cannot be listened on.

    :param message: names the address and the reason.
    :param errno: the operating system's error number, None where it has no part in it.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        self.errno = errno
        super().__init__(message)


class LocalProtocolError(EpmdlessError):
    """We were about to send something that the protocol forbids."""


class RemoteProtocolError(EpmdlessError):
    """The peer sent something that the protocol forbids.

    :param reason: one short word of a fixed set, fit for a counter's label.
    :param detail: for people; holds no more than lengths and opcodes, never what the peer sent.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class LinkError(EpmdlessError):
    """A link cannot be set up.

    :param code: the end's code (``epmdless.links.ends``).
    :param detail: for people; never a secret, never more of what the peer sent than a node name.
    """

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")
