"""A hub in a cluster as a whole: what has to be in order when it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lib.capture_taps import Taps
from lib.cluster_hosts import Hosts
from lib.cluster_live import Cluster
from lib.forward_frame import Output
from lib.namespace_domain import Domain
from lib.service_scheduling import Pauses
from lib.settings_registry import ClusterSettings
from lib.settings_sources import RedisSource

SETTINGS = ClusterSettings(
    name="hub-1",
    registry=RedisSource("127.0.0.1:1"),
    services=("hub",),
    host="127.0.0.1",
    port=0,
    address="127.0.0.1:1",
    secret="s" * 32,
)
NAMESPACE = b"N" * 16


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    owner: Any = SimpleNamespace(
        settings=SimpleNamespace(name="hub"),
        failed_plugins=set(),
        taps=Taps(),
        output=Output(),
        pauses=Pauses(),
        domain=Domain({}),
        tables=SimpleNamespace(routers=list),
    )
    made = Cluster(SETTINGS, owner)
    monkeypatch.setattr(made.redis, "stop", lambda: None)  # there is no Redis
    made.hosts.start()
    yield made
    made.links.stop()


def test_the_domain_has_no_registry_after_it(cluster: Cluster) -> None:
    cluster.stop()
    assert cluster.domain.registry is None


def test_a_registry_that_came_after_it_stays(cluster: Cluster) -> None:
    """As where a reload makes a hub of a cluster one with GOST's sd and entrypoint."""
    later = Hosts(
        cluster.registry, cluster.claims, cluster.domain, cluster.owner, lambda: None, lambda *_: True
    )
    cluster.domain.use_registry(later)
    cluster.stop()
    assert cluster.domain.registry is later


def test_who_looks_on_is_told_what_goes_to_another_hub_by_datagrams(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts: Any = cluster.hosts
    far = hosts.attachment(cluster.domain.namespace(NAMESPACE), "host-2", "hub-2")
    assert far.by_datagrams is not None
    assert not far.by_datagrams(b"\0\0"), "there is no link"
    asked: list[tuple[bytes, bytes]] = []

    def would_take_of(namespace: bytes, frame: bytes) -> bool:
        asked.append((namespace, frame))
        return True

    channel = SimpleNamespace(would_take_of=would_take_of)
    monkeypatch.setattr(cluster.links, "link_with", lambda name: SimpleNamespace(channel=channel))
    assert far.by_datagrams(b"frame")
    assert asked == [(NAMESPACE, b"frame")]


def test_no_host_is_elsewhere_any_more_when_links_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a packet of a flow that is remembered would dial a link that nobody looks after."""
    hosts: Any = cluster.hosts
    far = hosts.attachment(cluster.domain.namespace(NAMESPACE), "host-2", "hub-2")
    stop = cluster.links.stop
    seen: list[bool] = []

    def links_end() -> None:
        seen.append(far.live)
        stop()

    monkeypatch.setattr(cluster.links, "stop", links_end)
    cluster.stop()
    assert seen == [False]
