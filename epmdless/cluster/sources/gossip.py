"""Names heard by UDP multicast, as libcluster's strategy Gossip sends them; we send those of local nodes.

Anybody on the network may send anything. With a secret, only those who know it are understood, and a packet
is understood once: who recorded one can make nobody's name last. A packet holds no time, so one that is
older than what is remembered (MAX_MARKS) passes: it can name a node that was there once, and no more.
Without a secret everybody is believed, and who is believed can get in: a node that connects to a stranger
answers his challenge, which may be another node's.
"""

from __future__ import annotations

import errno
import math
import os
import random
import socket
from collections.abc import Callable, Sequence

import trio

from epmdless import metrics
from epmdless.cluster.peers import Known, LookError, Peer, Say, Unknown
from epmdless.cluster.sources.build import Surroundings
from epmdless.cluster.sources.heard import Heard, Marks
from epmdless.config import GossipSource
from epmdless.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from epmdless.net import files
from epmdless.wire.gossip import IV_SIZE, MAX_PACKET, decode_heartbeat, encode_heartbeat, key_of

ROUND = 0.05
"""Seconds between two looks at what came: packets wait in the kernel meanwhile."""

PACKETS_A_ROUND = 100
"""Packets handled in a round: 2,000 a second, as many as 5,000 nodes send. Beyond that the kernel drops
them. Each takes up to 20 µs: a flood costs 4 % of a processor."""

PACKETS_A_SECOND = round(PACKETS_A_ROUND / ROUND)

HEARTBEATS_A_ROUND = 64
"""Heartbeats sent at once. A receiver's buffer holds some 270 packets."""

TELL_PAUSE = 0.25
"""Seconds between two times that what changed is told: names come in crowds when a cluster starts."""

MISSING_BEATS = 2
"""The longest pauses between heartbeats for which none of ours may be heard, until that is a failure."""

MAX_SECRET_BYTES = 4096

IP_MULTICAST_ALL = 49
"""From linux/in.h; Python does not name it."""

_PASSING = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
"""Errors of a send that mean no more than that a packet is lost."""


class Gossip:
    """The source; see GossipSource.

    :param file: the configuration's file, for errors.
    :param key: the dotted key of the source's table.
    :param rng: a number in [0, 1).
    :raises ConfigError: the file with the secret cannot be read, or others can read it too.
    """

    def __init__(
        self,
        section: GossipSource,
        around: Surroundings,
        file: str,
        key: str,
        rng: Callable[[], float] = random.random,
    ) -> None:
        secret: bytes | None = None
        if section.secret_file is not None:
            try:
                secret = key_of(_read_secret(section.secret_file))
            except ValueError as error:
                raise ConfigError(file, f"{key}.secret_file", f"{section.secret_file}: {error}") from None
        self._section = section
        self._key = secret
        self._mouth = _Mouth(section, around, secret, rng)
        self._ears = _Ears(section, around, secret)

    def is_up_to_date(self, _around: Surroundings) -> bool:
        """Whether its secret is the one in the file: whoever changes it reloads us."""
        path = self._section.secret_file
        try:
            return path is None or key_of(_read_secret(path)) == self._key
        except ValueError:
            return False

    async def run(self, say: Say) -> None:
        """Speak and listen; see :class:`Source`.

        Who was heard by an earlier run is still there, until it was silent for long enough in this one.
        """
        try:
            with _joined(self._section) as sock:
                await self._talk(sock, say)
        except OSError as error:
            raise LookError("unreachable", f"multicast: {error.strerror or error}") from None

    async def _talk(self, sock: socket.socket, say: Say) -> None:
        mouth, ears, heard = self._mouth, self._ears, self._ears.heard
        told = _Told(ears, self._section.heartbeat, say)
        mouth.next = trio.current_time()
        ears.begin(trio.current_time())
        while True:
            now = trio.current_time()
            if now >= mouth.next:
                ears.expect(mouth.speak(sock, now), now)
            heard.forget_silent(now)
            told.tell_if_due(now)
            with trio.move_on_at(min(mouth.next, told.next, heard.next_end())):
                await trio.lowlevel.wait_readable(sock)
                ears.listen(sock, trio.current_time())
            await trio.sleep(ROUND)


def _read_secret(path: str) -> bytes:
    """The secret in a file: one line.

    :raises ValueError: there is none, or others could read it; the message does not hold it.
    """
    try:
        content = files.read(path, private=True, most=MAX_SECRET_BYTES, what="file with a secret")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    secret = content.rstrip(b"\r\n")
    if not secret or b"\n" in secret:
        raise ValueError("must hold a secret, and nothing but that, in one line")
    return secret


def _joined(section: GossipSource) -> socket.socket:
    """A socket that sends to the group and hears it: others on this host too, and none of ours twice.

    It is bound to the group's address, which keeps out what was sent to this host alone, from anywhere.
    """
    group = socket.inet_aton(section.group)
    own = socket.inet_aton(section.interface or "0.0.0.0")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, section.ttl)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        if section.interface is not None:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)
        sock.bind((section.group, section.port))
    except OSError:
        sock.close()
        raise
    return sock


class _Mouth:
    """What we say: the names of local nodes.

    :param key: of the secret; None: in the clear.
    :ivar next: when to speak again.
    """

    def __init__(
        self, section: GossipSource, around: Surroundings, key: bytes | None, rng: Callable[[], float]
    ) -> None:
        self.next = 0.0
        self._to = (section.group, section.port)
        self._heartbeat = section.heartbeat
        self._around = around
        self._key = key
        self._rng = rng
        self._rounds_spoken = 0

    def speak(self, sock: socket.socket, now: float) -> Sequence[str]:
        """Send a heartbeat of each local node: of some, where they are many, and of others the sooner.

        :returns: the names that were sent.
        :raises OSError: the network is gone.
        """
        names = sorted(set(self._around.local_nodes()))
        rounds = max(1, math.ceil(len(names) / HEARTBEATS_A_ROUND))
        self.next = now + max(ROUND, self._heartbeat * self._rng() / rounds)
        first = self._rounds_spoken % rounds * HEARTBEATS_A_ROUND
        self._rounds_spoken += 1
        return [name for name in names[first : first + HEARTBEATS_A_ROUND] if self._send(sock, name)]

    def _send(self, sock: socket.socket, name: str) -> bool:
        try:
            iv = os.urandom(IV_SIZE) if self._key is not None else None
            sock.sendto(encode_heartbeat(name, self._key, iv), self._to)
        except LocalProtocolError:
            self._count("not_sent")  # a name that no other node could connect to
            return False
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            self._count("not_sent")
            return False
        self._count("sent")
        return True

    def _count(self, result: str) -> None:
        self._around.counts.count(metrics.GOSSIP_PACKETS, result)


class _Ears:
    """What we hear, of ourselves too: that shows that others can be heard.

    :param key: of the secret; None: in the clear.
    """

    def __init__(self, section: GossipSource, around: Surroundings, key: bytes | None) -> None:
        self.heard = Heard(section.expire)
        self._expire = section.expire
        self._patience = MISSING_BEATS * section.heartbeat
        self._around = around
        self._key = key
        self._marks = Marks()
        self._own: frozenset[str] = frozenset()
        self._spoken: set[str] = set()
        """Names that we sent and that are still heard."""
        self._was_in_company = False
        self._own_missing: float | None = None
        """Since when ours were sent, and none was heard."""
        self._flooded = -math.inf
        """When more came than was read."""

    def begin(self, now: float) -> None:
        """Whatever was not heard until now, we were not listening."""
        self.heard.was_deaf(now)
        self._own_missing = None

    def expect(self, own: Sequence[str], now: float) -> None:
        """These names of ours were sent, and shall be heard: at once, since the kernel itself returns them.

        :raises LookError: none of ours was for a while. The interface may have gone and come again, or the
            way to the group may lead elsewhere: a new socket may help.
        """
        self._own = frozenset(own)
        self._spoken = {name for name in self._spoken if name in self.heard} | self._own
        if not own:
            self._own_missing = None
        elif self._own_missing is None:
            self._own_missing = now
        else:
            self.heard.was_deaf(now)
            if now - self._own_missing >= self._patience:
                raise LookError("unreachable", "multicast: our own packets do not come back")

    def listen(self, sock: socket.socket, now: float) -> None:
        """Take in what came, as much as a round allows.

        :raises OSError: the network is gone.
        """
        for _ in range(PACKETS_A_ROUND):
            try:
                packet = sock.recv(MAX_PACKET + 1)
            except BlockingIOError:
                return
            self._around.counts.count(metrics.GOSSIP_PACKETS, self._take(packet, now))
        # Perhaps there is more, and some of it was lost: from now on nobody is missed for a while.
        if not self._is_flooded(now):
            self._around.log.warning("gossip comes faster than it is read", packets_a_second=PACKETS_A_SECOND)
        self._flooded = now
        self.begin(now)

    def doubt(self, now: float) -> Unknown | None:
        """Why somebody may be there who was not heard; None: nobody is.

        Where all others fall silent, and we hear ourselves, it is rather the network that has lost us:
        switches forget who listens to a group once nobody asks (IGMP snooping without a querier).
        """
        if self._is_flooded(now):
            return Unknown("too_many", f"multicast: more than {PACKETS_A_SECOND} packets a second")
        if any(name not in self._spoken for name in self.heard):
            self._was_in_company = True
        elif self._was_in_company and len(self.heard):
            return Unknown("unreachable", "multicast: nobody but this host is heard any more")
        return None

    def _is_flooded(self, now: float) -> bool:
        return now - self._flooded < self._expire

    def _take(self, packet: bytes, now: float) -> str:
        """Take in a packet that anybody may have sent.

        :returns: what became of it, for the counter.
        """
        try:
            name = decode_heartbeat(packet, self._key)
        except RemoteProtocolError as error:
            return error.reason
        if self._key is not None and not self._marks.is_new(packet[:IV_SIZE]):
            return "replayed"
        if name in self._own:
            self._own_missing = None
        return "taken" if self.heard.hear(name, now) else "no_room"


class _Told:
    """When to tell who is there: soon after that changed, and at least once in the time in which all speak.

    The first time, too, nothing is told before that: silence would tell nothing yet.

    :ivar next: when to tell again.
    """

    def __init__(self, ears: _Ears, interval: float, say: Say) -> None:
        self._ears = ears
        self._interval = interval
        self._say = say
        self._version = ears.heard.version
        self._last = trio.current_time()

    @property
    def next(self) -> float:
        is_new = self._ears.heard.version != self._version
        return self._last + (min(TELL_PAUSE, self._interval) if is_new else self._interval)

    def tell_if_due(self, now: float) -> None:
        """Tell, if it is time."""
        if now >= self.next:
            self._last = now
            self._version = self._ears.heard.version
            self._say(Known(tuple(map(Peer, self._ears.heard)), self._ears.doubt(now)))
