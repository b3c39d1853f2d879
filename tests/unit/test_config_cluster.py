"""`cluster` and sds that are a Redis: what they mean, and each mistake with its place."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from lib import config_read, config_resolve
from lib.errors import ConfigError
from lib.ids import parse_uuid
from lib.settings import Settings
from lib.settings_registry import TrustSettings
from tests.support.configs import checked

SECRET = "0123456789abcdef0123456789abcdef"
WHOLE = f"""
services:
- name: hub
  addr: ":8443"
  handler: {{type: router, metadata: {{router: r, sd: sd0}}}}
  listener: {{type: tcp}}
sds: [{{name: sd0, redis: {{addr: redis.example}}}}]
cluster: {{name: hub-1, link: {{listen: ":8444", address: "hub-1.example:8444", secret: {SECRET}}}}}
routers: [{{name: r, routes: [{{dst: 10.0.0.0/8, gateway: host-1}}]}}]
"""


def settings(text: str) -> Settings:
    return config_resolve.resolve(checked(config_read.read([("f.yml", text)])))


def changed(**sections: Any) -> str:
    whole = yaml.safe_load(WHOLE) | sections
    return yaml.safe_dump(
        {name: value for name, value in whole.items() if value is not None}, sort_keys=False
    )


def link(**more: Any) -> dict[str, Any]:
    whole = {"listen": ":8444", "address": "hub-1.example:8444", "secret": SECRET}
    return {
        "name": "hub-1",
        "link": {key: value for key, value in (whole | more).items() if value is not None},
    }


PIN = f"sha256:{64 * 'a'}"
BOLT = "e87f56dd-fd57-4921-9ab8-a0847662daae"


def trusting(*rows: dict[str, Any], **more: Any) -> str:
    cluster = link(secret=None, tls={"certFile": "hub.pem", "keyFile": "hub.key"}) | {"trust": list(rows)}
    return changed(cluster=cluster, namespaces=[{"id": BOLT, "title": "Bolt"}], **more)


def service(name: str, addr: str, **more: Any) -> dict[str, Any]:
    metadata = {"router": "r", "sd": "sd0"} | more
    return {
        "name": name,
        "addr": addr,
        "handler": {"type": "router", "metadata": metadata},
        "listener": {"type": "tcp"},
    }


OUTSIDE = {
    "name": "b",
    "addr": ":2",
    "handler": {"type": "router", "metadata": {"router": "r"}},
    "listener": {"type": "tcp"},
}


def test_what_it_means() -> None:
    found = settings(WHOLE).cluster
    assert found is not None
    assert (found.name, found.services, found.host, found.port) == ("hub-1", ("hub",), "", 8444)
    assert (found.address, found.secret) == ("hub-1.example:8444", SECRET)
    assert (found.registry.addr, found.registry.key) == ("redis.example:6379", "tunrouter:cluster")
    assert SECRET not in repr(found)
    assert any("may claim any host of any namespace" in str(one) for one in settings(WHOLE).notices)


@pytest.mark.parametrize("channel", [None, "auto", "stream", "Datagram"])
def test_the_channel_of_its_links(channel: str | None) -> None:
    where = {} if channel in (None, "stream") else {"datagram": "hub-1.example:9444"}
    found = settings(changed(cluster=link(channel=channel, **where))).cluster
    assert found is not None
    assert found.channel == (channel or "stream").lower()
    assert found.datagram == where.get("datagram", "")


def test_without_a_cluster_there_is_none() -> None:
    text = changed(cluster=None, sds=None, services=[service("hub", ":1", sd=None)])
    assert settings(text.replace("sd: null", "")).cluster is None


def test_several_services_of_one_domain() -> None:
    services = [service("a", ":1", domain="d"), service("b", ":2", domain="d")]
    found = settings(changed(services=services)).cluster
    assert found is not None
    assert found.services == ("a", "b")


def test_a_key_of_its_own() -> None:
    sds = [{"name": "sd0", "redis": {"addr": "[::1]:7000", "key": "mine", "db": 3, "password": "p"}}]
    found = settings(changed(sds=sds)).cluster
    assert found is not None
    assert (found.registry.addr, found.registry.key, found.registry.db) == ("[::1]:7000", "mine", 3)


WRONG = {
    "no cluster": (changed(cluster=None), r"f\.yml:\d+:\d+: 'sd': 'sd0' is a Redis, which needs a cluster"),
    "no service": (changed(services=[service("hub", ":1", sd="")]), "without a service whose sd is a Redis"),
    "an unknown sd": (changed(services=[service("hub", ":1", sd="sd1")]), "there is no sd 'sd1'.*sd0"),
    "an empty sd": (changed(sds=[{"name": "sd0"}]), "sd sd0 has no plugin and no redis"),
    "no name": (changed(cluster=link() | {"name": ""}), "a hub needs a name"),
    "a wrong name": (changed(cluster=link() | {"name": "hub 1"}), "'hub 1' is none"),
    "a long name": (changed(cluster=link() | {"name": "h" * 64}), "63 at most"),
    "no link": (changed(cluster={"name": "hub-1"}), "without a link"),
    "no secret": (changed(cluster=link(secret=None)), "'secret' is missing.*openssl rand"),
    "a short secret": (changed(cluster=link(secret="s" * 31)), "'secret' is too short"),
    "no listen": (changed(cluster=link(listen="8444")), "'listen': "),
    "any port": (changed(cluster=link(listen=":0")), "'listen': port 0"),
    "no address": (changed(cluster=link(address=None)), "'address': "),
    "an address for nobody": (changed(cluster=link(address=":8444")), "nothing that another hub can dial"),
    "a wildcard": (changed(cluster=link(address="0.0.0.0:8444")), "nothing that another hub can dial"),
    "port 0": (changed(cluster=link(address="hub:0")), "nothing that another hub can dial"),
    "a channel that is none": (
        changed(cluster=link(channel="strem")),
        "'channel': 'strem' is not auto, stream",
    ),
    "a channel with a typo": (changed(cluster=link(chanel="stream")), "unknown key 'chanel'.*channel"),
    "no place for datagrams": (changed(cluster=link(datagram="hub")), "'datagram': "),
    "port 0 for datagrams": (changed(cluster=link(datagram="hub:0")), "'datagram': port 0"),
    "a place for no datagrams": (
        changed(cluster=link(datagram="hub:9", channel="stream")),
        "'datagram' has no effect: .*leave out one",
    ),
    "a place for no datagrams by default": (
        changed(cluster=link(datagram="hub:9")),
        "'datagram' has no effect: .*write channel: auto",
    ),
    "two domains": (
        changed(services=[service("a", ":1"), service("b", ":2")]),
        "services a and b have the sd 'sd0', but not one domain",
    ),
    "two registries": (
        changed(
            sds=[{"name": name, "redis": {"addr": "h"}} for name in ("sd0", "sd1")],
            services=[service("a", ":1", domain="d"), service("b", ":2", domain="d", sd="sd1")],
        ),
        "two sds that are a Redis",
    ),
    "a plugin beside the redis": (
        changed(sds=[{"name": "sd0", "redis": {"addr": "h"}, "plugin": {"type": "http", "addr": "h"}}]),
        "sd sd0 has a plugin and a redis",
    ),
    "an entrypoint": (
        changed(services=[service("hub", ":1", entrypoint="192.0.2.1:7000")]),
        "'entrypoint' is for an sd that is a plugin",
    ),
    "a pool of a service that is not in the cluster": (
        changed(
            routers=[{"name": "r", "pool": "10.0.0.0/24"}],
            services=[service("a", ":1"), OUTSIDE],
        ),
        "service b is not in the cluster, and there is a 'pool'",
    ),
    "a pool of hubs without a secret": (
        trusting(
            {"hub": "hub-2", "pin": PIN, "namespaces": "*"}, routers=[{"name": "r", "pool": "10.0.0.0/24"}]
        ),
        "router r: 'pool' in a cluster without a common secret",
    ),
    "trust and a secret": (
        changed(cluster=link() | {"trust": [{"hub": "hub-2", "pin": PIN}]}),
        "'trust' and a secret: .*write tls",
    ),
    "a secret and a certificate": (
        changed(cluster=link(tls={"certFile": "c"})),
        "'secret' and 'tls' in link",
    ),
    "no certificate": (
        changed(cluster=link(secret=None, tls={"keyFile": "k"})),
        "'tls' of a link without certFile",
    ),
    "a key of tls that is none": (
        changed(cluster=link(secret=None, tls={"certfil": "c"})),
        "unknown key 'certfil'.*certFile",
    ),
    "a hub without a name": (trusting({"pin": PIN}), "a row of trust without hub"),
    "a hub with a wrong name": (trusting({"hub": "a b", "pin": PIN}), "'a b' is no name of a hub"),
    "this hub": (trusting({"hub": "hub-1", "pin": PIN}), "'hub-1' is this hub's own name"),
    "a hub twice": (trusting(*2 * [{"hub": "hub-2", "pin": PIN}]), "'hub-2' is there twice"),
    "a hub by nothing": (trusting({"hub": "hub-2"}), "hub hub-2 in 'trust' needs a pin or certFile"),
    "a hub by both": (trusting({"hub": "hub-2", "pin": PIN, "certFile": "c"}), "both a pin and certFile"),
    "a wrong pin": (
        trusting({"hub": "hub-2", "pin": "sha256:12"}),
        "'pin': 'sha256:12' is not sha256: and 64",
    ),
    "an empty pin": (trusting({"hub": "hub-2", "pin": ""}), "'pin' is empty"),
    "many pins": (trusting({"hub": "hub-2", "pin": 5 * [PIN]}), "5 pins, 4 at most"),
    "a pin of two": (
        trusting({"hub": "hub-2", "pin": PIN}, {"hub": "hub-3", "pin": PIN}),
        "hubs hub-2 and hub-3 have the same one",
    ),
    "no namespace": (
        trusting({"hub": "hub-2", "pin": PIN, "namespaces": ["Blot"]}),
        "no title of a namespace.*did you mean 'bolt'",
    ),
    "all and some": (
        trusting({"hub": "hub-2", "pin": PIN, "namespaces": ["*", "Bolt"]}),
        "\\* is all of them, and others too",
    ),
    "empty namespaces": (trusting({"hub": "hub-2", "pin": PIN, "namespaces": []}), "'namespaces' is empty"),
    "many hubs": (
        trusting(*({"hub": f"hub-{n + 2}", "certFile": "c"} for n in range(1025))),
        "1,025 hubs, 1,024 at most",
    ),
    "a key of trust that is none": (trusting({"hub": "hub-2", "pins": PIN}), "unknown key 'pins'.*pin"),
    "a key that is none": (changed(cluster=link() | {"nmae": "x"}), "nmae"),
    "a wrong address": (changed(sds=[{"name": "sd0", "redis": {"addr": "a b"}}]), "'addr': "),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_told_with_its_place(what: str) -> None:
    text, message = WRONG[what]
    with pytest.raises(ConfigError) as caught:
        settings(text)
    told = "\n".join(map(str, caught.value.problems))
    assert re.search(message, told), told
    assert "f.yml:" in told


def test_a_refused_name_counts_in_one_hub_only() -> None:
    text = changed(services=[service("hub", ":1", onDuplicate="refuse")])
    assert any("in this hub only" in str(one) for one in settings(text).warnings)


def test_trust() -> None:
    other = "00000000-0000-0000-0000-000000000001"
    whole = settings(
        trusting(
            {"hub": "hub-2", "pin": [PIN, f"sha256:{64 * 'b'}"], "namespaces": ["bolt", other]},
            {"hub": "hub-3", "certFile": "three.pem", "namespaces": "*"},
            {"hub": "hub-4", "certFile": "four.pem"},
        )
    )
    found = whole.cluster
    assert found is not None
    assert (found.secret, found.cert_file, found.key_file) == ("", "hub.pem", "hub.key")
    granted = frozenset({parse_uuid(BOLT), parse_uuid(other)})
    assert found.trust == (
        TrustSettings("hub-2", (32 * b"\xaa", 32 * b"\xbb"), "", granted),
        TrustSettings("hub-3", (), "three.pem", None),
        TrustSettings("hub-4", (), "four.pem", frozenset()),
    )
    told = "\n".join(map(str, whole.notices))
    assert "hub hub-2 may claim any host of 2 namespaces" in told
    assert "hub hub-3 may claim any host of any namespace" in told
    assert "hub hub-4 may claim nothing: its row has no namespaces" in told
    assert "this secret" not in told


def test_nobody_is_trusted_unless_it_is_written() -> None:
    whole = settings(trusting())
    assert whole.cluster is not None
    assert whole.cluster.trust == ()
    assert any("no other hub is trusted" in str(one) for one in whole.warnings)


def test_a_pool_is_shared_by_hubs_with_a_secret() -> None:
    found = settings(changed(routers=[{"name": "r", "address": "10.0.0.1/24", "pool": "10.0.0.0/24"}]))
    assert [table.pool for table in found.tables] == [((bytes([10, 0, 0, 0]), 24),)]
