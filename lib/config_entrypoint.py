"""`sds`, and a hub's `sd`, `entrypoint` and what belongs to them, checked and turned into settings.

Knows: that neither of the two works without the other, what other hubs can send to, what is not safe.
Refuses to know: what an sd is asked (cluster_sd), what a datagram holds (cluster_entrypoint).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib import config_metadata
from lib.addresses import WILDCARDS, host_port, is_address, join_host_port, without_zone
from lib.config_findings import Findings
from lib.config_metadata import where_of
from lib.config_plugins import plugin_settings
from lib.config_schema import Handler, Sd, Service
from lib.settings import HubSettings
from lib.settings_cluster import DEFAULT_CACHE, DEFAULT_RENEW, EntrypointSettings, RegistrySd, SdSettings

Known = Mapping[str, SdSettings | RegistrySd | None]
"""Name -> the sd; None for one whose section is wrong."""
CACHE, RENEW = (0.1, 3600.0), (1.0, 3600.0)
"""Seconds, at least and at most, of sd.cache.expiration and sd.renewInterval."""
_WITH_ENTRYPOINT = ("entrypoint.address", "entrypoint.allow", "sd.cache.expiration", "sd.renewInterval")
_IN_THE_CLEAR = "'entrypoint': datagrams between hubs are neither authenticated nor encrypted, as in GOST"


def sd_settings(section: Sd, found: Findings) -> SdSettings | RegistrySd | None:
    """The settings of one sd; None where nobody could be asked, which is a problem."""
    if section.redis is not None:
        if section.plugin is not None:
            text = f"sd {section.name[:64]} has a plugin and a redis"
            found.error(
                section.where("redis"), text, "write one of them: a plugin, or the registry of a cluster"
            )
        return RegistrySd()
    if section.plugin is None:
        text = f"sd {section.name[:64]} has no plugin and no redis: nobody would know where hosts are"
        found.error(
            section.where(),
            text,
            "write plugin: {type: http, addr: URL}, or redis: {addr: HOST:PORT} for a cluster",
        )
        return None
    plugin = plugin_settings(section.plugin, found)
    return SdSettings(section.name, plugin) if plugin else None


def of_hub(handler: Handler, known: Known, netns: str, found: Findings) -> EntrypointSettings | None:
    """The entrypoint of a hub; None where it has none. Each wrong value is a problem in `found`."""
    for key in ("sd", "entrypoint", "entrypoint.allow"):
        config_metadata.refuse_empty(handler, key, found)
    name = config_metadata.text(handler, "sd", found=found)
    written = config_metadata.find(handler, "entrypoint") is not None
    if name and name not in known:
        found.error(where_of(handler, "sd"), f"there is no sd {name[:64]!r}", found.guess(name, known))
    if isinstance(known.get(name), RegistrySd):
        for key in ("entrypoint", *_WITH_ENTRYPOINT):
            if config_metadata.find(handler, key) is not None:
                text = f"{key!r} is for an sd that is a plugin, and {name[:64]!r} is a Redis"
                found.error(where_of(handler, key), text, "leave it out: hubs of a cluster have links")
        return None
    if not (name and written):
        _complain_of_one(handler, bool(name), written, found)
        return None
    place = config_metadata.scalar(handler, ("entrypoint",), _listen, None, found)
    address = config_metadata.scalar(handler, ("entrypoint.address",), _told, "", found)
    allow = config_metadata.prefix_set(handler, "entrypoint.allow", "lets everybody send", found)
    if not len(allow) and config_metadata.find(handler, "entrypoint.allow") is not None:
        text = "'entrypoint.allow' names nobody"
        found.error(where_of(handler, "entrypoint.allow"), text, "write the addresses of other hubs")
    cache = _seconds(handler, "sd.cache.expiration", DEFAULT_CACHE, CACHE, found)
    renew = _seconds(handler, "sd.renewInterval", DEFAULT_RENEW, RENEW, found)
    sd = known.get(name)
    if place is None or not isinstance(sd, SdSettings):
        return None
    host, port = place
    if host in WILDCARDS and not address:
        text = "'entrypoint': other hubs are told where to send, and this is no address of one host"
        hint = "write entrypoint: ADDRESS:PORT, or entrypoint.address: HOST:PORT beside it"
        found.error(where_of(handler, "entrypoint"), text, hint)
    hint = "let only hubs reach that port"
    if not len(allow):
        hint += ", and write entrypoint.allow: [ADDRESS]: without it every address may send that the sd names"
    found.warn(where_of(handler, "entrypoint"), _IN_THE_CLEAR, hint)
    own = address or join_host_port(host, port)
    return EntrypointSettings(sd, "" if host in WILDCARDS else host, port, own, allow, cache, renew, netns)


def _complain_of_one(handler: Handler, has_sd: bool, has_entrypoint: bool, found: Findings) -> None:
    if has_sd:
        text = "'sd' without 'entrypoint': other hubs could send nothing to the hosts that are here"
        found.error(where_of(handler, "sd"), text, "write entrypoint: ADDRESS:PORT, a UDP port of this host")
    elif has_entrypoint:
        text = "'entrypoint' without 'sd': nobody would say which hub a host is at, nor whose a packet is"
        found.error(where_of(handler, "entrypoint"), text, "write sd: NAME, and define it under sds")
    for key in _WITH_ENTRYPOINT if not has_sd and not has_entrypoint else ():
        if config_metadata.find(handler, key) is not None:
            found.warn(where_of(handler, key), f"{key!r} has no effect without sd and entrypoint")


def check_entrypoints(hubs: Sequence[tuple[Service, HubSettings]], found: Findings) -> None:
    """Check that no two services listen on the same UDP port of an address, unless they share a domain."""
    ports: dict[tuple[str, int], list[tuple[str, str, HubSettings]]] = {}
    for service, settings in found.each(hubs):
        entry = settings.entrypoint
        if entry is None:
            continue
        domain = settings.domain or f"service {settings.name}"
        for host, other_domain, other in ports.setdefault((entry.netns, entry.port), []):
            if other_domain != domain and (host == entry.host or not host or not entry.host):
                text = f"service {settings.name} would listen where service {other.name} does already"
                where = where_of(service.handler, "entrypoint") if service.handler else service.where()
                hint = "give each its own entrypoint, or both the same domain"
                found.error(where, f"'entrypoint': {text}", hint)
                break
        ports[entry.netns, entry.port].append((entry.host, domain, settings))


def _seconds(
    handler: Handler, key: str, default: float, bounds: tuple[float, float], found: Findings
) -> float:
    seconds = config_metadata.seconds(handler, key, default, found)
    if not bounds[0] <= seconds <= bounds[1]:
        text = f"{key!r}: {seconds:g} s is not within {bounds[0]:g} s to {bounds[1]:g} s"
        found.error(where_of(handler, key), text)
    return seconds


def _listen(text: str) -> tuple[str, int]:
    host, port = host_port(text)
    if not port:
        raise ValueError("port 0 is none that other hubs could send to")
    if host and not is_address(without_zone(host)):
        raise ValueError(f"{host[:64]!r} is no IP address of this host; entrypoint.address may be a name")
    return host, port


def _told(text: str) -> str:
    host, port = host_port(text)
    if not port or host in WILDCARDS:
        raise ValueError(f"{text[:64]!r} is nothing that other hubs could send to")
    return join_host_port(host, port)
