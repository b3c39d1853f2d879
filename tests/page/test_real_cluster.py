"""The view of a cluster in a real browser: two hubs and a Redis, one of them is killed, and the page says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_cluster import Cluster
from tests.page.test_views import NAMES
from tests.support import program
from tests.support.chromium import CHROMIUM, NO_CHROMIUM, Chromium
from tests.support.netns import Topology
from tests.support.redis_server import needs_redis

URL = "http://127.0.0.1:18080/"
pytestmark = [needs_redis, pytest.mark.needs_root, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, Chromium]]:
    """Two hubs, of which the first one has the page, and a browser beside it."""
    monkeypatch.setattr(program, "COPIES", True)

    def write(name: str, text: str) -> str:
        file = tmp_path / name
        file.write_text(text + "api: {addr: '127.0.0.1:18080'}\n" * (name == "hub-1.yml"))
        return str(file)

    with Topology(tmp_path) as topology:
        made = Cluster(topology, write, tmp_path)
        for number in (1, 2):
            made.start_hub(number)
        browser = Chromium(tmp_path / "profile", ("ip", "netns", "exec", topology.hub.name))
        try:
            yield made, browser
        finally:
            browser.close()


def test_a_hub_that_is_killed_is_shown_as_gone(cluster: tuple[Cluster, Chromium]) -> None:
    hubs, browser = cluster
    hubs.host(1, 1)
    hubs.host(2, 2)
    tab = browser.open(f"{URL}#/cluster")
    tab.says("2 of 2 hubs live, 2 hosts, 2 sessions")
    assert tab.run(NAMES) == ["hub-1", "hub-2"]
    assert tab.run("document.querySelector('nav [aria-current=page]').textContent") == "Cluster"
    hubs.hubs[2].stop(signal.SIGKILL)
    tab.says("1 of 2 hubs live, 1 host, 1 session")
    assert tab.run(NAMES) == ["hub-2", "hub-1"], "what is wrong is on top"
    tab.says("says nothing: its hosts are gone")
    hubs.redis.stop()
    tab.says("What is known goes on.")
    assert tab.errors == []
    tab.close()
