"""TSIG keys in files that only their owner can reach."""

from __future__ import annotations

from epmdless.errors import ConfigError
from epmdless.net.files import read
from epmdless.resolve.dns_tsig import TsigKey, parse_key

MAX_FILE_BYTES = 4096
"""Of a file with one key, and more comment than anybody writes."""


def read_key(path: str, key: str) -> TsigKey:
    """Read the key from a file.

    Blocks as long as reading a small file takes. No error holds anything of the content.

    :param key: the dotted key of the configuration that names the file, for the error.
    :raises ConfigError: it cannot be read; it is no regular file; its group or others may do anything with
        it; it holds no key.
    """
    try:
        return parse_key(read(path, private=True, most=MAX_FILE_BYTES, what="key file").decode())
    except OSError as error:
        raise ConfigError(path, key, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(path, key, "is not text") from None
    except ValueError as error:
        raise ConfigError(path, key, str(error)) from None
