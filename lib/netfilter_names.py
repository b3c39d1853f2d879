"""Names in nftables: those of our own tables, by their purpose and the TUN device, and devices in rules.

Knows: which letters a table's name may have, how a device's name is written in a rule (nft(8)).
Refuses to know: what is in a table, how it is loaded (netfilter_table).

    tunrouter_map_tun0            the table for the purpose `map` of the device tun0
    tunrouter_map_b.c3.bcro       that of the device büro: any other byte is its hexadecimal number
"""

from __future__ import annotations

import re
from typing import NamedTuple

_FIRST = "tunrouter"
_OURS = re.compile(rf"{_FIRST}_([a-z]+)_((?:[0-9A-Za-z_-]|\.[0-9a-f]{{2}})+)")
_PLAIN = re.compile(rb"[0-9A-Za-z_-]")
_CODED = re.compile(rb"\.([0-9a-f]{2})")


class Table(NamedTuple):
    """One of our tables; all are of the family inet, so IPv4 and IPv6 are in one."""

    purpose: str
    """Lower-case letters."""
    device: str
    """The name of the TUN device that it belongs to."""

    @property
    def name(self) -> str:
        """Its name in the kernel: 64 letters at most for a device and a short word."""
        coded = "".join(
            chr(byte) if _PLAIN.match(bytes([byte])) else f".{byte:02x}"
            for byte in self.device.encode("utf-8", "surrogateescape")
        )
        return f"{_FIRST}_{self.purpose}_{coded}"


def parse(name: str) -> Table | None:
    """The table of ours that has this name in the kernel; None for somebody else's."""
    found = _OURS.fullmatch(name)
    if found is None:
        return None
    device = _CODED.sub(lambda one: bytes([int(one[1], 16)]), found[2].encode())
    return Table(found[1], device.decode("utf-8", "surrogateescape")) if b"\0" not in device else None


def quoted(device: str) -> str:
    """A device's name for a rule: `iifname "tun0"`. Raises ValueError for one that no rule can have."""
    if '"' in device or "\\" in device:
        raise ValueError(f"nftables cannot have the name of the device {device}")
    if device.endswith("*"):  # it would stand for all names that begin so
        device = rf"{device[:-1]}\*"
    return f'"{device}"'
