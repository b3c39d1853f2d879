"""UUIDs of namespaces, allowed host names, and the tunnel id by which a hub shows that it is a tunrouter.

Knows: how a UUID is written and read, which characters a host name may have, the 20 bytes of a tunnel id.
Refuses to know: what a namespace routes, or who may use it.

A hub's response to a handshake has a tunnel id of 20 bytes. GOST fills the first 16 at random and leaves
the last four zero. GOST's clients ignore those four, so a tunrouter hub puts its mark there (PROTOCOL.md):

     0                               16    17    18    19
    +-------------------------------+-----+-----+-----+---------+
    |        random connector id    | 'T' | 'U' | 'N' | version |
    +-------------------------------+-----+-----+-----+---------+
"""

from __future__ import annotations

import re

NO_NAMESPACE = bytes(16)
"""The zero UUID, 16 bytes: the namespace of a client that names none."""

MAGIC = b"TUN"
VERSION = 1
"""Version of the control frames that this program understands (PROTOCOL.md)."""

_CLIENT = 15
"""Bytes of an instance that all sessions of a client have in common."""
_SILENT = 0x80
"""The bit of its last byte by which a hub tells others that it does not reach the client now."""

TUNNEL_ID_SIZE = 20
"""Bytes of GOST's tunnel id: a UUID and four more (go-gost/relay)."""

# C0, DEL, C1, and the surrogates that bytes outside UTF-8 decode to
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HEX32 = re.compile(r"[0-9a-fA-F]{32}")
_DASHED = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_uuid(text: str) -> bytes:
    """Read a UUID in the spellings GOST takes (google/uuid: dashed, bare, urn:uuid:, {…}).

    Returns its 16 bytes; raises ValueError for anything else.
    """
    bare = text
    if bare[:9].lower() == "urn:uuid:":
        bare = bare[9:]
    elif len(bare) == 38 and bare[0] == "{" and bare[-1] == "}":
        bare = bare[1:-1]
    if _DASHED.fullmatch(bare):
        bare = bare.replace("-", "")
    if not _HEX32.fullmatch(bare):
        raise ValueError(f"not a UUID: {text!r}")
    return bytes.fromhex(bare)


def format_uuid(value: bytes) -> str:
    """Write 16 bytes as a lower-case dashed UUID."""
    h = value.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def is_host_name(text: str) -> bool:
    """Whether a peer may have this host name: valid UTF-8 without control characters.

    A line feed in a name would forge a line of the log.
    """
    return _NOT_IN_NAMES.search(text) is None


def instance_of(client: bytes, number: int) -> bytes:
    """The instance of a client's session, 16 bytes: the client's own 15 bytes, and the session's number.

    A client that keeps sessions with several hubs numbers them from 1; the only session of a client has 0.
    """
    return client[:_CLIENT] + bytes([number])


def is_of_client(one: bytes, other: bytes) -> bool:
    """Whether two instances, as HELLO says them, are of sessions of one client; empty ones are of nobody."""
    return bool(one) and one[:_CLIENT] == other[:_CLIENT]


def is_same(one: bytes, other: bytes) -> bool:
    """Whether two instances are of one session, or of one in its place; empty ones are of none."""
    return is_of_client(one, other) and not (one[-1] ^ other[-1]) & ~_SILENT


def is_beside(one: bytes, other: bytes) -> bool:
    """Whether a client keeps two sessions with these instances at once: neither replaces the other."""
    return is_of_client(one, other) and not is_same(one, other)


def is_one_of_several(instance: bytes) -> bool:
    """Whether a session with this instance may be one of several that its client keeps."""
    return bool(instance) and bool(instance[-1] & ~_SILENT)


def silent(instance: bytes) -> bytes:
    """An instance as a hub tells it to others while nothing reaches the client by this session."""
    return instance[:_CLIENT] + bytes([instance[-1] | _SILENT])


def is_silent(instance: bytes) -> bool:
    """Whether the hub of a session has said so."""
    return bool(instance) and bool(instance[-1] & _SILENT)


def hub_tunnel_id(connector: bytes) -> bytes:
    """The tunnel id of a tunrouter hub's response, 20 bytes; `connector` is 16 random bytes."""
    return connector + MAGIC + bytes([VERSION])


def hub_version(tunnel_id: bytes) -> int:
    """The version of control frames that a hub showed in its response's tunnel id; 0 for a GOST hub."""
    return tunnel_id[19] if len(tunnel_id) >= 20 and tunnel_id[16:19] == MAGIC else 0
