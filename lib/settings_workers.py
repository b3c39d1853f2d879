"""What a reload of a process with workers may change, and what takes a restart.

Knows: that the main process listens, and has made the workers. Refuses to know: how a reload goes on
(worker_service).
"""

from __future__ import annotations

from lib.errors import ConfigError, Position, Problem
from lib.settings import HubSettings, Settings
from lib.settings_cluster import EntrypointSettings

_REMEDY = "restart tunrouter for that"


def refuse(old: Settings, new: Settings) -> None:
    """Raise ConfigError with all that is different and cannot be changed while workers run."""
    found: list[str] = []
    if old.workers != new.workers:
        found.append("'workers' is another number")
    if _links(old) != _links(new):
        found.append("the cluster is new or gone, or links listen elsewhere")
    if _entrypoint(old) != _entrypoint(new):
        found.append("the entrypoint is new or gone, or listens elsewhere")
    had = {hub.name: hub for hub in old.hubs}
    now = {hub.name: hub for hub in new.hubs}
    found += [f"service {name} is new" for name in now if name not in had]
    found += [f"service {name} is gone" for name in had if name not in now]
    found += [
        f"service {name} listens elsewhere, or in another way"
        for name, hub in now.items()
        if name in had and _place(hub) != _place(had[name])
    ]
    if found:
        place = Position((new.files or ("configuration",))[0])
        raise ConfigError([Problem(place, f"with workers: {text}", _REMEDY) for text in found])


def _links(settings: Settings) -> tuple[str, int] | None:
    """Where links of the cluster are accepted."""
    cluster = settings.cluster
    return (cluster.host, cluster.port) if cluster is not None else None


def entrypoint(settings: Settings) -> tuple[str, EntrypointSettings] | None:
    """The first hub service with an entrypoint, by name, and that: services of one domain have the same."""
    found = ((hub.name, hub.entrypoint) for hub in settings.hubs if hub.entrypoint is not None)
    return next(found, None)


def _entrypoint(settings: Settings) -> tuple[str, int, str] | None:
    """Where datagrams of other hubs come."""
    found = entrypoint(settings)
    return (found[1].host, found[1].port, found[1].netns) if found is not None else None


def _place(hub: HubSettings) -> tuple[object, ...]:
    transport = hub.transport
    made = () if transport.tls.cert_file else (transport.tls,)  # a certificate that each would make itself
    return hub.host, hub.port, hub.netns, hub.domain, transport.mptcp, transport.reuse_port, *made
