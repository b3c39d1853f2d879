"""`workers`: its values, and each key that does not hold across workers, refused where it is written."""

from __future__ import annotations

import pytest

from lib import config_read, config_resolve, worker_settings
from lib.errors import ConfigError
from lib.settings import Settings
from tests.support.configs import checked

HUB = """\
workers: 2
services:
- name: hub
  addr: ":8443"
  handler: {type: router, metadata: {router: r}}
  listener: {type: tls}
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: host-1}]}]
"""


def settings(text: str) -> Settings:
    return config_resolve.resolve(checked(config_read.read([("f.yml", text)])))


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(text)
    return list(map(str, caught.value.problems))


@pytest.mark.parametrize(("text", "count"), [("2", 2), ("64", 64), ("auto", 0), ("AUTO", 0), ("1", 1)])
def test_a_number_or_auto(text: str, count: int) -> None:
    assert settings(HUB.replace("workers: 2", f"workers: {text}")).workers == count


def test_without_the_key_there_is_one_process() -> None:
    assert settings(HUB.removeprefix("workers: 2\n")).workers == 1


@pytest.mark.parametrize("text", ["0", "65", "-1", "two", "2.5", "1e1", "9999999", "²"])
def test_what_is_no_number_of_workers(text: str) -> None:
    (problem,) = problems(HUB.replace("workers: 2", f"workers: '{text}'"))
    assert problem.startswith("f.yml:1:10: 'workers': ")
    assert "is neither auto nor 1 to 64" in problem


CLUSTER = """\
cluster: {name: hub-1, link: {listen: ':8444', address: 'hub-1.example:8444', secret: 0123456789abcdef0123456789abcdef}}
sds: [{name: registry, redis: {addr: 'redis.example'}}, {name: gosts, plugin: {type: http, addr: 'http://127.0.0.1:1'}}]
"""


def test_a_hub_with_workers_is_in_a_cluster() -> None:
    found = settings(HUB.replace("router: r}", "router: r, sd: registry}") + CLUSTER)
    assert found.cluster is not None
    assert (found.workers, found.cluster.name, found.cluster.services) == (2, "hub-1", ("hub",))


def test_gost_s_sd_and_entrypoint_hold() -> None:
    text = HUB.replace("router: r}", "router: r, sd: gosts, entrypoint: '192.0.2.1:8420'}")
    found = settings(text + CLUSTER.partition("\n")[2])
    assert found.workers == 2
    assert worker_settings.outside(found) == (("hub", found.hubs[0].entrypoint),)
    assert worker_settings.of_worker(found, 2).hubs[0].entrypoint is None, "none of them has it"


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("router: r}", "router: r, lanes: 2}", "f.yml:5:", "'lanes: 2'"),
        ("{type: router,", "{type: router, limiter: l,", "f.yml:", "limits of hosts"),
        ("  handler:", "  limiter: l\n  handler:", "f.yml:5:", "a limiter that several connections share"),
    ],
)
def test_what_does_not_hold_across_workers(old: str, new: str, place: str, words: str) -> None:
    text = HUB.replace(old, new, 1)
    if "limiter: l" in text:
        text += "limiters: [{name: l, limits: ['$ 1MB']}]\n"
    found = problems(text)
    (problem,) = [one for one in found if words in one]
    assert problem.startswith(place), problem
    assert "does not hold across workers yet" in problem
    one_process = text.replace("workers: 2", "workers: 1")
    assert settings(one_process).workers == 1, "nothing of it is a mistake without workers"


def test_invitations_and_pools_hold() -> None:
    text = HUB.replace("router: r}", "router: r, enrol: /tmp/hosts}")
    found = settings(text.replace("{name: r,", "{name: r, address: 10.0.0.9/24, pool: 10.0.0.0/24,", 1))
    assert found.workers == 2
    assert found.hubs[0].enrol is not None
    assert found.tables[0].pool


def test_names_hold() -> None:
    found = settings(HUB.replace("{name: r,", "{name: r, address: 10.0.0.9/24, dnsDomain: a.internal,"))
    assert found.workers == 2
    assert found.tables[0].names is not None


@pytest.mark.parametrize("more", ["channel: datagram", "channel: stream", "datagram: 'a:1'", "dscp: true"])
def test_datagrams_hold(more: str) -> None:
    assert settings(HUB.replace("router: r}", f"router: r, {more}}}")).workers == 2


def test_a_limiter_of_each_connection_holds() -> None:
    text = HUB.replace("  handler:", "  limiter: l\n  handler:", 1)
    assert settings(text + "limiters: [{name: l, limits: ['$$ 1MB']}]\n").workers == 2


def test_a_service_with_a_device_is_refused() -> None:
    text = HUB.replace(
        "routers:",
        "- {name: c, addr: ':0', handler: {type: tun, chain: c}, listener: {type: tun, metadata: {net: 10.0.0.2/24}}}\n"
        "chains: [{name: c, hops: [{name: h, nodes: [{name: n, addr: 'a:1', connector: {type: router}}]}]}]\nrouters:",
    )
    (problem,) = [one for one in problems(text) if "has a device" in one]
    assert problem.startswith("f.yml:7:3: service c")


def test_services_share_a_domain() -> None:
    second = "- {name: b, addr: ':2', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}\nrouters:"
    text = HUB.replace("routers:", second, 1)
    (problem,) = problems(text)
    assert "services hub and b do not share a domain" in problem
    assert settings(text.replace("router: r}", "router: r, domain: d}")).workers == 2


def test_nothing_but_clients_has_no_workers() -> None:
    (problem,) = [one for one in problems("workers: 2\nservices: []\n") if "workers" in one]
    assert "'workers' without a hub" in problem
