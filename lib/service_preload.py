"""Modules that a process loads before it serves, by what its settings need.

Knows: which part of the settings needs which modules that are otherwise loaded on first use.
Refuses to know: what those modules do.

Once a process serves, the files of its modules may go: a cleaner of /tmp empties the directory that the
executable was unpacked to, a package manager replaces the executable, `git pull` changes a checkout. A module
that is loaded later would be missing, or be another version's. tests/unit/test_service_preload.py finds every
import in a function and wants its module in this table.

All of it costs 31 MB and 0.3 s, in a process that needs none of it (2026-11-26). So each process loads what
its own settings need, which it would load sooner or later anyway, and at a reload what the new ones need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator

from lib import stream_certificates
from lib.errors import HostError
from lib.settings import (
    AdmissionSettings,
    AutherSettings,
    BindingSettings,
    HopSettings,
    IngressSettings,
    LimiterSettings,
    Settings,
    TableSettings,
)
from lib.settings_names import BY_OFF
from lib.settings_sources import HttpSource, PluginSettings, RedisSource, Source
from lib.settings_transport import has_datagrams

NEEDED: dict[str, tuple[str, ...]] = {
    "any process": (
        *("encodings.idna", "stringprep", "encodings.ascii", "encodings.latin_1"),
        *("encodings.utf_16_le", "encodings.utf_16_be", "encodings.utf_32_le", "encodings.utf_32_be"),
        *("inotify_simple", "gevent.resolver.thread"),
    ),
    "a Redis": ("redis", "redis.connection", "redis.exceptions"),
    "a Redis over TLS": ("urllib3.util.ssltransport",),
    "HTTP": (
        *("urllib3", "urllib3.connection", "urllib3.exceptions", "urllib3.util.ssltransport"),
        "lib.stream_http_body",
    ),
    "a plugin over gRPC": (
        *("h2.connection", "h2.events", "h2.config", "h2.errors", "h2.exceptions"),
        *("google.protobuf.descriptor_pb2", "google.protobuf.descriptor_pool"),
        *("google.protobuf.message_factory", "google.protobuf.message", "urllib3.util.ssltransport"),
    ),
    "WebSocket": ("lib.stream_websocket",),
    "a proxy": ("python_socks", "python_socks.sync"),
    "a certificate": (
        *("cryptography.x509", "cryptography.x509.oid", "cryptography.hazmat.primitives.asymmetric.ec"),
        *("cryptography.hazmat.primitives.hashes", "cryptography.hazmat.primitives.serialization"),
    ),
    "a datagram channel": ("cryptography.hazmat.primitives.ciphers.aead",),
    "a client": ("pyroute2", "pyroute2.netlink.exceptions", "lib.service_clients", "lib.client_downlink"),
    "an observer": ("lib.config_observe", "lib.observe_watch"),
    "an observer of workers": ("lib.worker_observe", "lib.worker_told"),
    "an admission": ("lib.config_admission", "lib.rule_admission"),
    "titles": ("lib.config_titles",),
    "an entrypoint": ("lib.cluster_entrypoint",),
    "a cluster": (
        "lib.config_cluster",
        "lib.cluster_live",
    ),
    "trust between hubs": (
        *(
            "lib.cluster_trust",
            "cryptography.exceptions",
            "cryptography.hazmat.primitives.asymmetric.ed25519",
        ),
        *(f"cryptography.hazmat.primitives.asymmetric.{name}" for name in ("rsa", "padding")),
    ),
    "workers": ("lib.worker_service", "lib.config_workers"),
    "a cluster of workers": ("lib.worker_cluster",),
    "an entrypoint of workers": (
        *("lib.cluster_far_hubs", "lib.worker_cluster", "lib.worker_entrypoint", "lib.worker_sd"),
    ),
    "metrics": ("lib.metrics", "lib.metrics_server"),
    "metrics of workers": ("lib.worker_metrics",),
    "the web API of workers": ("lib.worker_hubs", "lib.worker_metrics", "lib.worker_told"),
    "the web API": (
        "lib.config_api",
        "lib.api_confirm",
        "lib.api_own",
        "lib.api_process",
        "lib.api_server",
        "lib.service_changes",
    ),
    "names": ("lib.dns_answers",),
    "a client's names": ("lib.client_stub", "lib.client_hosts", "lib.dns_forward"),
    "a log file": ("gzip", "shutil"),
}
"""What has needs, and the modules."""

Owner = (
    TableSettings
    | IngressSettings
    | AutherSettings
    | AdmissionSettings
    | BindingSettings
    | LimiterSettings
    | HopSettings
)
"""All that has sources or a plugin."""


def _owners(settings: Settings) -> Iterator[Owner]:
    authers = [*settings.authers, *(auther for hub in settings.hubs for auther in hub.authers)]
    yield from settings.tables
    yield from authers
    yield from (auther.bindings for auther in authers if auther.bindings)
    for hub in settings.hubs:
        yield from filter(None, (hub.default_table, hub.ingress))
        yield from hub.limiters
        yield from hub.admissions
    for client in settings.clients:
        yield from client.hops


def _told(settings: Settings) -> Iterator[PluginSettings]:
    """The plugins of observers and sds."""
    yield from (hub.entrypoint.sd.plugin for hub in settings.hubs if hub.entrypoint is not None)
    for _, observe in settings.observed:
        for observation in observe.observations:
            yield observation.observer.plugin


def needs(settings: Settings, step: Callable[[], None] = lambda: None) -> set[str]:
    """What a process with these settings has of NEEDED. Calls `step` after each little piece of work."""
    found = {"any process"}
    owners = {id(owner): owner for owner in _owners(settings)}  # thousands of hubs may have one table
    for owner in owners.values():
        found |= {need for source in owner.more.sources for need in _of_source(source)}
        if owner.plugin:
            found.add("a plugin over gRPC" if owner.plugin.url.startswith("grpc") else "HTTP")
        step()
    for hub in settings.hubs:
        found |= _of_source(hub.enrol)
        if hub.transport.kind in ("ws", "wss"):
            found.add("WebSocket")
        if hub.transport.kind in ("tls", "wss") and stream_certificates.needs_cryptography(hub.transport.tls):
            found.add("a certificate")
        if has_datagrams(hub.channel, hub.transport):
            found.add("a datagram channel")
        step()
    for client in settings.clients:
        found.add("a client")
        if client.names_by != BY_OFF and (client.accept is not None or client.dns):
            found.add("a client's names")
        for node in client.nodes:
            found |= {"WebSocket"} if node.transport.kind in ("ws", "wss") else set()
            found |= {"a proxy"} if node.proxies else set()
            found |= {"a datagram channel"} if node.has_datagrams(client.channel) else set()
        step()
    for plugin in _told(settings):
        found.add("a plugin over gRPC" if plugin.url.startswith("grpc") else "HTTP")
    found |= {"an observer"} if settings.observed else set()
    found |= {"an admission"} if any(hub.admissions for hub in settings.hubs) else set()
    found |= {"titles"} if settings.titles else set()
    found |= _of_others(settings)
    found |= _of_metrics(settings) | _of_api(settings)
    found |= {"HTTP"} if any(one.url for one in settings.notify) else set()
    found |= {"names"} if any(table.names for table in settings.tables) else set()
    return found | ({"a log file"} if settings.log_rotation else set())


def _of_others(settings: Settings) -> set[str]:
    """Of what a hub has to do with other hubs."""
    found, of_workers = set[str](), " of workers" if settings.workers != 1 else ""
    if any(hub.entrypoint is not None for hub in settings.hubs):
        found.add(f"an entrypoint{of_workers}")
    if settings.cluster is not None:
        found |= {"a cluster", "a certificate", f"a cluster{of_workers}"}
        found |= _of_source(settings.cluster.registry)
        found |= {"trust between hubs"} if not settings.cluster.secret else set()
    return found


def _of_metrics(settings: Settings) -> set[str]:
    """Of metrics, and of workers."""
    found = {"metrics"} if settings.metrics else set()
    if settings.workers != 1:
        found |= {"workers", *(f"{one} of workers" for one in found)}
        found |= {"the web API of workers"} if settings.api else set()
        found |= (
            {"an observer of workers"} if any(one.observations for _, one in settings.observed) else set()
        )
    return found


def _of_source(source: Source | None) -> set[str]:
    if isinstance(source, HttpSource):
        return {"HTTP"}
    if not isinstance(source, RedisSource):
        return set()
    return {"a Redis"} if source.tls is None else {"a Redis", "a Redis over TLS"}


def _of_api(settings: Settings) -> set[str]:
    api = settings.api
    if api is None:
        return set()
    made = api.tls is not None and stream_certificates.needs_cryptography(api.tls)
    return {"the web API", "a certificate"} if made else {"the web API"}


def load(settings: Settings, step: Callable[[], None] = lambda: None) -> None:
    """Import what a process with these settings may need. Raises HostError where that cannot be loaded."""
    found = needs(settings, step)
    _load((name for name in NEEDED if name in found), step)


def load_all() -> None:
    """Import what any settings may need: after a change of user its files might not be readable."""
    _load(NEEDED, lambda: None)


def _load(names: Iterable[str], step: Callable[[], None]) -> None:
    for name in names:
        for module in NEEDED[name]:
            try:
                importlib.import_module(module)
            # SystemExit is what PyInstaller's importer raises where the executable has been moved.
            except (Exception, SystemExit) as error:
                text = f"what {name} needs cannot be loaded any more: {error}; start tunrouter anew"
                raise HostError(text) from error
            step()
