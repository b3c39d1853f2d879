"""The address of a hub in an invitation: how a host will dial it, and by what it will know it.

Knows: what --address of `tunrouter invite` may be, and when the hub's name is checked instead of a pin.
Refuses to know: which addresses this machine has (ctl_enrol), how a host dials (client_enrol).
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.addresses import WILDCARDS, dns_name, host_port, join_host_port
from lib.enrol_token import is_path
from lib.settings import HubSettings

SCHEMES = ("tls", "wss")
_HTTPS = 443


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where a host dials a hub."""

    kind: str
    """tls or wss."""
    host: str
    port: int
    path: str
    """Of a WebSocket; else empty."""
    by_name: bool
    """Whether the certificate is checked against the name, as a proxy shows its own; else it is pinned."""

    def __str__(self) -> str:
        return join_host_port(self.host, self.port) + self.path


def hub_address(text: str, hub: HubSettings, guess: str) -> HubAddress:
    """The address that `--address` means for a hub; "" takes the one it listens on, or else the guess.

    `guess` is an address of this machine, empty for none. Raises ValueError, in words for people.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() not in SCHEMES:
        raise ValueError(f"--address: {scheme[:16]!r} is neither tls nor wss")
    kind = scheme.lower() if separator else _kind(hub)
    place, slash, path = (rest if separator else text).partition("/")
    path = slash + path
    if path and (kind != "wss" or not is_path(path)):
        raise ValueError(f"--address: {path[:64]!r} is no path here")
    if not place:
        place = guess if hub.host in WILDCARDS else hub.host
        place = f"[{place}]" if ":" in place else place
    if not place:
        raise ValueError("by which address do hosts reach this hub? say it: --address NAME:PORT")
    port = _HTTPS if separator else hub.port
    if ":" not in place.rpartition("]")[2]:
        place = f"{place}:{port}"
    try:
        host, port = host_port(place)
        dns_name(host)
    except ValueError as wrong:
        raise ValueError(f"--address: {wrong}") from None
    if not host or not port:
        raise ValueError(f"--address: {place[:64]!r} names no host, or no port")
    path = path or hub.transport.path if kind == "wss" else ""
    return HubAddress(kind, host, port, path, bool(separator) or _has_proxy(hub))


def _kind(hub: HubSettings) -> str:
    """The transport by which hosts come, where --address does not say it. Raises ValueError."""
    kind = hub.transport.kind
    if hub.transport.encrypted:
        return kind
    if kind == "ws" and len(hub.trusted_proxies):
        return "wss"
    hint = "give its listener the type tls or wss, or name the proxy with TLS before it: --address wss://NAME"
    raise ValueError(f"service {hub.name} has no TLS, so a host could not tell it from another one; {hint}")


def _has_proxy(hub: HubSettings) -> bool:
    return bool(len(hub.trusted_proxies)) or not hub.transport.encrypted
