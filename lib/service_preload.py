"""Modules that a process loads before it serves, by what its settings need.

Knows: which part of the settings needs which modules that are otherwise loaded on first use.
Refuses to know: what those modules do.

Once a process serves, the files of its modules may go: a cleaner of /tmp empties the directory that the
executable was unpacked to, a package manager replaces the executable, `git pull` changes a checkout. A module
that is loaded later would be missing, or be another version's. tests/unit/test_service_preload.py finds every
import in a function and wants its module in this table.

All of it costs 31 MB and 0.1 s, in a process that needs none of it (2026-11-26). So each process loads what
its own settings need, which it would load sooner or later anyway, and at a reload what the new ones need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

from lib import stream_certificates
from lib.errors import HostError
from lib.settings import (
    AutherSettings,
    BindingSettings,
    HttpSource,
    IngressSettings,
    RedisSource,
    Settings,
    Source,
    TableSettings,
    TransportSettings,
)

Owner = TableSettings | IngressSettings | AutherSettings | BindingSettings
"""All that has sources or a plugin."""


def _owners(settings: Settings) -> Iterator[Owner]:
    authers = [*settings.authers, *(auther for hub in settings.hubs for auther in hub.authers)]
    yield from settings.tables
    yield from authers
    yield from (auther.bindings for auther in authers if auther.bindings)
    for hub in settings.hubs:
        yield from filter(None, (hub.default_table, hub.ingress))


def _has_source(settings: Settings, kind: type[Source]) -> bool:
    return any(isinstance(source, kind) for owner in _owners(settings) for source in owner.more.sources)


def _has_plugin(settings: Settings, scheme: str) -> bool:
    return any(owner.plugin and owner.plugin.url.startswith(scheme) for owner in _owners(settings))


def _transports(settings: Settings) -> Iterator[TransportSettings]:
    yield from (hub.transport for hub in settings.hubs)
    yield from (node.transport for client in settings.clients for node in client.nodes)


def _websocket(settings: Settings) -> bool:
    return any(transport.kind in ("ws", "wss") for transport in _transports(settings))


def _proxies(settings: Settings) -> bool:
    return any(node.proxies for client in settings.clients for node in client.nodes)


def _certificates(settings: Settings) -> bool:
    return any(
        hub.transport.kind in ("tls", "wss") and stream_certificates.needs_cryptography(hub.transport.tls)
        for hub in settings.hubs
    )


NEEDED: tuple[tuple[str, Callable[[Settings], object], tuple[str, ...]], ...] = (
    (
        "any process",
        lambda settings: True,
        (
            *("encodings.idna", "stringprep", "encodings.ascii", "encodings.latin_1"),
            *("encodings.utf_16_le", "encodings.utf_16_be", "encodings.utf_32_le", "encodings.utf_32_be"),
            *("inotify_simple", "gevent.resolver.thread"),
        ),
    ),
    (
        "a Redis",
        lambda settings: _has_source(settings, RedisSource),
        ("redis", "redis.connection", "redis.exceptions"),
    ),
    (
        "HTTP",
        lambda settings: _has_source(settings, HttpSource) or _has_plugin(settings, "http"),
        (
            *("urllib3", "urllib3.connection", "urllib3.exceptions", "urllib3.util.ssltransport"),
            "lib.stream_http_body",
        ),
    ),
    (
        "a plugin over gRPC",
        lambda settings: _has_plugin(settings, "grpc"),
        (
            *("h2.connection", "h2.events", "h2.config", "h2.errors", "h2.exceptions"),
            *("google.protobuf.descriptor_pb2", "google.protobuf.descriptor_pool"),
            *("google.protobuf.message_factory", "google.protobuf.message", "urllib3.util.ssltransport"),
        ),
    ),
    ("WebSocket", _websocket, ("lib.stream_websocket",)),
    ("a proxy", _proxies, ("python_socks", "python_socks.sync")),
    (
        "a certificate",
        _certificates,
        (
            *("cryptography.x509", "cryptography.x509.oid", "cryptography.hazmat.primitives.asymmetric.ec"),
            *("cryptography.hazmat.primitives.hashes", "cryptography.hazmat.primitives.serialization"),
        ),
    ),
    ("a client", lambda settings: settings.clients, ("pyroute2", "pyroute2.netlink.exceptions")),
    ("metrics", lambda settings: settings.metrics, ("lib.metrics", "lib.metrics_server")),
    ("a log file", lambda settings: settings.log_rotation, ("gzip", "shutil")),
)  # fmt: skip
"""What has needs, how the settings tell that a process has it, and the modules."""


def load(settings: Settings) -> None:
    """Import what a process with these settings may need. Raises HostError where that cannot be loaded."""
    _load((what, modules) for what, needs, modules in NEEDED if needs(settings))


def load_all() -> None:
    """Import what any settings may need: after a change of user its files might not be readable."""
    _load((what, modules) for what, _, modules in NEEDED)


def _load(rows: Iterator[tuple[str, tuple[str, ...]]]) -> None:
    for what, modules in rows:
        for module in modules:
            try:
                importlib.import_module(module)
            # SystemExit is what PyInstaller's importer raises where the executable has been moved.
            except (Exception, SystemExit) as error:
                text = f"what {what} needs cannot be loaded any more: {error}; start tunrouter anew"
                raise HostError(text) from error
