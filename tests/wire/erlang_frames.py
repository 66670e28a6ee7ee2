"""What the tests of frames after the handshake share: payloads that real nodes sent, and what they mean.

A hidden node `epmdless@127.0.0.1` called functions in `vector@127.0.0.1` and was written to by it, with
FLAGS; `exit_in_control` and `rex_sender` are of a link with SEND_SENDER and without EXIT_PAYLOAD.
"""

import json
from collections.abc import Mapping
from typing import Final

from epmdless.wire.calls import Outcome, Raised, Returned
from epmdless.wire.distribution import Event, Ignored, MonitorExit, Sent, SpawnReply
from epmdless.wire.terms import Atom, Opaque, Pid, Reference
from tests.wire.examples import VECTORS

OWN: Final = Atom("epmdless@127.0.0.1")
CREATION: Final = 77
PID: Final = Pid(OWN, 1, 0, CREATION)

FRAMES: Final[Mapping[str, Mapping[str, str]]] = json.loads((VECTORS / "frames.json").read_text())
"""By release and title: a payload in hexadecimal."""

RELEASES: Final = sorted(FRAMES)


def reference(number: int) -> Reference:
    """A reference of ours."""
    return Reference(OWN, (number, 0, 9), CREATION)


def payload(otp: str, title: str) -> bytes:
    """What a node of that release sent."""
    return bytes.fromhex(FRAMES[otp][title])


OUTCOMES: Final[Mapping[str, Outcome]] = {
    "returned": Returned([OWN]),
    "connect_node": Returned(Atom("false")),
    "error": Raised("error", "boom"),
    "exit": Raised("exit", '{1,<<"x">>}'),
    "throw": Raised("throw", "[1,2.5]"),
    "undef": Raised("error", "undef"),
    "arity": Raised("error", "undef"),
    "fun": Returned(Opaque("export")),
    "killed": Raised("down", "killed"),
    "badopt": Raised("spawn", "badopt"),
    "exit_in_control": Raised("down", "{reason,1}"),
}
"""What becomes of the calls by erpc whose last payload has that title."""

REX_OUTCOMES: Final[Mapping[str, Outcome]] = {
    "rex_returned": Returned([OWN]),
    "rex_error": Raised("error", "{'EXIT',{boom,[{erlang,error,[boom],[]}]}}"),
    "rex_sender": Returned([OWN]),
}
"""The same of the calls by rex."""

EVENTS: Final[Mapping[str, Event]] = {
    "badopt": SpawnReply(reference(11), 0, Atom("badopt")),
    "killed": MonitorExit(reference(10), Atom("killed")),
    "returned": MonitorExit(reference(1), (reference(1), Atom("return"), [OWN])),
    "fun": MonitorExit(reference(8), (reference(8), Atom("return"), Opaque("export"))),
    "throw": MonitorExit(reference(5), (reference(5), Atom("throw"), [1, 2.5])),
    "exit_in_control": MonitorExit(reference(1), (Atom("reason"), 1)),
    "rex_returned": Sent(PID, (Atom("rex"), [OWN])),
    "rex_sender": Sent(PID, (Atom("rex"), [OWN])),
    "reg_send": Sent(Atom("foo"), Atom("hello")),
    "monitor": Ignored(19),
    "demonitor": Ignored(20),
    "link": Ignored(1),
}
"""What payloads say."""
