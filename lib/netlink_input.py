"""The verdict of the kernel on a packet that comes in from a device: whether it is dropped without a word.

Knows: the route look-up for an arriving packet (`ip route get … iif`), the settings for forwarding and the
reverse path filter below /proc/sys/net. Refuses to know: what the verdict means (client_transit), packets.
"""

from __future__ import annotations

from pathlib import Path

from lib import netlink_watch
from lib.client_transit import verdict
from lib.forward_drop_reasons import Reason
from lib.stream_netns import made_here

_SETTINGS = Path("/proc/sys/net")


def dropped(name: str, index: int, source: bytes, destination: bytes) -> Reason | None:
    """Why the kernel would drop a packet that comes in from the device `name` with the number `index`.

    Addresses are packed, both IPv4 or both IPv6. None where it would not, or where it cannot be asked.
    """
    try:
        code, is_local = netlink_watch.input_route(index, source, destination)
    except OSError:
        return None
    if len(source) == 16:
        forwards = _setting("ipv6/conf/all/forwarding") or _setting(f"ipv6/conf/{name}/force_forwarding")
        return verdict(6, code, is_local, bool(forwards), False)
    filters = _setting("ipv4/conf/all/rp_filter") or _setting(f"ipv4/conf/{name}/rp_filter")
    return verdict(4, code, is_local, bool(_setting(f"ipv4/conf/{name}/forwarding")), bool(filters))


def _setting(path: str) -> int:
    """A setting; 0 where there is none."""
    try:
        return int(made_here((_SETTINGS / path).read_text))
    except (OSError, ValueError):
        return 0
