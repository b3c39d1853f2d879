"""What a failed handshake is told as, on both sides, for every transport."""

from __future__ import annotations

import pytest

from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.session_mismatch import HANDSHAKES, RELAY, SCHEMES, TLS, WEBSOCKET, at_client, at_hub, silent

HELLO = bytes.fromhex("1603010200010001fc0303")
UPGRADE = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
REQUEST = b"\1\3\0\x10"
ALERT, REFUSED, HTTP, SSH = (
    b"\x15\3\1\0\2\2\x46",
    b"\1\1\0\0",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"SSH-2.0-x\r\n",
)
HTTPS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
OWN = "what the layer said itself"


def failed(layer: str, got: bytes, refusal: Refusal = Refusal.MALFORMED) -> ProtocolError:
    error = ProtocolError(OWN, refusal)
    error.failed_in(layer, got)
    return error


AT_HUB = [
    ("tcp", RELAY, HELLO, "the client speaks TLS to a tcp port: write router:// in its -F, or give this listener the type tls or wss"),
    ("tcp", RELAY, UPGRADE, "the client speaks WebSocket to a tcp port: write router:// in its -F, or give this listener the type ws"),
    ("tls", TLS, REQUEST, "the client speaks plain relay to a tls port: write router+tls:// in its -F, or give this listener the type tcp"),
    ("tls", RELAY, UPGRADE, "the client speaks WebSocket inside TLS to a tls port: write router+tls:// in its -F, or give this listener the type wss"),
    ("tls", RELAY, HELLO, "the client speaks TLS inside TLS to a tls port"),
    ("ws", WEBSOCKET, REQUEST, "the client speaks plain relay to a ws port: write router+ws:// in its -F, or give this listener the type tcp"),
    ("wss", WEBSOCKET, REQUEST, "the client speaks plain relay inside TLS to a wss port: write router+wss:// in its -F, or give this listener the type tls"),
    ("wss", TLS, UPGRADE, "the client speaks WebSocket to a wss port: write router+wss:// in its -F, or give this listener the type ws"),
    ("wss", RELAY, HELLO, "the client speaks TLS inside WebSocket to a wss port"),
    ("tls", TLS, SSH, "SSH without TLS on a tls port"),
    ("wss", WEBSOCKET, b"GET / HTTP/1.1\r\n\r\n", "HTTP inside TLS without an upgrade to WebSocket on a wss port: a browser, a scanner, or a proxy in between that does not pass on Upgrade and Connection"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "layer", "got", "why"), AT_HUB)
def test_at_a_hub(kind: str, layer: str, got: bytes, why: str) -> None:
    assert at_hub(kind, failed(layer, got))[1] == why


@pytest.mark.parametrize(
    ("layer", "got"), [(TLS, HELLO), (RELAY, REQUEST), (WEBSOCKET, UPGRADE), (RELAY, b"junk"), (RELAY, b"")]
)
def test_the_right_protocol_or_an_unknown_one_is_told_as_the_layer_does(layer: str, got: bytes) -> None:
    kind = "wss"
    assert at_hub(kind, failed(layer, got, Refusal.LATE)) == (Refusal.LATE, OWN)
    assert got == b"" or layer == WEBSOCKET or at_client(kind, failed(layer, got, Refusal.LATE)) == OWN


def test_what_came_too_late_is_still_counted_as_late() -> None:
    assert at_hub("tcp", failed(RELAY, HELLO, Refusal.LATE))[0] is Refusal.LATE
    assert at_hub("tcp", failed(RELAY, HELLO))[0] is Refusal.TRANSPORT
    assert at_hub("tcp", failed(RELAY, SSH))[0] is Refusal.MALFORMED


AT_CLIENT = [
    ("tls", TLS, REFUSED, "the hub speaks plain relay, not TLS: write router://"),
    ("wss", TLS, HTTP, "the hub speaks HTTP, not TLS: write router+ws://"),
    ("tls", RELAY, HTTP, "the hub speaks HTTP, not plain relay inside TLS: write router+wss://"),
    ("tcp", RELAY, ALERT, "the hub speaks TLS, not plain relay: write router+tls:// or router+wss://"),
    ("tcp", RELAY, HTTP, "the hub speaks HTTP, not plain relay: write router+ws:// or router+wss://"),
    ("ws", WEBSOCKET, ALERT, "the hub speaks TLS, not WebSocket: write router+tls:// or router+wss://"),
    ("ws", WEBSOCKET, REFUSED, "the hub speaks plain relay, not WebSocket: write router://"),
    ("wss", WEBSOCKET, REFUSED, "the hub speaks plain relay, not WebSocket inside TLS: write router+tls://"),
    ("ws", WEBSOCKET, HTTPS, "the hub is an HTTPS server: write router+wss://"),
    ("ws", WEBSOCKET, HTTP, OWN),
    ("tcp", RELAY, SSH, "the far end speaks SSH, not plain relay: it is no hub"),
    ("tls", TLS, SSH, "the far end speaks SSH, not TLS: it is no hub"),
    ("tls", TLS, HELLO, OWN),
]


@pytest.mark.parametrize(("kind", "layer", "got", "why"), AT_CLIENT)
def test_at_a_client(kind: str, layer: str, got: bytes, why: str) -> None:
    assert at_client(kind, failed(layer, got, Refusal.TRANSPORT)) == why


SILENCE = [
    ("tcp", RELAY, " to the relay handshake", "router+tls://, router+ws:// or router+wss://"),
    ("tls", TLS, " to the TLS handshake", "router:// or router+ws://"),
    ("tls", RELAY, " to the relay handshake inside TLS", "router+wss://"),
    ("ws", WEBSOCKET, " to the WebSocket handshake", "router://, router+tls:// or router+wss://"),
    ("wss", WEBSOCKET, " to the WebSocket handshake inside TLS", "router+tls://"),
]


@pytest.mark.parametrize(("kind", "layer", "where", "schemes"), SILENCE)
def test_a_hub_that_does_not_reply(kind: str, layer: str, where: str, schemes: str) -> None:
    closed = at_client(kind, failed(layer, b"", Refusal.CUT_OFF))
    assert closed == f"closed without a reply{where}: perhaps the hub wants {schemes}"
    assert silent(kind, layer, "192.0.2.1:8443") == (
        f"no reply{where} from 192.0.2.1:8443: perhaps the hub wants {schemes}"
    )


def test_no_transport_is_recommended_in_its_own_place() -> None:
    for kind, layers in HANDSHAKES.items():
        for layer in layers:
            for got in (b"", HELLO, REFUSED, HTTP):
                said = at_client(kind, failed(layer, got, Refusal.CUT_OFF))
                assert f" {SCHEMES[kind]}" not in said
