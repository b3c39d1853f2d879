"""The line that `tunrouter invite` prints and `tunrouter join` takes: where the hub is, its pin, a secret.

Knows: how the line is written and read, and what is wrong with one that was cut or mistyped.
Refuses to know: which invitations a hub knows (enrol_book), randomness and clocks, which come in.

    tunrouter1-BASE64URL, of

    VERSION=1 (1) | FLAGS (1) | store (8) | invitation (8) | secret (16) | expires (4) | port (2)
    | pin (32), with FLAG_PIN | namespace (16), with FLAG_NAMESPACE
    | LEN (1) | hub's name or address | LEN (1) | path, with FLAG_WSS | LEN (1) | name of the invited host
    | the first 4 bytes of the SHA-256 of all that

It has letters, digits, `-` and `_` only, so no shell wants it quoted.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from dataclasses import dataclass, field

from lib.addresses import dns_name
from lib.ids import NO_NAMESPACE, is_host_name
from lib.wire_enrol import ID_SIZE, SECRET_SIZE

PREFIX = "tunrouter1-"
MAX_LINE = 2048
"""Letters of a line; the longest real one has under 1,300."""
MAX_HOST = 255
"""Bytes of a host name."""

_VERSION = 1
_FLAG_WSS, _FLAG_PIN, _FLAG_NAMESPACE = 1, 2, 4
_HEAD = struct.Struct(f"!BB{ID_SIZE}s{ID_SIZE}s{SECRET_SIZE}sIH")
_CHECK = 4
_LETTERS = re.compile(r"[A-Za-z0-9_-]+")
_CUT = "it was cut off or mistyped: copy it again"


@dataclass(frozen=True, slots=True)
class Token:
    """An invitation as it is handed to the host that it is for."""

    address: str
    """The hub's host name or IP address."""
    port: int
    store: bytes
    """The list of hosts that the invitation is in, 8 bytes."""
    invitation: bytes
    """8 bytes."""
    secret: bytes = field(repr=False)
    """128 random bits."""
    expires: int
    """Seconds since 1970."""
    host: str
    """The name of the invited host."""
    namespace: bytes = NO_NAMESPACE
    kind: str = "tls"
    """tls or wss."""
    path: str = ""
    """Of a WebSocket; empty for the usual one."""
    pin: bytes = b""
    """SHA-256 of the hub's certificate, 32 bytes; empty where its name is checked instead."""


def encode(token: Token) -> str:
    """The line of a token. Raises ValueError where a part is too long."""
    flags = _FLAG_WSS * (token.kind == "wss") | _FLAG_PIN * bool(token.pin)
    flags |= _FLAG_NAMESPACE * (token.namespace != NO_NAMESPACE)
    data = _HEAD.pack(
        *(_VERSION, flags, token.store, token.invitation, token.secret, token.expires, token.port)
    )
    data += token.pin + (token.namespace if flags & _FLAG_NAMESPACE else b"")
    texts = (token.address, token.path, token.host) if flags & _FLAG_WSS else (token.address, token.host)
    data += b"".join(map(_short, texts))
    data += hashlib.sha256(data).digest()[:_CHECK]
    return PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(line: str) -> Token:
    """Read a line, with any blanks and line ends in and around it. Raises ValueError, in words for people."""
    line = "".join(line.split())
    if not line:
        raise ValueError("there is no line: give the one that `tunrouter invite` has printed on the hub")
    if not line.startswith(PREFIX):
        raise ValueError(f"not a line of `tunrouter invite`: those begin with {PREFIX}")
    text = line.removeprefix(PREFIX)
    if len(line) > MAX_LINE or not _LETTERS.fullmatch(text):
        raise ValueError(f"not a line of `tunrouter invite`, or {_CUT}")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ValueError(_CUT) from None
    data, check = data[:-_CHECK], data[-_CHECK:]
    if data[:1] and data[0] != _VERSION:
        raise ValueError(f"the line is of version {data[0]}, which this tunrouter does not know: update it")
    if len(data) < _HEAD.size or hashlib.sha256(data).digest()[:_CHECK] != check:
        raise ValueError(_CUT)
    return _read(data)


def _read(data: bytes) -> Token:
    """The token in data whose check was right."""
    _, flags, store, invitation, secret, expires, port = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    pin, namespace, path = b"", NO_NAMESPACE, ""
    if flags & _FLAG_PIN:
        pin, rest = _taken(rest, 32)
    if flags & _FLAG_NAMESPACE:
        namespace, rest = _taken(rest, 16)
    address, rest = _text(rest)
    if flags & _FLAG_WSS:
        path, rest = _text(rest)
    host, _ = _text(rest)
    dns_name(address)
    if not port or not is_invitable(host) or (path and not is_path(path)):
        raise ValueError("the line holds no proper invitation: make another one")
    kind = "wss" if flags & _FLAG_WSS else "tls"
    return Token(
        *(address, port, store, invitation, secret, expires, host),
        namespace=namespace,
        kind=kind,
        path=path,
        pin=pin,
    )


def is_invitable(host: str) -> bool:
    """Whether a host of this name can be enrolled.

    Blanks and `#` would make something else of a row of routes, and a name that begins with `.` or `*` stands
    for many names in a login.
    """
    if not host or len(host.encode("utf-8", "replace")) > MAX_HOST or not is_host_name(host):
        return False
    return not host.startswith((".", "*", "#")) and not any(
        letter.isspace() or letter == "#" for letter in host
    )


def is_path(path: str) -> bool:
    """Whether this can be the path of a WebSocket: visible ASCII that begins with a slash."""
    return path.startswith("/") and all(0x20 < ord(letter) < 0x7F for letter in path)


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > MAX_HOST:
        raise ValueError(f"longer than {MAX_HOST} bytes: {text[:20]!r}…")
    return bytes([len(raw)]) + raw


def _taken(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise ValueError(_CUT)
    return data[:size], data[size:]


def _text(data: bytes) -> tuple[str, bytes]:
    length, rest = _taken(data, 1)
    raw, rest = _taken(rest, length[0])
    try:
        return raw.decode(), rest
    except UnicodeDecodeError:
        raise ValueError(_CUT) from None
