"""Guess of the protocol that a peer speaks, from its first bytes.

Knows: how TLS, HTTP, WebSocket, GOST's relay and other well-known protocols begin, from a client or a server.
Refuses to know: what was expected of the peer, and what to do about it (session_mismatch).
"""

from __future__ import annotations

import re
from enum import Enum

GUESSED_BYTES = 1024
"""How many bytes are enough for a guess: a WebSocket's `Upgrade` header stands within them."""
FIRST_BYTES = 20
"""The same for all other protocols."""


class Spoken(Enum):
    """A protocol; its value is its name in messages."""

    UNKNOWN = "unknown"
    RELAY = "plain relay"
    TLS = "TLS"
    WEBSOCKET = "WebSocket"
    HTTP = "HTTP"
    PROXY = "a PROXY protocol header"
    SSH = "SSH"
    SOCKS = "SOCKS"
    RDP = "RDP"
    SMB = "SMB"
    MAIL = "SMTP, FTP or the like"
    VNC = "VNC"
    OPENVPN = "OpenVPN"
    BITTORRENT = "BitTorrent"


_BEGINNINGS: tuple[tuple[Spoken, bytes], ...] = (
    (Spoken.TLS, rb"[\x15\x16]\x03[\x00-\x04]"),  # RFC 8446, 5.1: alert or handshake, legacy version
    (Spoken.RELAY, rb"\x01[\x00-\x0f\x80-\x8f][\x00-\x40]"),  # wire_relay: version, command or status
    (Spoken.WEBSOCKET, rb"GET (?s:.*?)\r\n(?i:upgrade):[ \t]*(?i:websocket)"),  # RFC 6455, 4.1
    (Spoken.HTTP, rb"HTTP/[0-9]"),
    (Spoken.HTTP, rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|CONNECT|TRACE|PATCH|PROPFIND|PRI) "),
    (Spoken.HTTP, rb"\x00\x00.\x04\x00\x00\x00\x00\x00"),  # RFC 9113, 6.5: a server's SETTINGS
    (Spoken.PROXY, rb"PROXY |\r\n\r\n\x00\r\nQUIT\n"),  # HAProxy's proxy-protocol.txt, versions 1 and 2
    (Spoken.SSH, rb"SSH-"),  # RFC 4253, 4.2
    (Spoken.SOCKS, rb"\x05[\x00-\x05\xff]|\x04[\x01\x02]"),  # RFC 1928, 3; SOCKS 4
    (Spoken.RDP, rb"\x03\x00\x00..[\xe0\xd0]"),  # TPKT and X.224: connection request or confirm
    (Spoken.SMB, rb"\x00\x00..[\xfe\xff]SMB"),
    (Spoken.MAIL, rb"(?i:EHLO|HELO|QUIT)[ \r]|220[ -]|\+OK|\* OK"),
    (Spoken.VNC, rb"RFB [0-9]"),
    (Spoken.OPENVPN, rb"\x00[\x0e-\xff]\x38"),  # a length, and the first message of a client
    (Spoken.BITTORRENT, rb"\x13BitTorrent protocol"),
)
_COMPILED = tuple((protocol, re.compile(pattern, re.DOTALL)) for protocol, pattern in _BEGINNINGS)


def guess(data: bytes | bytearray) -> Spoken:
    """The protocol whose client or server begins with these bytes, of which up to GUESSED_BYTES count."""
    head = data[:GUESSED_BYTES]
    return next((protocol for protocol, pattern in _COMPILED if pattern.match(head)), Spoken.UNKNOWN)
