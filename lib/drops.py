"""Why a packet was not delivered, and why a peer was not let in: the one list of reasons.

Knows: a name and an explanation for every drop and every refusal anywhere in the program.
Refuses to know: who counts them (stats) and who decides (forward, offload, queueing, admission).
"""

from __future__ import annotations

from enum import Enum
from typing import Self


class _Documented(Enum):
    """Members have a value, the stable name shown to users, and a doc that explains it."""

    doc: str

    def __new__(cls, name: str, doc: str) -> Self:
        member = object.__new__(cls)
        member._value_ = name
        member.doc = doc
        return member


class Refusal(_Documented):
    """Why a connection did not become a session."""

    MALFORMED = "malformed", "not a relay handshake, or one that does not parse"
    LATE = "late", "no handshake within the deadline"
    TRANSPORT = "transport", "the TLS or WebSocket handshake failed"
    CONNECTIONS = "connections", "more connections than the climiter allows"
    RATE = "rate", "more handshakes a second than the rlimiter allows"
    CUT_OFF = "cut-off", "closed before the handshake was complete"
    BAD_REQUEST = "bad-request", "a command that a router does not know, or no proper host name"
    INGRESS = "ingress", "the ingress does not let this host into this namespace"
    UNAUTHORIZED = "unauthorized", "the login is not known here, or was not given"
    NAME = "name", "the login or certificate is not for this host name or namespace, or the name is taken"
    UNAVAILABLE = "unavailable", "who decides (ingress or auther) cannot be asked at the moment"


class Reason(_Documented):
    """Why a packet was dropped."""

    # what a peer sent
    EMPTY_FRAME = "empty-frame", "a frame of length 0 (it would end a GOST peer)"
    NOT_IP = "not-ip", "the frame holds neither an IP packet nor anything of ours"
    TRUNCATED = "truncated", "the packet is shorter than its own header"
    LENGTH_LIES = "length-lies", "the packet's total length differs from the frame's"
    BAD_OFFLOAD = "bad-offload", "a virtio-net header that does not fit its packet"
    BAD_CONTROL = "bad-control", "a control frame that does not parse"
    CUT_OFF = "cut-off", "the peer closed in the middle of a frame"

    # where it should go
    WRONG_SOURCE = "wrong-source", "the source address does not route back to the sending host"
    NO_ROUTE = "no-route", "no table has a route for the destination"
    NO_SESSION = "no-session", "the gateway of the route has no live session"
    DENIED = "denied", "the router's access list does not allow it"
    MULTICAST = "multicast", "multicast or broadcast: a routing tunnel carries unicast only"
    LINK_LOCAL = "link-local", "link-local, loopback or unspecified address: never routed"
    TOO_BIG = "too-big", "larger than the far side takes"
    ROUTER_FAILED = "router-failed", "the router plugin gave no answer"
    RESOLVE_QUEUE = "resolve-queue", "too many packets wait for the router plugin"

    # where it was held
    QUEUE_FULL = "queue-full", "the receiver does not keep up: its queue is full"
    QUEUE_MEMORY = "queue-memory", "all queues together hold as much as they may"
    QUEUE_TIME = "queue-time", "the packet waited too long in the receiver's queue"
    SESSION_GONE = "session-gone", "the session ended with the packet in its queue"
    DEVICE_REFUSED = "device-refused", "the TUN device did not take the packet"
