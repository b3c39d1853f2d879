"""Settings on their way to workers: they come as they were, whatever they are, in steps."""

from __future__ import annotations

import pytest

from lib import config_read, config_resolve, config_secrets, settings_workers, worker_settings
from lib.errors import ConfigError
from lib.settings import Settings
from lib.settings_hooks import NO_HOOKS
from tests.support.configs import checked
from tests.unit.test_config_workers import CLUSTER, HUB

ROUTES = ", ".join(f"{{dst: 10.{i // 256}.{i % 256}.0/24, gateway: host-{i}}}" for i in range(3000))


def settings(text: str) -> Settings:
    return config_resolve.resolve(checked(config_read.read([("f.yml", text)])), config_secrets.read)


def test_they_come_back_in_steps() -> None:
    whole = HUB.replace("{dst: 10.0.0.0/8, gateway: host-1}", ROUTES)
    whole += "authers: [{name: a, auths: [{username: u, password: p}]}]\n"
    found, steps = settings(whole.replace("{type: router,", "{type: router, auther: a,")), []
    back = worker_settings.unpack(worker_settings.pack(found), lambda: steps.append(1))
    assert back == found
    assert back.hubs[0].default_table is back.tables[0], "the same object, as where they were made"
    assert len(steps) == -(-3000 // worker_settings.ROWS)


def test_a_worker_has_no_lanes_its_own_datagrams_and_its_part_of_the_memory() -> None:
    found = settings(HUB.replace("router: r}", "router: r, channel: datagram}"))
    (hub,) = worker_settings.of_worker(found, 4).hubs
    assert (hub.lanes, hub.channel, hub.queue_memory) == (1, "datagram", found.hubs[0].queue_memory // 4)


def test_what_the_main_process_does_for_all_no_worker_does() -> None:
    text = "metrics: {addr: '127.0.0.1:9100', auth: {username: u, password: p}}\n"
    found = settings(HUB.replace("  handler:", "  metadata: {preUp: ['true']}\n  handler:", 1) + text)
    worker = worker_settings.of_worker(found, 2)
    assert (worker.metrics, worker.authers) == (None, ())
    assert found.hubs[0].hooks.of("preUp")
    assert worker.hubs[0].hooks is NO_HOOKS
    assert [row.key for row in found.hubs[0].limits.connections] == ["$", "site"]
    limits = worker.hubs[0].limits
    assert ([row.key for row in limits.connections], limits.handshakes) == (["$"], ())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("workers: 2", "workers: 3", "'workers' is another number"),
        ("':8443'", "':8444'", "service hub listens elsewhere"),
        ("name: hub", "name: other", "service other is new"),
        ("name: hub", "name: other", "service hub is gone"),
        ("{type: tls}", "{type: tls, metadata: {mptcp: true}}", "service hub listens elsewhere"),
    ],
)
def test_what_a_reload_cannot_change(old: str, new: str, words: str) -> None:
    text = HUB.replace('":8443"', "':8443'")
    with pytest.raises(ConfigError, match="with workers: ") as caught:
        settings_workers.refuse(settings(text), settings(text.replace(old, new)))
    assert any(words in str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "is_refused"),
    [
        ("all of it", "", True),
        (":8444", ":8445", True),
        ("hub-1,", "hub-7,", False),
        ("redis.example", "other.example", False),
    ],
)
def test_what_a_reload_may_change_of_a_cluster(old: str, new: str, is_refused: bool) -> None:
    text = HUB.replace("router: r}", "router: r, sd: registry}") + CLUSTER
    if not new:
        old, new = text, HUB
    had, now = settings(text), settings(text.replace(old, new))
    if not is_refused:
        settings_workers.refuse(had, now)
        return
    with pytest.raises(
        ConfigError, match="with workers: the cluster is new or gone, or links listen elsewhere"
    ):
        settings_workers.refuse(had, now)


ENTRYPOINT = "router: r, sd: gosts, entrypoint: '192.0.2.1:8420', entrypoint.allow: 192.0.2.2}"


@pytest.mark.parametrize(
    ("old", "new", "is_refused"),
    [
        (ENTRYPOINT, "router: r}", True),
        ("8420", "8421", True),
        ("'192.0.2.1:8420'", "'192.0.2.9:8420'", True),
        ("192.0.2.2", "192.0.2.3", False),
        ("127.0.0.1:1", "127.0.0.1:2", False),
    ],
)
def test_what_a_reload_may_change_of_an_entrypoint(old: str, new: str, is_refused: bool) -> None:
    text = HUB.replace("router: r}", ENTRYPOINT) + CLUSTER.partition("\n")[2]
    had, now = settings(text), settings(text.replace(old, new))
    assert worker_settings.outside(had) != worker_settings.outside(now), "its process is made anew"
    if not is_refused:
        settings_workers.refuse(had, now)
        return
    with pytest.raises(
        ConfigError, match="with workers: the entrypoint is new or gone, or listens elsewhere"
    ):
        settings_workers.refuse(had, now)


def test_the_place_in_a_cluster_is_the_cluster_s_process_s() -> None:
    found = settings(HUB.replace("router: r}", "router: r, sd: registry}") + CLUSTER)
    assert found.cluster is not None
    assert worker_settings.of_worker(found, 2).cluster is None


def test_everything_else_can_be_changed_by_a_reload() -> None:
    settings_workers.refuse(settings(HUB), settings(HUB.replace("host-1", "host-2")))
