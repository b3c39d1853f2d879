"""The `cluster` section, and sds that are a Redis: checked and turned into ClusterSettings.

Knows: which services are in the cluster, and what does not hold there yet.
Refuses to know: sds that are plugins, names of sds that are none, and GOST's entrypoint (config_entrypoint).
"""

from __future__ import annotations

from collections.abc import Sequence

from lib import config_datagrams, config_metadata
from lib.addresses import WILDCARDS, host_port, join_host_port
from lib.config_findings import Findings
from lib.config_schema import Config, Handler, Service
from lib.config_schema_cluster import Cluster, ClusterLink, LinkTls
from lib.config_schema_redis import Redis
from lib.config_sources import redis_source
from lib.config_trust import HUB_NAME, trust_settings
from lib.errors import Position
from lib.namespace_titles import Title
from lib.settings import HubSettings
from lib.settings_registry import ClusterSettings, TrustSettings

DEFAULT_KEY = "tunrouter:cluster"
LEAST_SECRET = 32
"""Letters of the secret: a shorter one could be found by trying, from one handshake of a link."""
_SECRET = "openssl rand -base64 32 makes one; write secret: ${file:PATH}"
_LINK = "{listen: ':8444', address: 'HOST:8444', secret: '${file:PATH}'}"

_TLS = "openssl req -x509 -newkey ed25519 -nodes -days 3650 -subj /CN=NAME -out CERT -keyout KEY makes one"

Hubs = Sequence[tuple[Service, HubSettings]]


def cluster_settings(
    config: Config, hubs: Hubs, titles: Sequence[Title], found: Findings
) -> ClusterSettings | None:
    """What this process is in a cluster; None where it is in none. Each mistake is a problem in `found`."""
    redises = {one.name: one.redis for one in config.sds if one.redis is not None}
    members = [(service, hub, name) for service, hub in hubs if (name := sd_of(service)) in redises]
    section = config.cluster
    if section is None:
        for service, _, name in members:
            where = _where_sd(service)
            hint = "write cluster: {name: …, link: {listen: …, address: …, secret: …}} at the top level"
            found.error(where, f"'sd': {name[:64]!r} is a Redis, which needs a cluster section", hint)
        return None
    name, link = _name(section, found), _link(section, found)
    if not members:
        hint = "write sds: [{name: sd0, redis: {addr: HOST}}], and sd: sd0 in a hub's handler metadata"
        found.error(section.where(), "'cluster' without a service whose sd is a Redis", hint)
        return None
    _check_together(members, found)
    _check_pools(config, hubs, found)
    registry = redis_source(_keyed(redises[members[0][2]]), ("hash",), found)
    identity, trusted = _identity(section, titles, found)
    channel, datagram = config_datagrams.of_link(section.link or ClusterLink(), found)
    if registry is None or link is None:
        return None
    host, port, address = link
    return ClusterSettings(
        name=name,
        registry=registry,
        services=tuple(hub.name for _, hub, _ in members),
        host=host,
        port=port,
        address=address,
        secret=section.link.secret if section.link is not None else "",
        cert_file=identity.cert_file,
        key_file=identity.key_file,
        trust=trusted,
        channel=channel,
        datagram=datagram,
    )


def sd_of(service: Service) -> str:
    """The name of the sd that a service has; empty for none."""
    tree = config_metadata.find(service.handler or Handler(), "sd")
    return str(getattr(tree, "text", ""))


def _where_sd(service: Service) -> Position:
    tree = config_metadata.find(service.handler or Handler(), "sd")
    return tree.where if tree is not None else service.where()


def _keyed(redis: Redis | None) -> Redis:
    redis = redis or Redis()
    if not redis.key:
        redis.key = DEFAULT_KEY
    return redis


def _name(section: Cluster, found: Findings) -> str:
    if not HUB_NAME.fullmatch(section.name):
        text = "'name': a hub needs a name" if not section.name else f"'name': {section.name[:64]!r} is none"
        found.error(section.where("name"), text, "letters, digits, '.', '_' and '-', 63 at most")
    return section.name


def _link(section: Cluster, found: Findings) -> tuple[str, int, str] | None:
    """(host, port, address) of the link; None where an address is wrong."""
    link = section.link
    if link is None:
        hint = f"write link: {_LINK}"
        found.error(section.where(), "'cluster' without a link: other hubs could not reach this one", hint)
        return None
    try:
        host, port = host_port(link.listen)
    except ValueError as wrong:
        found.error(link.where("listen"), f"'listen': {wrong}")
        return None
    if not port:
        found.error(link.where("listen"), "'listen': port 0 is none that other hubs could dial")
    address = _address(link, found)
    return (host, port, address) if address else None


def _identity(
    section: Cluster, titles: Sequence[Title], found: Findings
) -> tuple[LinkTls, tuple[TrustSettings, ...]]:
    """By what other hubs know this one, and this one them: a secret of all, or each by its certificate."""
    link = section.link or ClusterLink()
    if link.tls is None:
        if section.link is not None and len(link.secret) < LEAST_SECRET:
            what = "is too short" if link.secret else "is missing"
            text = f"'secret' {what}: a hub is known by it, and {LEAST_SECRET} letters are the least"
            found.error(link.where("secret"), text, _SECRET)
        if section.trust:
            text = "'trust' and a secret: whoever has the secret may claim everything"
            found.error(
                section.where("trust"), text, "write tls: {certFile: …, keyFile: …} in the place of secret"
            )
        found.notice(
            (section.link or section).where("secret"),
            "cluster: whoever has this secret is a hub here, and may claim any host of any namespace",
        )
        return LinkTls(), ()
    if link.secret:
        text = "'secret' and 'tls' in link: whoever has the secret needs no certificate"
        found.error(link.where("secret"), text, "leave one of them out")
    if not link.tls.cert_file:
        found.error(
            link.tls.where(), "'tls' of a link without certFile: by it other hubs know this one", _TLS
        )
    return link.tls, trust_settings(section, titles, found)


def _address(link: ClusterLink, found: Findings) -> str:
    try:
        host, port = host_port(link.address)
    except ValueError as wrong:
        found.error(link.where("address"), f"'address': {wrong}", "write HOST:PORT as other hubs dial it")
        return ""
    if host in WILDCARDS or not port:
        text = f"'address': {link.address[:64]!r} is nothing that another hub can dial"
        found.error(link.where("address"), text, "write HOST:PORT as other hubs dial it")
        return ""
    return join_host_port(host, port)


def _check_together(members: Sequence[tuple[Service, HubSettings, str]], found: Findings) -> None:
    first, first_hub, first_sd = members[0]
    for service, hub, sd in members:
        if sd != first_sd:
            text = f"services {first.name} and {service.name} have two sds that are a Redis"
            found.error(_where_sd(service), text, "a process is in one cluster: give them the same sd")
        elif hub is not first_hub and (not hub.domain or hub.domain != first_hub.domain):
            text = f"services {first.name} and {service.name} have the sd {sd[:64]!r}, but not one domain"
            found.error(_where_sd(service), text, "give both the same domain: the cluster has each host once")
        if hub.on_duplicate == "refuse":
            text = (
                f"service {service.name}: 'onDuplicate: refuse' counts in this hub only, not in the cluster"
            )
            found.warn(_where_sd(service), text, "the session that is newest gets the packets")


def _check_pools(config: Config, hubs: Hubs, found: Findings) -> None:
    """Pools are shared by a list that is signed with the secret, and asks the registry who is connected."""
    pools = [router for router in found.each(config.routers) if router.pool]
    if not pools:
        return
    if config.cluster is not None and config.cluster.link is not None and config.cluster.link.tls is not None:
        for router in found.each(pools):
            text = f"router {router.name[:64]}: 'pool' in a cluster without a common secret"
            hint = (
                "hubs with 'trust' share no list of addresses, and would give one address to two hosts: "
                "write addresses at the hosts, and routes here"
            )
            found.error(router.where("pool"), text, hint)
        return
    for service, _ in hubs:
        if not sd_of(service):
            text = f"service {service.name} is not in the cluster, and there is a 'pool'"
            hint = "other hubs would take its hosts' addresses: give it the same sd"
            found.error(service.where(), text, hint)
