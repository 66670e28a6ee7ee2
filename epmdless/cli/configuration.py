"""Which configuration is in force: files, environment and flags."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from epmdless import config
from epmdless.addresses import ListenPlan, address_list, environment_port
from epmdless.config import Config, Duration
from epmdless.config.values import is_host
from epmdless.errors import ConfigError
from epmdless.launch import Loaded

SYSTEM_FILE = Path("/etc/epmdless/epmdless.toml")
BUILT_IN = "built-in defaults"

TEXT_VARIABLE = "EPMDLESS_CONFIG_TOML"
"""Holds a configuration itself: where containers run, variables are at hand and files are not."""

HOST_VARIABLE = "EPMDLESS_HOST"
"""The host part of this host's node names, where the configuration does not say."""


def find_file(flag: str | None) -> Path | None:
    """The configuration file: the flag's, ``$EPMDLESS_CONFIG``'s, the system's if there is one.

    None where ``$EPMDLESS_CONFIG_TOML`` comes before the system's.

    :raises ConfigError: both variables are set.
    """
    named, is_text_given = os.environ.get("EPMDLESS_CONFIG"), bool(os.environ.get(TEXT_VARIABLE))
    if named and is_text_given and not flag:
        raise ConfigError(f"${TEXT_VARIABLE}", "", "EPMDLESS_CONFIG is set, too: take one of them")
    if flag or named:
        return Path(flag or named or "")
    return SYSTEM_FILE if SYSTEM_FILE.exists() and not is_text_given else None


def read_config(path: Path | None) -> tuple[Config, str]:
    """Read and check a configuration; None: ``$EPMDLESS_CONFIG_TOML``'s, or the built-in defaults.

    :returns: the configuration and where it came from.
    :raises ConfigError: the file cannot be read, or is wrong.
    """
    text, source = _text_of(path) if path else (os.environ.get(TEXT_VARIABLE), f"${TEXT_VARIABLE}")
    if not text:
        text, source = "", str(path) if path else BUILT_IN
    return _with_host(config.decode(text, source)), source


def _text_of(path: Path) -> tuple[str, str]:
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise ConfigError(str(path), "", "a pipe: it cannot be read again")
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        raise ConfigError(str(path), "", error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "", "not UTF-8") from None


def _with_host(found: Config) -> Config:
    host = os.environ.get(HOST_VARIABLE)
    if not host or found.resolve.host is not None:
        return found
    if not is_host(host):
        raise ConfigError(f"${HOST_VARIABLE}", "", f"{host!r} is neither a host name nor an IP address")
    return msgspec.structs.replace(found, resolve=msgspec.structs.replace(found.resolve, host=host))


def load(flag: str | None, port: int | None, addresses: str | None) -> Loaded:
    """The configuration of ``epmdless serve``.

    :param port: ``--port``: moves every EPMD address to this port.
    :param addresses: ``--address``: in place of the configuration's addresses, loopback added.
    :raises ConfigError: a file, a variable or a flag is wrong.
    """
    found, source = read_config(find_file(flag))
    plan = config.listen_plan(found, os.environ)
    if addresses is not None:
        plan = address_list(addresses, environment_port(os.environ), "--address")
    if port is not None:
        plan = ListenPlan(*(tuple(e._replace(port=port) for e in part) for part in plan))
    return Loaded(found, plan, source)


def load_for_epmd(packet_timeout: int | None, *, relaxed: bool) -> Loaded:
    """The configuration of ``epmdless-epmd``: a file's answers, under the reference's flags.

    Where to listen is no matter of the file here: those sockets are open already.

    :param packet_timeout: seconds; None: the configuration's.
    :raises ConfigError: the file is wrong.
    """
    found, source = read_config(find_file(None))
    epmd = found.epmd
    if packet_timeout is not None:
        epmd = msgspec.structs.replace(epmd, packet_timeout=Duration(packet_timeout))
    if relaxed:
        epmd = msgspec.structs.replace(epmd, relaxed_command_check=True)
    return Loaded(msgspec.structs.replace(found, epmd=epmd), ListenPlan(()), source)
