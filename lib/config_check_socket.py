"""Problems of `tunrouter check` with sockets: congestion controls, MPTCP and namespaces that are not there.

Knows: where a configuration names one, and what to say where it would not be used.
Refuses to know: what the kernel has (stream_options); no module is loaded to find out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from lib import config_metadata, stream_options
from lib.config_findings import Findings
from lib.config_schema import Config, Dialer, Listener, Service
from lib.config_section import walk
from lib.config_yaml import Scalar
from lib.errors import Position
from lib.go_values import parse_switch
from lib.settings import Settings
from lib.settings_api import ApiSettings
from lib.settings_dial import netns_path
from lib.settings_telemetry import MetricsSettings
from lib.settings_transport import AUTO, SYSTEM, TransportSettings


def look(config: Config, services: Mapping[str, Service], settings: Settings, found: Findings) -> None:
    """Warn of each congestion control that is named and would be refused; a notice where AUTO gets no bbr.

    Warn of network namespaces that are not there, too.
    """
    _namespaces(services, settings, found)
    used = set(_transports(settings))
    for name in sorted({transport.congestion for transport in used} - {AUTO, SYSTEM}):
        why = stream_options.missing(name)
        if why:
            for where in _places(config, "congestion", name.__eq__):
                found.warn(where, f"'congestion': {why}", "until then the kernel's own choice is used")
    why = stream_options.no_mptcp() if any(transport.mptcp for transport in used) else ""
    if why:
        for where in _places(config, "mptcp", parse_switch):
            found.warn(where, f"'mptcp': {why}", "until then connections are plain TCP")
    automatic = [hub.name for hub in settings.hubs if hub.transport.congestion == AUTO]
    automatic += [
        client.name
        for client in settings.clients
        if any(node.transport.congestion == AUTO for node in client.nodes)
    ]
    why = stream_options.missing(stream_options.BBR) if automatic else ""
    if why:
        where = services[automatic[0]].where()
        text = "bbr would carry more where packets are lost, and is not used"
        found.notice(where, f"{text}: {why}. congestion: system says that this is meant")
    _later(config, settings, found)


def _later(config: Config, settings: Settings, found: Findings) -> None:
    """Notice that a hub which becomes another user has no bbr in sockets of MPTCP that it opens later."""
    wanted = {hub.transport.congestion for hub in settings.hubs if hub.transport.mptcp} - {SYSTEM}
    if not settings.user or settings.clients:  # with clients CAP_NET_ADMIN is kept
        return
    for name in sorted(map(stream_options.by_name, wanted)):
        why = stream_options.missing(name, is_admin=False)
        if why and not stream_options.missing(name):
            text = "'user': a listener with mptcp to which a reload gives another address, or that it adds,"
            found.notice(config.where("user"), f"{text} has no {name} until the next start: {why}")


def _namespaces(services: Mapping[str, Service], settings: Settings, found: Findings) -> None:
    """Warn of network namespaces of services that are not there; they may be made before the start."""
    places = [(hub.name, hub.netns) for hub in settings.hubs]
    places += [(client.name, client.device.netns) for client in settings.clients]
    for name, netns in places:
        if netns and not os.path.exists(netns_path(netns)):
            tree = config_metadata.find(services[name], "netns")
            where = tree.where if tree is not None else services[name].where()
            found.warn(where, f"'netns': there is no network namespace {netns} here now", "ip netns add NAME")


def _transports(settings: Settings) -> Iterator[TransportSettings]:
    for hub in settings.hubs:
        yield hub.transport
    for client in settings.clients:
        for node in client.nodes:
            yield node.transport


def _places(config: Config, key: str, is_meant: Callable[[str], bool]) -> Iterator[Position]:
    """Every place in listeners and dialers where a metadata key has such a value; all values are right."""
    for section in walk(config):
        tree = config_metadata.find(section, key) if isinstance(section, Listener | Dialer) else None
        if isinstance(tree, Scalar) and is_meant(tree.text.lower()):
            yield tree.where


def served(
    config: Config, settings: Settings
) -> Iterator[tuple[str, MetricsSettings | ApiSettings, Position]]:
    """What is served beside the hubs: its name, its settings, where its address stands."""
    if settings.metrics is not None and config.metrics is not None:
        yield "metrics", settings.metrics, config.metrics.where("addr")
    if settings.api is not None and config.api is not None:
        yield "the web API", settings.api, config.api.where("addr")
