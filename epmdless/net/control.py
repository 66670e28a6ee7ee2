"""The control socket: HTTP over a UNIX socket, for the operator of this machine.

=======================  ==========================================================================
``GET /links``           200: ``{"now": SECONDS, "links": [...]}``; `now` is the monotonic clock's
``DELETE /links/ID``     200: the link is being ended; 404: there is no such link
``GET /cluster``         200: ``{"now": SECONDS, ...}``, who is joined with whom; 404: there is no cluster
``GET /publish``         200: ``{"now": SECONDS, ...}``, what stands in DNS; 404: nothing is published
=======================  ==========================================================================

``curl --unix-socket /run/epmdless/control.sock http://epmdless/links`` works as well as ``epmdless links``.
Whoever may open the socket may end links: its mode is 0600.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio

from epmdless.errors import ListenError
from epmdless.net.http import HttpServer, Page, text_page

SOCKET_NAME = "control.sock"

SYSTEM_PATH = Path("/run/epmdless") / SOCKET_NAME
"""Of a service, or of root: the folder is what ``RuntimeDirectory=epmdless`` makes."""

BACKLOG = 16
"""Connections that the kernel holds for us: an operator's, not a crowd's."""

MAX_ID_DIGITS = 19
"""Of a link's number in a target: as many as 64 bits need."""


class Links(Protocol):
    """What can be looked at and ended through the socket."""

    def views(self) -> list[dict[str, Any]]:
        """Each link that lives, in terms of JSON."""

    def end(self, link_id: int) -> bool:
        """End a link; False if there is none of this number."""


Picture = Callable[[], dict[str, Any] | None]
"""Says how something is at this moment, in terms of JSON; None: there is no such thing (now)."""


def _nothing() -> None:
    """What there never is."""


class ControlServer:
    """Serves the links of this process, how its cluster is, and what it publishes, on a control socket."""

    def __init__(self, links: Links, cluster: Picture = _nothing, publish: Picture = _nothing) -> None:
        self._links = links
        self._pictures = {
            b"/cluster": (cluster, "no cluster is configured\n"),
            b"/publish": (publish, "nothing is published\n"),
        }
        self._http = HttpServer(self.page)

    async def serve(
        self, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; the socket is closed at the end, and its file removed.

        :param listener: from `open_control_socket`; owned from here on.
        """
        path = Path(listener.getsockname())
        identity = _identity(path)
        listener.setblocking(False)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        with listener.dup():  # while it is open, no other file can get the inode's number
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._http.serve, listeners)
                    task_status.started()
            finally:
                _remove_ours(path, identity)

    def page(self, method: bytes, target: bytes) -> Page:
        """What a request is answered with."""
        path = target.partition(b"?")[0]
        if path.startswith(b"/links/"):
            number = path.removeprefix(b"/links/")
            return self._end(number) if method == b"DELETE" else text_page(405, "only DELETE\n")
        if path != b"/links" and path not in self._pictures:
            return text_page(404, "try /links, /cluster or /publish\n")
        if method not in (b"GET", b"HEAD"):
            return text_page(405, "only GET and HEAD\n")
        return _document({"links": self._links.views()}) if path == b"/links" else self._show(path)

    def _show(self, path: bytes) -> Page:
        picture, otherwise = self._pictures[path]
        content = picture()
        return text_page(404, otherwise) if content is None else _document(content)

    def _end(self, number: bytes) -> Page:
        known = number.isdigit() and len(number) <= MAX_ID_DIGITS and self._links.end(int(number))
        return text_page(200, "ended\n") if known else text_page(404, "no such link\n")


def _document(content: Mapping[str, Any]) -> Page:
    """What is so at this moment of the monotonic clock."""
    document = {"now": trio.current_time(), **content}
    return Page(200, "application/json", msgspec.json.encode(document) + b"\n")


def default_control_path(environ: Mapping[str, str], uid: int) -> Path:
    """Where the control socket is when the configuration does not say.

    ``$RUNTIME_DIRECTORY`` is systemd's (systemd.exec(5), RuntimeDirectory=; several are joined by
    colons); ``$XDG_RUNTIME_DIR`` is the user's own folder (XDG Base Directory Specification).

    :param uid: of the user who runs the process; 0 is root.
    """
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if runtime:
        return Path(runtime) / SOCKET_NAME
    if uid == 0:
        return SYSTEM_PATH
    own = environ.get("XDG_RUNTIME_DIR")
    return (Path(own) / "epmdless" if own else Path("/tmp") / f"epmdless-{uid}") / SOCKET_NAME  # noqa: S108


def open_control_socket(path: Path) -> socket.socket:
    """Listen on a UNIX socket with mode 0600, which it has from its first moment on.

    A folder that is missing is made, with mode 0700. A file that a dead process left is replaced.

    :returns: the socket, for the caller to close (`ControlServer.serve` does, and removes the file).
    :raises ListenError: the folder is not safe or cannot be made; a living process answers on the path;
        it is no socket; it is longer than a UNIX socket's path may be (107 bytes).
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True)
        _check_folder(path)
        _remove_stale(path)
        return _listen(path)
    except OSError as error:
        raise _listen_error(path, error.strerror or str(error), error.errno) from None


def _check_folder(path: Path) -> None:
    """Refuse a folder in which a stranger could put a socket of his own in our socket's place."""
    found = path.parent.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise _listen_error(path, f"{path.parent} belongs to another user")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise _listen_error(path, f"everybody may write to {path.parent}")


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _listen_error(path, "there is a file that is no socket")
    if _answers(path):
        raise _listen_error(path, "another process serves it")
    path.unlink()


def _answers(path: Path) -> bool:
    """Whether a process listens there; one whose backlog is full does too."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except ConnectionRefusedError:
            return False
    return True


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        # Linux makes the file with the mode of the unbound socket: no umask to change, which all threads
        # share, and no moment at which others may connect.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_ours(path: Path, identity: tuple[int, int] | None) -> None:
    """Remove the socket's file, unless a successor has put its own there."""
    if identity is not None and _identity(path) == identity:
        with contextlib.suppress(OSError):
            path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one that took its path; None: there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _listen_error(path: Path, reason: str, errno: int | None = None) -> ListenError:
    return ListenError(f"cannot listen on {path}: {reason}", errno)
