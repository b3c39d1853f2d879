"""The entrypoints of a process: one for each domain, kept or made anew by a reload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from lib import cluster_sd
from lib.capture_taps import Taps
from lib.cluster_watch import ClusterWatch
from lib.errors import HostError
from lib.namespace_domain import Domain
from lib.settings import HubSettings
from lib.settings_cluster import EntrypointSettings, SdSettings
from lib.settings_sources import PluginSettings
from tests.unit.test_cluster_entrypoint import Plugin, free_port


@dataclass
class Hub:
    """What is used of a hub."""

    settings: HubSettings
    domain: Domain


def hub(name: str, port: int, domain: Domain | None = None, cache: float = 1.0) -> Hub:
    sd = SdSettings("sd0", PluginSettings("http://127.0.0.1:1"))
    entry = EntrypointSettings(sd, "127.0.0.1", port, f"127.0.0.1:{port}", cache=cache)
    return Hub(HubSettings(name, "", 1, entrypoint=entry), domain or Domain({}))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterWatch]:
    monkeypatch.setattr(cluster_sd, "SdPlugin", lambda settings: Plugin())
    made = ClusterWatch(Taps())
    yield made
    made.stop()


def registry(one: Hub) -> object:
    return one.domain.registry


def test_services_of_one_domain_have_one(watch: ClusterWatch) -> None:
    port, domain = free_port(), Domain({})
    plain = Hub(HubSettings("c", "", 1), Domain({}))
    hubs = [hub("a", port, domain), hub("b", port, domain), hub("d", free_port()), plain]
    watch.open(hubs)  # type: ignore[arg-type]
    watch.start()
    assert [one.settings.name for one in watch.entrypoints] == ["a", "d"]
    assert registry(hubs[0]) is watch.entrypoints[0]
    assert registry(plain) is None


def test_a_reload_keeps_what_is_the_same_and_makes_the_rest_anew(watch: ClusterWatch) -> None:
    one, other = hub("a", free_port()), hub("b", free_port())
    watch.open([one, other])  # type: ignore[list-item]
    watch.start()
    kept, old = watch.entrypoints
    other.settings = hub("b", old.entry.port, cache=2.0).settings
    assert watch.apply([one, other]) == [f"service b: entrypoint 127.0.0.1:{old.entry.port}"]  # type: ignore[list-item]
    assert watch.entrypoints[0] is kept
    assert watch.entrypoints[1].entry.cache == 2.0, "on the same port"
    assert registry(other) is watch.entrypoints[1]
    other.settings = replace(other.settings, entrypoint=None)
    assert watch.apply([one, other]) == [f"service b: entrypoint 127.0.0.1:{old.entry.port}: removed"]  # type: ignore[list-item]
    assert registry(other) is None
    assert watch.apply([one]) == []  # type: ignore[list-item]
    watch.stop()
    assert registry(one) is None


def test_a_port_that_is_taken(watch: ClusterWatch) -> None:
    one = hub("a", free_port())
    watch.open([one])  # type: ignore[list-item]
    assert one.settings.entrypoint is not None
    second = hub("b", one.settings.entrypoint.port)
    with pytest.raises(HostError):
        ClusterWatch(Taps()).open([second])  # type: ignore[list-item]
    assert watch.apply([one, second]) == [], "a reload goes on without it, and says so"  # type: ignore[list-item]
    assert registry(second) is None
