"""UNREACHED between tunrouters: the addresses that a hub has no way to now (PROTOCOL.md).

Knows: the layout of its fields.
Refuses to know: the frame around them (wire_control), who is told and when (cluster_unreached).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from lib import wire_fields
from lib.errors import ProtocolError

MAX_UNREACHED = 64
"""Addresses in an UNREACHED; more are not read."""
COUNTS_SECONDS = 30.0
"""How long it counts."""


class Field(IntEnum):
    """Fields of UNREACHED."""

    IPV4 = 1
    IPV6 = 2


SIZES = {Field.IPV4: 4, Field.IPV6: 16}
"""Bytes of an address in each field."""


@dataclass(frozen=True, slots=True)
class Unreached:
    """All addresses that the receiver has sent to and that the hub has no way to now."""

    addresses: tuple[bytes, ...] = ()
    """Packed, 4 or 16 bytes each; at most MAX_UNREACHED."""


def encode(unreached: Unreached) -> bytes:
    """The fields of an UNREACHED."""
    found = unreached.addresses[:MAX_UNREACHED]
    body = [(kind, b"".join(one for one in found if len(one) == size)) for kind, size in SIZES.items()]
    return wire_fields.encode((kind, data) for kind, data in body if data)


def decode(found: dict[int, bytes]) -> Unreached:
    """The UNREACHED with these fields. Raises ProtocolError where an address is cut off."""
    addresses: list[bytes] = []
    for kind, size in SIZES.items():
        data = found.get(kind, b"")
        if len(data) % size:
            raise ProtocolError("UNREACHED with a part of an address")
        addresses += (data[at : at + size] for at in range(0, min(len(data), MAX_UNREACHED * size), size))
    return Unreached(tuple(addresses[:MAX_UNREACHED]))
