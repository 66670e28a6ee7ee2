"""How a link can end: each ends in exactly one of these ways, which its log line and a counter name."""

from __future__ import annotations

from enum import StrEnum


class End(StrEnum):
    """The code of an end; :data:`MEANINGS` says what each means."""

    NEAR_CLOSED = "near_closed"
    FAR_CLOSED = "far_closed"
    NEAR_RESET = "near_reset"
    FAR_RESET = "far_reset"
    NEAR_LOST = "near_lost"
    FAR_LOST = "far_lost"
    TUNNEL_CUT = "tunnel_cut"
    REFUSED_BY_POLICY = "refused_by_policy"
    REFUSED_BY_LIMIT = "refused_by_limit"
    REFUSED_BY_GATEWAY = "refused_by_gateway"
    GATEWAY_BUSY = "gateway_busy"
    GATEWAY_DOWN = "gateway_down"
    WRONG_COOKIE = "wrong_cookie"
    WRONG_NODE = "wrong_node"
    TARGET_UNKNOWN = "target_unknown"
    DIAL_REFUSED = "dial_refused"
    DIAL_TIMED_OUT = "dial_timed_out"
    HANDSHAKE_TIMED_OUT = "handshake_timed_out"
    HANDSHAKE_MALFORMED = "handshake_malformed"
    FAR_NOK = "far_nok"
    FAR_NOT_ALLOWED = "far_not_allowed"
    FAR_ALIVE = "far_alive"
    SHED = "shed"
    DRAINED = "drained"
    ENDED = "ended"
    INTERNAL = "internal"


MEANINGS: dict[End, str] = {
    End.NEAR_CLOSED: "the near node closed the connection first",
    End.FAR_CLOSED: "the far node closed the connection first",
    End.NEAR_RESET: "the near node's host reset the connection",
    End.FAR_RESET: "the far node's host reset the connection",
    End.NEAR_LOST: "the near node's host stopped answering (keepalive or user time-out)",
    End.FAR_LOST: "the far node's host stopped answering (keepalive or user time-out)",
    End.TUNNEL_CUT: "the connection between relay and gateway broke: see the other end's log, same tunnel id",
    End.REFUSED_BY_POLICY: "a rule, or a route that cannot be kept to, refused the link",
    End.REFUSED_BY_LIMIT: "too many links, links from one address, or descriptors",
    End.REFUSED_BY_GATEWAY: "the gateway, or another proxy, does not allow the target or this relay",
    End.GATEWAY_BUSY: "every gateway of the hop is full or draining",
    End.GATEWAY_DOWN: "no gateway of the hop can be reached, or none proves who it is",
    End.WRONG_COOKIE: "one side's digest does not fit the other's cookie",
    End.WRONG_NODE: "the far node has another name than the route allows",
    End.TARGET_UNKNOWN: "no route for the target, its name does not resolve, or it is this process itself",
    End.DIAL_REFUSED: "nobody listens at the target, or no network leads there",
    End.DIAL_TIMED_OUT: "the target did not answer within the set-up time",
    End.HANDSHAKE_TIMED_OUT: "one side stopped speaking before the link was up",
    End.HANDSHAKE_MALFORMED: "one side sent what the handshake does not allow",
    End.FAR_NOK: "the far node refused: it is connecting to the near node itself (nok)",
    End.FAR_NOT_ALLOWED: "the far node refused: the near node is not allowed there (not_allowed)",
    End.FAR_ALIVE: "the far node still has an older link, which the near node did not give up (alive)",
    End.SHED: "the oldest unfinished handshake made room for newer ones",
    End.DRAINED: "the relay was told to stop",
    End.ENDED: "an operator ended the link",
    End.INTERNAL: "a fault of epmdless; please report it",
}
