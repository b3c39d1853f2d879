"""Explanation of a failed handshake: what the peer seems to speak, what was expected, and what to write.

Knows: which handshakes each transport consists of, and the words for both roles, hub and client.
Refuses to know: how a protocol is recognised (wire_guess), sockets, who logs the words (hub, client_dial).
"""

from __future__ import annotations

from collections.abc import Iterable

from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.wire_guess import Spoken, guess

RELAY, TLS, WEBSOCKET = "relay", "TLS", "WebSocket"
"""The handshakes, as ProtocolError.layer has them."""
HANDSHAKES = {"tcp": (RELAY,), "tls": (TLS, RELAY), "ws": (WEBSOCKET, RELAY), "wss": (TLS, WEBSOCKET, RELAY)}
"""Transport -> its handshakes, the outermost first."""
SCHEMES = {"tcp": "router://", "tls": "router+tls://", "ws": "router+ws://", "wss": "router+wss://"}
"""Transport -> how a client's -F begins with it."""

_LAYER_OF = {Spoken.RELAY: RELAY, Spoken.TLS: TLS, Spoken.WEBSOCKET: WEBSOCKET}
_PROTOCOL_OF = {layer: protocol for protocol, layer in _LAYER_OF.items()}
_HINTS = {
    Spoken.HTTP: "a browser, a scanner or a health check",
    Spoken.PROXY: (
        "write proxyProtocol: 2 in the service and the load balancer's address in trustedProxies, "
        "or switch it off there"
    ),
}
"""What a hub says about protocols that no client of a tunnel speaks."""
_NOT_UPGRADED = "a browser, a scanner, or a proxy in between that does not pass on Upgrade and Connection"


def at_hub(kind: str, error: ProtocolError) -> tuple[Refusal, str]:
    """(refusal, why) of a handshake that failed at a hub whose listener has the transport `kind`.

    They are the error's own where the client spoke the right protocol, or where it is not known which.
    """
    spoken = guess(error.got)
    if not error.layer or spoken in (Spoken.UNKNOWN, _PROTOCOL_OF[error.layer]):
        return error.refusal, str(error)
    what = f"{spoken.value}{_inside(kind, error.layer)}"
    if spoken in _LAYER_OF:
        refusal = Refusal.TRANSPORT if error.refusal is Refusal.MALFORMED else error.refusal
        said = f"the client speaks {what} to a {kind} port"
        if kinds := _kinds(kind, error.layer, _LAYER_OF[spoken]):
            said += f": write {SCHEMES[kind]} in its -F, or give this listener the type {_either(kinds)}"
        return refusal, said
    if spoken is Spoken.HTTP and error.layer == WEBSOCKET:
        return error.refusal, f"{what} without an upgrade to WebSocket on a {kind} port: {_NOT_UPGRADED}"
    said = f"{what}{' without TLS' if error.layer == TLS else ''} on a {kind} port"
    return error.refusal, f"{said}: {_HINTS[spoken]}" if spoken in _HINTS else said


def at_client(kind: str, error: ProtocolError) -> str:
    """Why a handshake failed at a client whose node has the transport `kind`: what the hub seems to speak.

    It is the error's own text where the hub spoke the right protocol, or where it is not known which.
    """
    if not error.layer:
        return str(error)
    if not error.got:
        if error.refusal is not Refusal.CUT_OFF:
            return str(error)
        what = f"the {error.layer} handshake{_inside(kind, error.layer)}"
        return f"closed without a reply to {what}{_perhaps(kind, error.layer)}"
    spoken = guess(error.got)
    if spoken is Spoken.HTTP and error.layer == WEBSOCKET:
        # it is right to speak HTTP; Go and nginx say "HTTPS" in it where the port wants TLS
        wrong = kind == "ws" and b"HTTPS" in error.got
        return f"the hub is an HTTPS server: write {SCHEMES['wss']}" if wrong else str(error)
    if spoken in (Spoken.UNKNOWN, _PROTOCOL_OF[error.layer]):
        return str(error)
    expected = f"{_PROTOCOL_OF[error.layer].value}{_inside(kind, error.layer)}"
    if spoken is Spoken.HTTP:
        kinds = _kinds(kind, error.layer, WEBSOCKET)
        kinds += ("wss",) if kind == "tcp" else ()  # nginx replies so on a port with TLS too
    elif spoken in _LAYER_OF:
        kinds = _kinds(kind, error.layer, _LAYER_OF[spoken])
    else:
        return f"the far end speaks {spoken.value}, not {expected}: it is no hub"
    remedy = f": write {_either(SCHEMES[one] for one in kinds)}" if kinds else ""
    return f"the hub speaks {spoken.value}, not {expected}{remedy}"


def silent(kind: str, layer: str, peer: str) -> str:
    """What a client waits for that has sent its part of a handshake to `peer`, and what it may have to write.

    It is for a deadline that passes before the hub has sent a byte.
    """
    return f"no reply to the {layer} handshake{_inside(kind, layer)} from {peer}{_perhaps(kind, layer)}"


def _perhaps(kind: str, layer: str) -> str:
    """What to write where nothing has come in reply to a handshake: what begins otherwise."""
    passed = _passed(kind, layer)
    others = [
        scheme
        for other, scheme in SCHEMES.items()
        if HANDSHAKES[other][: len(passed)] == passed and HANDSHAKES[other][len(passed)] != layer
    ]
    return f": perhaps the hub wants {_either(others)}" if others else ""


def _passed(kind: str, layer: str) -> tuple[str, ...]:
    """The handshakes that succeeded before this one."""
    steps = HANDSHAKES[kind]
    return steps[: steps.index(layer)]


def _kinds(kind: str, layer: str, spoken: str) -> tuple[str, ...]:
    """The transports whose handshakes begin with those that succeeded and the one that the peer speaks."""
    seen = (*_passed(kind, layer), spoken)
    return tuple(other for other, steps in HANDSHAKES.items() if steps[: len(seen)] == seen)


def _inside(kind: str, layer: str) -> str:
    passed = _passed(kind, layer)
    return f" inside {passed[-1]}" if passed else ""


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
