"""Which configuration is in force: files, environment and flags."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from epmdless import config
from epmdless.addresses import ListenPlan, address_list, environment_port
from epmdless.config import Config, Duration
from epmdless.errors import ConfigError
from epmdless.launch import Loaded

SYSTEM_FILE = Path("/etc/epmdless/epmdless.toml")
BUILT_IN = "built-in defaults"


def find_file(flag: str | None) -> Path | None:
    """The configuration file: the flag's, ``$EPMDLESS_CONFIG``'s, the system's if there is one."""
    named = flag or os.environ.get("EPMDLESS_CONFIG")
    if named:
        return Path(named)
    return SYSTEM_FILE if SYSTEM_FILE.exists() else None


def read_config(path: Path | None) -> tuple[Config, str]:
    """Read and check a configuration; None: the built-in defaults.

    :returns: the configuration and where it came from.
    :raises ConfigError: the file cannot be read, or is wrong.
    """
    if path is None:
        return Config(), BUILT_IN
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise ConfigError(str(path), "", "a pipe: it cannot be read again")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), "", error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "", "not UTF-8") from None
    return config.decode(text, str(path)), str(path)


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
