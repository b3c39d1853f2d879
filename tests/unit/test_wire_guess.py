"""Which protocol the first bytes of a peer belong to."""

from __future__ import annotations

import pytest

from lib import wire_relay
from lib.wire_guess import Spoken, guess
from lib.wire_relay import Request, Response, Status

CLIENTS = [
    ("relay", wire_relay.encode_request(Request("host-1", "10.0.0.1")), Spoken.RELAY),
    ("TLS 1.3", bytes.fromhex("1603010200010001fc0303"), Spoken.TLS),
    ("SSL 3", bytes.fromhex("160300002f010000"), Spoken.TLS),
    ("a browser", b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", Spoken.HTTP),
    ("a health check", b"OPTIONS / HTTP/1.0\r\n\r\n", Spoken.HTTP),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken.HTTP),
    ("WebSocket", b"GET /ws HTTP/1.1\r\nHost: hub\r\nupgrade:  WebSocket\r\n\r\n", Spoken.WEBSOCKET),
    ("another upgrade", b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", Spoken.HTTP),
    ("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n", Spoken.SSH),
    ("PROXY 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n", Spoken.PROXY),
    ("PROXY 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Spoken.PROXY),
    ("SOCKS 5", b"\5\1\0", Spoken.SOCKS),
    ("SOCKS 4", b"\4\1\0\x50\x01\x02\x03\x04\0", Spoken.SOCKS),
    ("RDP", bytes.fromhex("0300002f2ae00000000000"), Spoken.RDP),
    ("SMB", b"\0\0\0\x54\xffSMB\x72", Spoken.SMB),
    ("mail", b"EHLO client.test\r\n", Spoken.MAIL),
    ("OpenVPN", bytes.fromhex("000e38a1b2c3d4e5f6a7b80000000000"), Spoken.OPENVPN),
    ("BitTorrent", b"\x13BitTorrent protocol" + bytes(8), Spoken.BITTORRENT),
]
SERVERS = [
    ("relay", wire_relay.encode_response(Response(Status.OK, bytes(20))), Spoken.RELAY),
    ("relay that refuses", wire_relay.encode_response(Response(Status.FORBIDDEN)), Spoken.RELAY),
    ("a TLS alert", b"\x15\3\1\0\2\2\x46", Spoken.TLS),
    ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", Spoken.HTTP),
    ("HTTP/2", b"\0\0\x12\4\0\0\0\0\0\0\3", Spoken.HTTP),
    ("SSH", b"SSH-2.0-dropbear\r\n", Spoken.SSH),
    ("mail", b"220 mail.test ESMTP\r\n", Spoken.MAIL),
    ("POP 3", b"+OK ready\r\n", Spoken.MAIL),
    ("SOCKS 5", b"\5\xff", Spoken.SOCKS),
    ("VNC", b"RFB 003.008\n", Spoken.VNC),
]
NOBODY = [
    ("nothing", b""),
    ("a byte of TLS", b"\x16"),
    ("another version of relay", b"\2\3\0\0"),
    ("a word", b"hello, is there anybody?"),
    ("a word like a method", b"GETTING ON"),
    ("zeroes", bytes(64)),
]


@pytest.mark.parametrize(("data", "spoken"), [case[1:] for case in CLIENTS + SERVERS])
def test_what_a_peer_speaks(data: bytes, spoken: Spoken) -> None:
    assert guess(data) is spoken


@pytest.mark.parametrize("data", [data for _, data in NOBODY], ids=[name for name, _ in NOBODY])
def test_what_nobody_knows(data: bytes) -> None:
    assert guess(data) is Spoken.UNKNOWN


def test_only_the_beginning_counts() -> None:
    """A header that comes late makes no WebSocket, and takes no time to look for."""
    late = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"Upgrade: websocket\r\n\r\n"
    assert guess(late) is Spoken.HTTP
