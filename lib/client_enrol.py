"""A host shows its invitation to a hub, over the same port and TLS as sessions have.

Knows: how the hub is dialled and verified, and what is said where it is not the right one.
Refuses to know: what is done with the answer (cli_join), which invitations are good (enrol_book).
"""

from __future__ import annotations

import errno
import math

from lib import session_handshake, wire_enrol
from lib.addresses import join_host_port
from lib.enrol_token import Token
from lib.errors import HostError, ProtocolError
from lib.humanize import span
from lib.local_time import date
from lib.session_mismatch import RELAY, at_client
from lib.settings import NodeSettings
from lib.settings_transport import TlsSettings, TransportSettings
from lib.stream_bounded import Bounds, failing_as
from lib.stream_deadline import within
from lib.stream_dial import PLAIN
from lib.stream_open import dial, handshake
from lib.wire_enrol import Answer, Ask, Reply
from lib.wire_relay import ENROL, Request, Response

SECONDS = 10.0
"""Seconds for the look-up, TCP, TLS and the answer together."""
CLOCK_SECONDS = 300.0
"""Difference of two clocks that is worth telling."""
MAX_PROXY = 1 << 16


class Refused(HostError):
    """The hub has answered, and the invitation will never be good."""


_AGAIN = frozenset({Answer.CLOCK, Answer.TOO_OFTEN, Answer.LATER})
"""Answers after which the same line may be good later."""
_NO_ENROLMENT = (
    "it knows no enrolment: it is a GOST or an older tunrouter, or something else answers there; "
    "update the hub, and make a new line with `tunrouter invite`"
)


def enrol(token: Token, password: bytes) -> Reply:
    """Show an invitation, with the SHA-256 (32 bytes) of the password that the host will log in with.

    Returns the answer WELCOME. Raises HostError, in words for people, for every other answer (Refused where
    that is final), and where the hub cannot be reached or is not the one that the line is for.
    """
    node = node_of(token)
    where = join_host_port(token.address, token.port)
    ask = Ask(token.store, token.invitation, token.secret, password)
    bounds = Bounds(math.inf, MAX_PROXY)
    late = OSError(errno.ETIMEDOUT, f"no answer within {SECONDS:g} s")
    try:
        with within(SECONDS, lambda: late), failing_as(OSError, OSError, ProtocolError):
            response = _asked(node, ask, bounds)
        return _read(response, token, where)
    except ProtocolError as error:
        why = at_client(node.transport.kind, error) if error.layer else str(error)
        raise HostError(f"hub {where}: {why}{_hint(str(error), token)}") from None
    except OSError as error:
        raise HostError(f"hub {where}: {error.strerror or error}") from None


def node_of(token: Token) -> NodeSettings:
    """The hub of an invitation as a node to dial, without a login."""
    tls = TlsSettings(pin=token.pin, verify=not token.pin)
    transport = TransportSettings(token.kind, tls)
    if token.path:
        transport = TransportSettings(token.kind, tls, token.path)
    return NodeSettings("hub", token.address, token.port, token.namespace, transport=transport)


def _asked(node: NodeSettings, ask: Ask, bounds: Bounds) -> Response:
    stream = dial(node, PLAIN, bounds)
    try:
        with handshake(RELAY, node, stream.peer, bounds):
            request = Request(command=ENROL, enrol=wire_enrol.encode_ask(ask))
            return session_handshake.ask(stream, request)[0]
    finally:
        stream.close()


def _read(response: Response, token: Token, where: str) -> Reply:
    """The answer in a response. Raises HostError for one that is no welcome, ProtocolError."""
    if not response.enrol:
        raise HostError(f"hub {where}: {_NO_ENROLMENT}")
    reply = wire_enrol.decode_reply(response.enrol)
    if reply.answer != Answer.WELCOME:
        kind = HostError if reply.answer in _AGAIN else Refused
        raise kind(f"hub {where}: {words(reply, token)}")
    return reply


def words(reply: Reply, token: Token) -> str:
    """What an answer means, and what to do, for the person who has typed the line."""
    ago = f"{span(reply.clock - reply.when)} ago" if reply.clock >= reply.when > 0 else "before"
    anew = f"ask for a new line: `tunrouter invite {token.host}` on the hub"
    found: dict[int, str] = {
        Answer.UNKNOWN: f"it does not know this invitation; {anew}",
        Answer.EXPIRED: f"the invitation has expired, {ago} by the hub's clock; {anew}",
        Answer.USED: (
            f"the invitation has been used already, {ago}: a line is good for one host, once. If that was "
            f"not this host, say so to who runs the hub: `tunrouter revoke {token.host}` ends it. Else {anew}"
        ),
        Answer.WITHDRAWN: f"the invitation was withdrawn {ago}, or a newer one was made; {anew}",
        Answer.OTHER_HUB: (
            f"the invitation is another hub's, or this hub's list of hosts was made anew; {anew}"
        ),
        Answer.CLOCK: (
            f"the hub's clock is wrong: it says {date(reply.clock)}, and the invitation was made at "
            f"{date(reply.when)}; set the hub's clock, and try the same line again"
        ),
        Answer.TOO_OFTEN: "too many wrong invitations came from this address; try again in a minute",
        Answer.NOT_HERE: "its service keeps no list of enrolled hosts any more (`enrol` in its metadata)",
        Answer.LATER: "it cannot write its list of hosts now (its log says why); try the same line again",
    }
    return found.get(reply.answer, f"it refuses, with the number {reply.answer}; update this tunrouter")


def clock_difference(reply: Reply, now: float) -> str:
    """How far this host's clock is off by the hub's, in words; empty where it is not."""
    if not reply.clock or abs(now - reply.clock) < CLOCK_SECONDS:
        return ""
    how = "behind" if now < reply.clock else "ahead of"
    return f"this host's clock is {span(abs(now - reply.clock))} {how} the hub's: set it"


def _hint(error: str, token: Token) -> str:
    """What to do about a failed handshake in TLS."""
    if "not the one pinned" in error:
        return (
            ": this is not the hub that the line is for, somebody is in between, or the hub has another "
            f"certificate since; make a new line there: `tunrouter invite {token.host}`"
        )
    if "issuer certificate" in error or "self-signed" in error:
        return f": nobody whom this host trusts has signed the certificate of {token.address}"
    if "not yet valid" in error or "has expired" in error:
        return ": look at this host's clock first (`date`); if that is right, the hub's certificate is not"
    return ""
