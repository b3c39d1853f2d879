"""Settings of a session's transport: TCP, TLS and WebSocket, at a hub's listener or a client's dialer.

Knows: every option of a transport, with its default.
Refuses to know: how they are written (config_transport), how a socket is told (stream_options, stream_tls).
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO, SYSTEM = "auto", "system"
"""Congestion control: bbr where the kernel lets us, else the kernel's own choice; always that choice."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS settings of a hub or a client. A hub without a certificate makes one. A client without `verify`,
    `ca_file` and `pin` does not check the hub's certificate, as in GOST."""

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    """CA certificates. A hub's: clients must show a certificate signed by one. A client's: to trust these
    instead of the system's."""
    min_version: str = "1.2"
    max_version: str = ""
    """"1.2" or "1.3"; empty for the newest version there is."""
    ciphers: tuple[str, ...] = ()
    """Cipher suites of TLS 1.2, by OpenSSL's names."""
    alpn: tuple[str, ...] = ()
    # a client's
    verify: bool = False
    server_name: str = ""
    pin: bytes = b""
    """SHA-256 of the only certificate to trust, 32 bytes; empty for no pin."""
    # a hub's
    common_name: str = ""
    organization: str = ""
    validity: float = 0.0
    """Seconds for which a certificate made by the hub is valid; 0 for ten years."""
    server_names: tuple[str, ...] = ()
    reject_unknown_sni: bool = False


NO_TLS = TlsSettings()


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """The transport of a session: TCP, TLS or WebSocket, with their options."""

    kind: str = "tcp"
    """tcp, tls, ws or wss."""
    tls: TlsSettings = NO_TLS
    path: str = "/ws"
    headers: tuple[tuple[str, str], ...] = ()
    host: str = ""
    """A WebSocket client's Host header; empty for the address dialled."""
    keepalive: float = 0.0
    """Seconds between a WebSocket client's pings; 0 for none."""
    reuse_port: bool = False
    mptcp: bool = False
    """Whether connections may have several paths, where the kernels of both ends know MPTCP (RFC 8684)."""
    congestion: str = AUTO
    """The congestion control of TCP: AUTO, SYSTEM, or an algorithm by the kernel's name for it."""
    tcp_keepalive: tuple[int, int, int] | None = None
    """TCP keepalive: (idle seconds, seconds between probes, number of probes). None for our default, by which
    a dead path is noticed within 15 s."""

    @property
    def encrypted(self) -> bool:
        """Whether it has TLS."""
        return self.kind in ("tls", "wss")

    @property
    def is_verified(self) -> bool:
        """Whether a client knows that the other side is its hub: by a pin, a CA, or the name (`secure`)."""
        return self.encrypted and bool(self.tls.pin or self.tls.ca_file or self.tls.verify)


TCP = TransportSettings()

STREAM, DATAGRAM = "stream", "datagram"
"""Values of `channel` beside AUTO: whether a session has datagrams beside its stream."""


def has_datagrams(channel: str, transport: TransportSettings) -> bool:
    """Whether sessions may have datagrams."""
    return not why_no_datagrams(channel, transport)


def why_no_datagrams(channel: str, transport: TransportSettings) -> str:
    """Why sessions have no datagrams, in a few words for `status`; empty where they may have some.

    Their keys go by the stream, so that should be encrypted. With `reuse_port` another process might get
    them.
    """
    if channel == DATAGRAM:
        return ""
    if channel == STREAM:
        return "channel: stream"
    if not transport.encrypted:
        return f"over {transport.kind}"
    return "reuseport" if transport.reuse_port else ""
