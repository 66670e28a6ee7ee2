"""Names from the EndpointSlices of a Kubernetes service: listed once, and then watched.

A list tells of all slices as of one resource version; a watch from that version on tells of every change.
A watch ends every minute or so, by our own wish, and the next one goes on where it ended. Where the API no
longer knows the version (410 Gone), and after anything that went wrong, the slices are listed again: what
was known before goes on being known until then.

The service account needs ``list`` and ``watch`` on ``endpointslices`` of the API group
``discovery.k8s.io``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import trio

from epmdless.cluster.peers import Known, LookError, Say
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.sources.endpoint_slices import (
    GONE,
    Bookmark,
    Changed,
    Deleted,
    Failed,
    Naming,
    Slices,
    decode_event,
    decode_page,
)
from epmdless.cluster.sources.kubernetes_api import (
    Access,
    Api,
    StatusError,
    read_token,
    trusting,
)
from epmdless.cluster.sources.polling import pause
from epmdless.config import HostPort, KubernetesSource
from epmdless.errors import ConfigError
from epmdless.net import files

PAGE_SLICES = 50
"""Slices in a page of a list: some 5,000 endpoints."""

MAX_PAGES = 200
"""Of one list: twice as many as MAX_SLICES takes. An API that always has another page does not lead on."""

MAX_LISTS = 3
"""Attempts to get through the pages of a list, each of which may be too old by the time the next is asked
for."""

WATCH_SECONDS = 60.0
"""How long a watch shall last. That much later, plus `timeout`, an API server that is silent for ever is
asked anew; to ask costs it little."""

WATCH_PAUSE = 1.0
"""Seconds between the end of a watch and the next one; longer after one that brought nothing."""

FRUITFUL_SECONDS = 5.0
"""A watch that lasted so long was one, even if nothing happened: proxies cut what is silent for some 20 s."""

MAX_BARREN = 5
"""Watches in a row that end early and bring nothing, until that is taken for a failure."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A namespace's name (RFC 1123)."""

MAX_NAMESPACE_BYTES = 256

SERVICE_LABEL = "kubernetes.io/service-name"
"""By which slices tell the service that they belong to."""


class EndpointSlices:
    """The source; see KubernetesSource.

    :param file: the configuration's file, for errors.
    :param key: the dotted key of the source's table.
    :param rng: a number in [0, 1).
    :raises ConfigError: no API server or namespace is given or found, or the files of the service account
        cannot be read.
    """

    def __init__(
        self,
        section: KubernetesSource,
        around: Surroundings,
        file: str,
        key: str,
        rng: Callable[[], float] = random.random,
    ) -> None:
        setup = _Setup(section, around, file, key)
        self._rng = rng
        self._access = setup.access()
        namespace = setup.namespace()
        self._selector = setup.selector()
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._naming = Naming(
            section.basename,
            section.names,
            section.service or "",
            namespace,
            section.domain,
            section.not_ready,
        )

    async def run(self, say: Say) -> None:
        """List, and watch; see :class:`Source`."""
        async with Api(self._access) as api:
            barren = 0
            follower = None
            while barren <= MAX_BARREN:
                if follower is None:
                    follower = await self._list(api)
                    say(follower.known())
                is_fruitful = await self._watch(api, follower, say)
                if follower.is_gone:
                    follower = None
                barren = 0 if is_fruitful else barren + 1
                await trio.sleep(pause(WATCH_PAUSE, barren, self._rng()))
            raise LookError("failed", "the API server ends watches as soon as they begin")

    async def _list(self, api: Api) -> _Follower:
        """All slices; pages that have become too old on the way are asked for from the first on."""
        for _ in range(MAX_LISTS):
            try:
                return await self._all_pages(api)
            except StatusError as error:
                if error.status != GONE:
                    raise
        raise LookError("failed", f"a list was too old before its end, {MAX_LISTS} times")

    async def _all_pages(self, api: Api) -> _Follower:
        slices = Slices(self._naming)
        parameters = {"labelSelector": self._selector, "limit": str(PAGE_SLICES)}
        for _ in range(MAX_PAGES):
            page = decode_page(await api.get(self._path, parameters))
            for each in page.items or ():
                slices.put(each)
            if not page.metadata.next_page:
                return _Follower(slices, page.metadata.resource_version)
            parameters["continue"] = page.metadata.next_page
        raise LookError("too_many", f"a list of more than {MAX_PAGES} pages")

    async def _watch(self, api: Api, follower: _Follower, say: Say) -> bool:
        """Follow what changes until the watch ends.

        :returns: whether it brought anything, or lasted for a while.
        """
        parameters = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": follower.version,
            "timeoutSeconds": f"{WATCH_SECONDS:.0f}",
        }

        def take(lines: list[bytes]) -> None:
            if follower.take(lines):
                say(follower.known())

        began, version = trio.current_time(), follower.version
        try:
            await api.lines(
                self._path,
                parameters,
                seconds=WATCH_SECONDS + self._access.timeout,
                opened=lambda: say(follower.known()),
                take=take,
            )
        except StatusError as error:
            if error.status != GONE:
                raise
            follower.is_gone = True
        return follower.version != version or trio.current_time() - began >= FRUITFUL_SECONDS


class _Follower:
    """What a list and the watches since have told.

    :ivar version: up to which all is known.
    :ivar is_gone: the API does not know that version any more.
    """

    def __init__(self, slices: Slices, version: str) -> None:
        self._slices = slices
        self.version = version
        self.is_gone = False

    def known(self) -> Known:
        return Known(tuple(self._slices.peers()))

    def take(self, lines: list[bytes]) -> bool:
        """Take events.

        :returns: whether the names are others than before.
        :raises StatusError: one of them says that the watch is over.
        :raises LookError: they are no events.
        """
        changes = [self._take(line) for line in lines]
        return any(changes)

    def _take(self, line: bytes) -> bool:
        event = decode_event(line)
        match event:
            case Failed(code):
                raise StatusError(code)
            case Bookmark(version):
                self.version = version
                return False
            case Changed(each):
                self.version = each.metadata.resource_version
                return self._slices.put(each)
            case Deleted(each):
                self.version = each.metadata.resource_version
                return self._slices.remove(each)


class _Setup:
    """What of the configuration shows only here: the pod's own files and environment."""

    def __init__(self, section: KubernetesSource, around: Surroundings, file: str, key: str) -> None:
        self._section = section
        self._environ = around.environ
        self._file = file
        self._key = key

    def _error(self, name: str, problem: str) -> ConfigError:
        return ConfigError(self._file, f"{self._key}.{name}", problem)

    def access(self) -> Access:
        """The files are looked at as they will be, so that a mistake shows at the start."""
        section, base = self._section, self._base()
        if base.startswith("http:"):
            return Access(base, None, None, section.timeout)
        for name, path, look in (
            ("token_file", section.token_file, read_token),
            ("ca_file", section.ca_file, trusting),
        ):
            try:
                look(path)
            except LookError as error:
                raise self._error(name, f"{path}: {error.detail}") from None
        return Access(base, section.token_file, section.ca_file, section.timeout)

    def _base(self) -> str:
        if self._section.api is not None:
            return self._section.api
        host = self._environ.get("KUBERNETES_SERVICE_HOST", "")
        port = self._environ.get("KUBERNETES_SERVICE_PORT", "")
        try:
            return f"https://{HostPort.parse(f'[{host}]:{port}' if ':' in host else f'{host}:{port}')}"
        except ValueError:
            variables = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT"
            raise self._error("api", f"not set, and {variables} do not say it, as in a pod") from None

    def namespace(self) -> str:
        """As it is configured, or as the pod's own file has it."""
        if self._section.namespace is not None:
            return self._section.namespace
        path = str(Path(self._section.token_file).with_name("namespace"))
        try:
            content = files.read(path, most=MAX_NAMESPACE_BYTES, what="file with a namespace")
        except (OSError, ValueError) as error:
            raise self._error("namespace", f"not set, and {path} cannot be read: {error}") from None
        name = content.decode("ascii", "replace").strip()
        if not _LABEL.fullmatch(name):
            raise self._error("namespace", f"not set, and {path} holds no name of one")
        return name

    def selector(self) -> str:
        """Of the service's slices, or as it is configured."""
        section = self._section
        return section.selector or f"{SERVICE_LABEL}={section.service}"
