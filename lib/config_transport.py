"""Type, `tls` section and metadata of a listener or dialer, checked and turned into TransportSettings.

Knows: the types, GOST's names for TLS versions and ciphers, which certificates are valid.
Refuses to know: what is carried (config_hub, config_client), and how (stream_open).
"""

from __future__ import annotations

import re

from lib import config_metadata
from lib.addresses import address, dns_name, host_port, join_host_port
from lib.config_findings import Findings
from lib.config_gost_keys import DIALERS, LISTENERS, MULTIPLEXED, TRANSPORTS
from lib.config_instead import instead_of_transport
from lib.config_schema import Dialer, Listener
from lib.config_schema_tls import Tls, TlsOptions
from lib.config_yaml import Mapping, Scalar
from lib.did_you_mean import did_you_mean
from lib.go_values import SECONDS
from lib.settings_transport import AUTO, NO_TLS, TlsSettings, TransportSettings

ENCRYPTED = frozenset({"tls", "wss"})
VERSIONS = {"versiontls12": "1.2", "versiontls13": "1.3"}
_OLD_VERSIONS = frozenset({"versiontls10", "versiontls11"})
_CIPHERS = {
    f"TLS_ECDHE_{key}_WITH_{name}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for name, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("CHACHA20_POLY1305", "CHACHA20-POLY1305"),
    )
}
"""Go's name of a TLS 1.2 cipher that is still secure -> OpenSSL's name."""
_ALGORITHM = re.compile(r"[a-z0-9_.-]{1,15}")  # TCP_CA_NAME_MAX, net/tcp.h
_PIN = re.compile(r"sha256:((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)
_OF_WEBSOCKET = {
    "listener": ("path", "ws.path", "header", "ws.header"),
    "dialer": (
        *("path", "ws.path", "header", "ws.header", "host", "ws.host"),
        *("keepalive", "ttl", "ws.keepalive"),
    ),
}
"""Listener or dialer -> the metadata keys that only ws and wss have a use for."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?|")


def listener_transport(listener: Listener, default: Tls | None, found: Findings) -> TransportSettings:
    """The transport of a hub's listener; `default` is the configuration's top-level `tls`."""
    kind = _kind(listener, "listener", LISTENERS, found)
    _check_use(listener, "listener", kind, found)
    tls = NO_TLS
    if kind in ENCRYPTED:
        given = listener.tls or Tls(at=listener.at)
        if default and not (given.cert_file or given.key_file):
            given = default
        tls = _tls(given, server=True, found=found)
    elif listener.tls:
        found.warn(
            listener.where("tls"), f"tls means nothing to a listener of type {kind}: nothing is encrypted"
        )
    return TransportSettings(
        kind=kind,
        tls=tls,
        path=_path(listener, kind, found),
        headers=_headers(listener, kind, found),
        reuse_port=config_metadata.switch(listener, "reuseport", False, found),
        mptcp=config_metadata.switch(listener, "mptcp", False, found),
        congestion=config_metadata.scalar(listener, ("congestion",), parse_congestion, AUTO, found),
        tcp_keepalive=_tcp_keepalive(listener, kind, found),
    )


def server_tls(given: Tls, default: Tls | None, found: Findings) -> TlsSettings:
    """TLS of a server that is no listener (the web API); `default` is as in listener_transport."""
    return _tls(default if default and not (given.cert_file or given.key_file) else given, True, found)


def client_tls(given: Tls, found: Findings) -> TlsSettings:
    """TLS of a client that is no dialer (a Redis)."""
    return _tls(given, False, found)


def dialer_transport(dialer: Dialer, found: Findings) -> TransportSettings:
    """The transport of a client's dialer."""
    kind = _kind(dialer, "dialer", DIALERS, found)
    _check_use(dialer, "dialer", kind, found)
    tls, given = NO_TLS, dialer.tls
    if kind in ENCRYPTED:
        given = given or Tls(at=dialer.at)
        tls = _tls(given, server=False, found=found, pin=_pin(dialer, found))
        if not (tls.verify or tls.ca_file or tls.pin):
            found.warn(
                given.where(),
                "the hub's certificate is not checked: anybody on the way can be the hub",
                "write secure=true, or pin=sha256:… as the hub prints it",
            )
    elif given and (given.secure or given.ca_file or given.cert_file or given.key_file):
        # the command line always gives a section, with no more than a server name
        found.warn(given.where(), f"tls means nothing to a dialer of type {kind}: nothing is encrypted")
    headers = _headers(dialer, kind, found)
    return TransportSettings(
        kind=kind,
        tls=tls,
        path=_path(dialer, kind, found),
        headers=tuple(header for header in headers if header[0].lower() != "host"),
        host=_host(dialer, kind, headers, found),
        keepalive=_pings(dialer, kind, found),
        tcp_keepalive=_tcp_keepalive(dialer, kind, found),
        mptcp=config_metadata.switch(dialer, "mptcp", False, found),
        congestion=config_metadata.scalar(dialer, ("congestion",), parse_congestion, AUTO, found),
    )


def _kind(section: Listener | Dialer, what: str, known: frozenset[str], found: Findings) -> str:
    """The transport that a type names; another type is a problem, and "tcp"."""
    kind, where = section.type.lower(), section.where("type")
    if kind in TRANSPORTS:
        return kind
    if kind in MULTIPLEXED:
        hint = f"write {MULTIPLEXED[kind]}, which is what a routing tunnel wants"
        found.error(where, f"{kind} is GOST's {MULTIPLEXED[kind]} with multiplexing inside", hint)
    elif kind == "tun" and what == "listener":
        found.error(where, "handler router does not work over listener tun", "write tcp")
    elif kind in known:
        found.error(where, f"a {what} of type {kind} carries no session here", instead_of_transport(kind))
    elif kind:
        found.error(where, f"unknown {what} type {kind[:64]!r}", did_you_mean(kind, known))
    elif where.line:
        found.error(where, f"a {what} without a type", "write type: tcp")
    return "tcp"


def _check_use(section: Listener | Dialer, what: str, kind: str, found: Findings) -> None:
    """Tell of metadata that a type has no use for: `pin` is an error, for it would check nothing."""
    if section.type.lower() != kind:
        return  # the type is wrong, and told of
    pin = config_metadata.find(section, "pin") if what == "dialer" and kind not in ENCRYPTED else None
    if pin is not None:
        text = f"'pin' checks nothing: a dialer of type {kind} has no TLS"
        found.error(pin.where, text, "write tls, or wss")
    for key in () if kind in ("ws", "wss") else _OF_WEBSOCKET[what]:
        tree = config_metadata.find(section, key)
        if tree is not None:
            text = f"{key!r} has no effect: a {what} of type {kind} speaks no WebSocket"
            found.warn(tree.where, text, "write ws, or wss")


def parse_congestion(text: str) -> str:
    """AUTO, SYSTEM, or the kernel's name of an algorithm. Raises ValueError.

    Which ones there are is known to the kernel alone (config_check_socket): a module or a BPF program may
    bring any name.
    """
    name = text.lower()
    if not _ALGORITHM.fullmatch(name):
        raise ValueError(f"{text[:64]!r} is no congestion control: write auto, system, bbr or cubic")
    return name


# --- TLS ----------------------------------------------------------------------------------------


def _tls(section: Tls, server: bool, found: Findings, pin: bytes = b"") -> TlsSettings:
    options = section.options or TlsOptions(at=section.at)
    if section.key_file and not section.cert_file:
        found.error(section.where("key_file"), "a key without its certificate", "write certFile")
    if section.validity < 0:
        found.error(section.where("validity"), "'validity': a duration below zero")
    lowest = _version(options, "min_version", found) or "1.2"
    highest = _version(options, "max_version", found)
    if highest and highest < lowest:
        if options.min_version:
            found.error(options.where("max_version"), "'maxVersion' is below 'minVersion'")
        lowest = highest
    if server and (section.secure or section.server_name):
        found.warn(section.where(), "'secure' and 'serverName' mean nothing to a listener's tls")
    return TlsSettings(
        cert_file=section.cert_file,
        key_file=section.key_file,
        ca_file=section.ca_file,
        min_version=lowest,
        max_version=highest,
        ciphers=_ciphers(options, lowest, found),
        alpn=tuple(options.alpn),
        verify=section.secure and not server,
        server_name="" if server else checked_name(section, found),
        pin=pin,
        common_name=section.common_name,
        organization=section.organization,
        validity=section.validity / SECONDS,
        server_names=tuple(section.server_names),
        reject_unknown_sni=section.reject_unknown_sni,
    )


def checked_name(section: Tls, found: Findings) -> str:
    """The `serverName` of a client's tls section, by which it asks for a certificate; "" for none."""
    name = section.server_name
    try:
        if name:
            dns_name(name)
    except ValueError as wrong:
        found.error(section.where("server_name"), f"'serverName': {wrong}")
        return ""
    return name


def _version(options: TlsOptions, name: str, found: Findings) -> str:
    text: str = getattr(options, name)
    word = text.lower()
    if word in _OLD_VERSIONS:
        found.error(options.where(name), f"{text}: TLS before 1.2 is not spoken here", "write VersionTLS12")
    elif word and word not in VERSIONS:
        hint = did_you_mean(text, ("VersionTLS12", "VersionTLS13")) or "VersionTLS12 or VersionTLS13"
        found.error(options.where(name), f"unknown TLS version {text[:64]!r}", hint)
    return VERSIONS.get(word, "")


def _ciphers(options: TlsOptions, lowest: str, found: Findings) -> tuple[str, ...]:
    chosen: list[str] = []
    for name in options.cipher_suites:
        if name.upper() in _CIPHERS:
            chosen.append(_CIPHERS[name.upper()])
        else:
            found.error(
                options.where("cipher_suites"),
                f"no cipher that can be chosen: {name[:64]!r}",
                did_you_mean(name, _CIPHERS) or "those of TLS 1.3 are always there",
            )
    if chosen and lowest == "1.3":
        found.warn(
            options.where("cipher_suites"),
            "'cipherSuites' are for TLS 1.2, which is not spoken here because of minVersion",
        )
    return tuple(dict.fromkeys(chosen))


def _pin(dialer: Dialer, found: Findings) -> bytes:
    config_metadata.refuse_empty(dialer, "pin", found)
    return config_metadata.scalar(dialer, ("pin",), parse_pin, b"", found)


def parse_pin(text: str) -> bytes:
    """The 32 bytes of `sha256:HEX`, whose digits may have colons between them. Raises ValueError."""
    matched = _PIN.fullmatch(text.strip())
    if matched is None:
        raise ValueError("not sha256: and 64 hex digits, as the hub prints it")
    return bytes.fromhex(matched[1].replace(":", ""))


# --- WebSocket ----------------------------------------------------------------------------------


def _path(section: Listener | Dialer, kind: str, found: Findings) -> str:
    path = config_metadata.text(section, "ws.path", "path", found=found) if kind in ("ws", "wss") else ""
    if any(not "!" <= letter <= "~" or letter in "#?" for letter in path):
        found.error(section.where("metadata.path"), f"'path': {path[:64]!r} is no path of a URL")
        return "/ws"
    return path if path.startswith("/") else f"/{path}" if path else "/ws"


def _host(dialer: Dialer, kind: str, headers: tuple[tuple[str, str], ...], found: Findings) -> str:
    """What a WebSocket client sends as Host; "" for the address that it dials. A header Host is the same."""
    if kind not in ("ws", "wss"):
        return ""
    host = config_metadata.scalar(dialer, ("ws.host", "host"), _host_header, "", found)
    for name, value in headers:
        if name.lower() == "host" and not host:
            try:
                return _host_header(value)
            except ValueError as wrong:
                found.error(dialer.where("metadata.header"), f"header 'Host': {wrong}")
    return host


def _host_header(text: str) -> str:
    """A Host header, with or without port, in ASCII. Raises ValueError."""
    if text.startswith("[") and text.endswith("]"):
        return f"[{address(text[1:-1])}]"
    if ":" not in text:
        return dns_name(text)
    host, port = host_port(text)
    return join_host_port(dns_name(host), port)


def _headers(section: Listener | Dialer, kind: str, found: Findings) -> tuple[tuple[str, str], ...]:
    tree = config_metadata.find(section, "ws.header", "header") if kind in ("ws", "wss") else None
    if tree is None:
        return ()
    if not isinstance(tree, Mapping):
        found.error(tree.where, "'header' wants names and values: header: {X-Key: value}")
        return ()
    headers: list[tuple[str, str]] = []
    for name, value in tree.items:
        if not isinstance(value, Scalar):
            found.error(value.where, f"header {name.text[:64]!r} wants one text")
        elif not is_header_name(name.text) or not _HEADER_VALUE.fullmatch(value.text):
            found.error(name.where, f"no HTTP header: {name.text[:64]!r}")
        else:
            headers.append((name.text, value.text))
    return tuple(headers)


def is_header_name(text: str) -> bool:
    """Whether this can be the name of an HTTP header (RFC 9110, 5.1)."""
    return _HEADER_NAME.fullmatch(text) is not None


def _pings(dialer: Dialer, kind: str, found: Findings) -> float:
    """Seconds between a WebSocket client's pings: `keepalive` switches them on, `ttl` says how often."""
    if kind not in ("ws", "wss"):
        return 0.0
    ttl = config_metadata.seconds(dialer, _set(dialer, "ttl", "keepalive.interval"), 15.0, found) or 15.0
    return (
        ttl
        if config_metadata.switch(dialer, _set(dialer, "ws.keepalive", "keepalive"), False, found)
        else 0.0
    )


def _set(section: Listener | Dialer, *names: str) -> str:
    """The first of these keys that the metadata has; the last one where it has none."""
    return next((name for name in names if config_metadata.find(section, name) is not None), names[-1])


def _tcp_keepalive(section: Listener | Dialer, kind: str, found: Findings) -> tuple[int, int, int] | None:
    """(idle s, interval s, count) of TCP keepalive; None without any key, for stream_options' own values."""
    names = [
        _set(section, f"tcp.keepalive.{word}", f"keepalive.{word}") for word in ("idle", "interval", "count")
    ]
    idle, interval = (config_metadata.seconds(section, name, 0.0, found) for name in names[:2])
    count = config_metadata.integer(section, (names[2],), 0, found)
    if not (idle or interval or count):
        return None
    if not 0 <= count <= 127 or max(idle, interval) > 32767:
        found.error(section.where("metadata"), "keepalive: at most 127 probes, 32767 s apart")
        return None
    return max(1, round(idle or 15)), max(1, round(interval or 15)), count or 9
