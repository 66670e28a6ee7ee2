"""What a release has to be told so that its name, its port and its address agree.

Found out with plain ``erl`` and ``mix release``, OTP 25 and 27:

- Of a kernel parameter that is given more than once the first counts. ``ERL_AFLAGS`` stands before all else
  on the command line, so a port in it wins over that of ``vm.args``; in ``ERL_ZFLAGS`` and ``ERL_FLAGS``,
  which stand after it, it loses.
- ``-proto_dist`` given twice counts as not given at all (OTP 25), or the first counts (OTP 27): a second one
  could turn TLS off without a word.
- ``env.sh`` is read for every command of ``bin/app``, and most start a node of their own: with the fixed port
  of the node that runs already they could not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from epmdless.addresses import is_address
from epmdless.errors import EpmdlessError
from epmdless.names import MAX_NAME_CHARACTERS, is_transient
from epmdless.schemes import Scheme

DEFAULT_PORT = 9001
"""Where neither the name nor the caller says one."""

HELPERS = frozenset(
    {
        *("remote", "rpc", "eval", "stop", "restart", "pid", "version"),
        *(
            "remote_console",
            "attach",
            "daemon_attach",
            "ping",
            "reboot",
            "reload_config",
            "escript",
            "status",
        ),
    }
)
"""Commands of a release that do not run the system, but at most speak to it: of ``mix release``, and those
that relx has besides."""

_STARTING = re.compile(r"(start|daemon)(_iex)?")

_ALIVE = re.compile(r"[0-9A-Za-z_-]+")
"""What a BEAM lets stand before the ``@`` (net_kernel, ``valid_name_head``)."""

_LABEL = r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")

_PROTOCOL = re.compile(r"(?:^|\s)-proto_dist\s")

_COMMENT = re.compile(r"#.*")

_OWN_FLAGS = re.compile(
    r"\s*-start_epmd false"
    r"(?: -proto_dist inet6_tcp)?"
    r"(?: -name [0-9A-Za-z_@.:-]+)?"
    r"(?: -kernel inet_dist_listen_min [0-9]+ inet_dist_listen_max [0-9]+)?(?:\s+|$)"
)
"""What an earlier :func:`make_plan` put in front of ``ERL_AFLAGS``."""


class ReleaseError(EpmdlessError):
    """No name and port can be made of what was given: what is wrong, and what to give instead; one line."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller says of the node.

    :ivar app: the alive name, or what it shall begin with; None: RELEASE_NODE's or RELEASE_NAME.
    :ivar port: None: the scheme's.
    :ivar host: the host part: an address or a domain name.
    :ivar address: at which other hosts reach this one.
    :ivar vm_args: arguments that the release adds by itself, as its file has them.
    :ivar set_name: name plain ``erl`` and ``iex`` too, which do not look at RELEASE_NODE.
    """

    app: str | None
    port: int | None
    host: str
    address: str
    vm_args: str = ""
    set_name: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A node, and the environment that makes a release be it.

    :ivar variables: whole values, those that are there already extended.
    :ivar replaced: the beginning of ERL_AFLAGS that an earlier plan has put there.
    :ivar flags: what stands in its place now.
    """

    node: str
    alive: str
    host: str
    port: int
    variables: Mapping[str, str]
    replaced: str
    flags: str


def make_plan(scheme: Scheme, wanted: Wanted, environ: Mapping[str, str]) -> Plan:
    """Work out name and port, and the environment for them.

    :param environ: the release's, so far.
    :raises ReleaseError: name and port cannot be made to agree, or a BEAM cannot have such a name.
    """
    set_already = environ.get("RELEASE_NODE", "")
    if "@" in set_already:
        alive, _, host = set_already.partition("@")
        _check_alive(alive)
        port = _port_of(scheme, alive, wanted.port, "RELEASE_NODE")
    else:
        app = wanted.app or set_already or environ.get("RELEASE_NAME", "")
        if not app:
            raise ReleaseError("no name for the node: give --app, or set RELEASE_NAME or RELEASE_NODE")
        _check_alive(app)
        alive, port = _named(scheme, app, wanted.port)
        host = wanted.host
    _check_name(alive, host)
    node = f"{alive}@{host}"
    old = environ.get("ERL_AFLAGS", "")
    match = _OWN_FLAGS.match(old)
    replaced = match[0] if match else ""
    rest = old[len(replaced) :]
    flags = _flags(node, port, wanted, environ, rest)
    variables = {
        "RELEASE_NODE": node,
        "RELEASE_DISTRIBUTION": "none" if environ.get("RELEASE_DISTRIBUTION") == "none" else "name",
        "ERL_EPMD_ADDRESS": environ.get("ERL_EPMD_ADDRESS") or wanted.address,
        "ERL_AFLAGS": f"{flags} {rest}" if rest else flags,
    }
    return Plan(node, alive, host, port, variables, replaced, flags)


def is_helper(environ: Mapping[str, str]) -> bool:
    """Whether a command of the release runs that is not the system itself (RELEASE_COMMAND)."""
    command = environ.get("RELEASE_COMMAND", "")
    return bool(command) and not _STARTING.fullmatch(command)


def _port_of(scheme: Scheme, alive: str, port: int | None, source: str) -> int:
    promised = scheme.port_of(alive)
    if promised is not None and port is not None and promised != port:
        raise ReleaseError(
            f"{source}: the name {alive!r} promises port {promised}, not {port} as --port has it"
        )
    found = promised or port
    if found is None:
        raise ReleaseError(f"{source}: the name {alive!r} promises no port: give --port, or a name that does")
    return found


def _named(scheme: Scheme, app: str, port: int | None) -> tuple[str, int]:
    """The alive name and the port that the scheme gives it."""
    promised = scheme.port_of(app)
    if promised is not None and port in (None, promised):
        return app, promised
    wanted = DEFAULT_PORT if port is None else port
    alive = f"{app}-{wanted}"
    if (promised is None or not app[-1].isdigit()) and scheme.port_of(alive) == wanted:
        return alive, wanted
    if promised is not None:
        raise ReleaseError(f"the name {app!r} promises port {promised}, not {port} as --port has it")
    if is_transient(app):
        raise ReleaseError(f"the name {app!r} is a remote shell's or a helper's: give another --app")
    raise ReleaseError(f"the scheme promises no port for the names {app!r} and {alive!r}: give another --app")


def _check_alive(alive: str) -> None:
    if not _ALIVE.fullmatch(alive):
        raise ReleaseError(f"a node cannot be called {alive[:80]!r}: letters, digits, - and _ are allowed")
    if len(alive) > MAX_NAME_CHARACTERS:
        raise ReleaseError(f"the node's name is longer than {MAX_NAME_CHARACTERS} characters")


def _check_name(alive: str, host: str) -> None:
    if not is_host_part(host):
        raise ReleaseError(
            f"{host[:80]!r} is no host part of a long name: an address, or a domain name with a dot"
        )
    if len(alive) + 1 + len(host) > MAX_NAME_CHARACTERS:
        raise ReleaseError(f"the node's name is longer than {MAX_NAME_CHARACTERS} characters")


def is_host_part(text: str) -> bool:
    """Whether nodes with long names can have it after the ``@``: an address, or a domain name with a dot."""
    if "%" in text:
        return False  # an address that means something on one host alone
    if is_address(text):
        return True
    is_number = text.rpartition(".")[2].isdigit()
    return len(text) <= 253 and not is_number and _DOMAIN.fullmatch(text) is not None


def _flags(node: str, port: int, wanted: Wanted, environ: Mapping[str, str], rest: str) -> str:
    """What goes in front of ERL_AFLAGS.

    :param rest: what else ERL_AFLAGS holds.
    """
    words = ["-start_epmd false"]
    others = (environ.get(name, "") for name in ("ERL_FLAGS", "ERL_ZFLAGS", "ELIXIR_ERL_OPTIONS"))
    given = "\n".join((rest, *others, _COMMENT.sub("", wanted.vm_args)))
    if _is_reached_by_ipv6(node.partition("@")[2], wanted.address) and not _PROTOCOL.search(given):
        words.append("-proto_dist inet6_tcp")
    if not is_helper(environ):
        if wanted.set_name:
            words.append(f"-name {node}")
        words.append(f"-kernel inet_dist_listen_min {port} inet_dist_listen_max {port}")
    return " ".join(words)


def _is_reached_by_ipv6(host: str, address: str) -> bool:
    """Whether others dial an IPv6 address: the host part, or where it is a name, what that stands for. A node
    listens on one version of IP alone."""
    return ":" in host or (":" in address and not is_address(host))


def export_lines(plan: Plan) -> str:
    """The plan as input of a shell (POSIX), a line for each variable.

    What ERL_AFLAGS holds already is not repeated, a cookie, say: the shell adds it.
    """
    lines = []
    for name, value in plan.variables.items():
        quoted = shlex.quote(value)
        if name == "ERL_AFLAGS" and value != plan.flags:
            kept = f"${{ERL_AFLAGS#'{plan.replaced}'}}" if plan.replaced else "$ERL_AFLAGS"
            quoted = f"'{plan.flags} '\"{kept}\""
        lines.append(f"export {name}={quoted}\n")
    return "".join(lines)


def dotenv_lines(plan: Plan) -> str:
    """The plan as a file of variables, without quotes: docker, compose and systemd agree on that form alone.

    :raises ReleaseError: a value cannot be written so.
    """
    for name, value in plan.variables.items():
        if not re.fullmatch(r"[0-9A-Za-z_./:,@+=-]+(?: +[0-9A-Za-z_./:,@+=-]+)*", value):
            raise ReleaseError(f"{name}: what it holds already cannot be written to a file of variables")
    return "".join(f"{name}={value}\n" for name, value in plan.variables.items())
