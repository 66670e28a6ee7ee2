"""What all sources together know: which node is named, by whom, and which were named once and are no longer.

Plain data over times that the caller gives. The difference that everything rests on: a name leaves a
source's list only when that source says so (:class:`Known` without it). While a source does not know, its
last list stays; when that is older than `max_age`, its names make no new connections any more, and they are
still no reason to end one.

Nobody is gone while a source does not know, nor while no source names anybody at all: an empty zone after
a restart of DNS, or a file that a full disk cut short, says more of the source than of the nodes. That time
does not count for `hold` either, so that a list which comes back name by name takes nobody away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from epmdless.cluster.peers import MAX_NAMES, Known, Unknown
from epmdless.cluster.shaking import OWN_NAMES
from epmdless.names import is_node_name, is_transient

MAX_GONE = MAX_NAMES
"""Names that are remembered after every source stopped naming them: as many as one source can drop at once.
Beyond that the oldest are forgotten, and left alone."""

PORTS = range(1, 65_536)
"""That a node can listen on; any other that a source tells is as none."""

LeftOut = Callable[[str], None]
"""Told the reason for each name of a list that is not used: ``invalid``, ``transient``."""


class Naming(NamedTuple):
    """What is known of a name.

    :ivar sources: who names it, those of highest precedence first.
    :ivar port: of its listener, from the first of them that knows it.
    :ivar since: when the first of them began to name it.
    :ivar is_current: whether the list of at least one of them is not too old to make connections by.
    """

    sources: tuple[str, ...]
    port: int | None
    since: float
    is_current: bool = True


class Listing:
    """What one source last said.

    :ivar names: of its last list, with the port that it told and when it began to name each.
    :ivar heard: when it last knew; None: not yet.
    :ivar unknown: why it does not know; None: it does, or has said nothing yet.
    :ivar doubt: why it does not know a part; None: it does.
    :ivar failing_since: when that began.
    """

    __slots__ = ("doubt", "failing_since", "heard", "kind", "name", "names", "unknown")

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.names: dict[str, tuple[int | None, float]] = {}
        self.heard: float | None = None
        self.unknown: Unknown | None = None
        self.doubt: Unknown | None = None
        self.failing_since: float | None = None

    @property
    def knows_all(self) -> bool:
        """Whether who is not on its list is not there."""
        return self.heard is not None and self.unknown is None and self.doubt is None

    def is_expired(self, now: float, max_age: float) -> bool:
        """Whether its list is too old to make new connections by."""
        return self.unknown is not None and self.heard is not None and now - self.heard > max_age


class _Gone(NamedTuple):
    """A name that was named.

    :ivar since: when that ended.
    :ivar sure: seconds in which all that is named had been known by then.
    """

    since: float
    sure: float


class Roster:
    """The lists of all sources.

    :ivar version: changes whenever a name appears, leaves or gets another port.
    """

    def __init__(self) -> None:
        self.version = 0
        self._listings: dict[str, Listing] = {}
        self._gone: dict[str, _Gone] = {}
        self._sure = 0.0
        """Seconds in which all that is named was known, up to the last change of that."""
        self._sure_since: float | None = None
        """When that began; None: it is not known now."""

    @property
    def listings(self) -> Mapping[str, Listing]:
        """The sources by name, in their order."""
        return self._listings

    def have(self, sources: Sequence[tuple[str, str]], *, keep: frozenset[str] = frozenset()) -> None:
        """Change the sources.

        What a source that is gone from the configuration named has not left: it is as if never named.

        :param sources: name and kind of each, in order.
        :param keep: those among them whose lists stay.
        """
        before = self._listings
        self._listings = {
            name: before[name] if name in keep and name in before else Listing(name, kind)
            for name, kind in sources
        }
        self.version += 1

    def take(
        self, source: str, said: Known | Unknown, now: float, left_out: LeftOut = lambda _: None
    ) -> None:
        """Take in what a source says."""
        listing = self._listings.get(source)
        if listing is not None:
            self._take(listing, said, now, left_out)
            self._note_sureness(now)

    def _take(self, listing: Listing, said: Known | Unknown, now: float, left_out: LeftOut) -> None:
        if isinstance(said, Unknown):
            if listing.failing_since is None:
                listing.failing_since = now
            listing.unknown = said
            return
        listing.unknown, listing.doubt = None, said.doubt
        if said.doubt is None:
            listing.failing_since = None
        elif listing.failing_since is None:
            listing.failing_since = now
        listing.heard = now
        before = listing.names
        listing.names = after = _usable(said, before, now, left_out)
        if len(before) == len(after) and all(before.get(name) == seen for name, seen in after.items()):
            return
        self.version += 1
        for name in after:
            self._gone.pop(name, None)
        for name in before.keys() - after.keys():
            if not any(name in other.names for other in self._listings.values()):
                # At the end: the dictionary is in the order of these times.
                self._gone[name] = _Gone(now, self._sure_seconds(now))
        for name in list(self._gone)[: max(len(self._gone) - MAX_GONE, 0)]:
            del self._gone[name]

    def _note_sureness(self, now: float) -> None:
        every = self._listings.values()
        if all(each.knows_all for each in every) and any(each.names for each in every):
            self._sure_since = now if self._sure_since is None else self._sure_since
        else:
            self._sure, self._sure_since = self._sure_seconds(now), None

    def _sure_seconds(self, now: float) -> float:
        return self._sure + (0.0 if self._sure_since is None else now - self._sure_since)

    def named(self, sources: Sequence[str], now: float, max_age: float) -> dict[str, Naming]:
        """The names that these sources want connected, by name.

        :param sources: in order of precedence.
        :param max_age: seconds for which the list of a source that fails counts.
        """
        found: dict[str, Naming] = {}
        for source in sources:
            listing = self._listings.get(source)
            if listing is None:
                continue
            mine = (source,)
            is_current = not listing.is_expired(now, max_age)
            for name, (port, since) in listing.names.items():
                first = found.get(name)
                if first is None:
                    found[name] = Naming(mine, port, since, is_current)
                else:
                    found[name] = Naming(
                        (*first.sources, source),
                        first.port if first.port is not None else port,
                        min(first.since, since),
                        first.is_current or is_current,
                    )
        return found

    def expired(self, now: float, max_age: float) -> tuple[str, ...]:
        """The sources whose lists are too old to make new connections by."""
        return tuple(name for name, each in self._listings.items() if each.is_expired(now, max_age))

    def gone_since(self, name: str, now: float, hold: float) -> float | None:
        """When every source stopped naming a name; None: it is named, never was, or was `hold` seconds ago.

        None as well while there is a source that does not know, or has not said anything yet, and while
        nobody at all is named. Such times do not count for `hold`.
        """
        gone = self._gone.get(name)
        if gone is None:
            return None
        self._note_sureness(now)  # other sources may have been taken on
        if self._sure_since is None or self._sure_seconds(now) - gone.sure < hold:
            return None
        return gone.since

    def forget(self, now: float, age: float) -> None:
        """Forget what is gone for so many seconds."""
        while self._gone and now - next(iter(self._gone.values())).since > age:
            del self._gone[next(iter(self._gone))]

    def port_of(self, name: str) -> int | None:
        """The port that the first source that knows one tells for a name."""
        ports = (listing.names[name][0] for listing in self._listings.values() if name in listing.names)
        return next((port for port in ports if port is not None), None)


def _usable(
    said: Known, before: Mapping[str, tuple[int | None, float]], now: float, left_out: LeftOut
) -> dict[str, tuple[int | None, float]]:
    """The names of a list that a node can have, each as it comes first; those that were there before are not
    looked at again."""
    after: dict[str, tuple[int | None, float]] = {}
    for name, told in said.peers:
        if name in after:
            continue
        port = told if isinstance(told, int) and told in PORTS else None  # None in a range: a walk through it
        old = before.get(name)
        if old is not None:
            after[name] = old if old[0] == port else (port, old[1])
        elif (problem := problem_of(name)) is not None:
            left_out(problem)
        else:
            after[name] = port, now
    return after


def problem_of(name: str) -> str | None:
    """Why a name that a source says is not used; None: it is.

    A node becomes an atom in every node that is told to connect to it, so what can be no node's name must
    not get that far. A transient node (a remote shell) joins whom it wants by itself, and what is connected
    under a name of ours is another epmdless.
    """
    alive = name.partition("@")[0]
    if not is_node_name(name):
        return "invalid"
    return "transient" if is_transient(alive) or alive in OWN_NAMES else None
