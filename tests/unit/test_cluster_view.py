"""The view of a cluster: who counts, what is wrong with a hub, and how it is printed and measured."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lib import cli_show, cluster_running, cluster_view, cluster_wire, ctl_cluster, metrics_cluster
from lib.api_request import Refused
from lib.api_shared import Shared
from lib.api_x_look import Looks
from lib.cli_paper import Paper
from lib.cluster_claims import Claims, Clocks
from lib.cluster_live import Cluster
from lib.cluster_seal import SharedSeal
from lib.datagram_channel import Figures
from lib.errors import ConfigError
from tests.support import schema
from tests.support.api_hubs import own_hubs
from tests.unit.test_cluster_live import NAMESPACE, SETTINGS, cluster

CLOCK = 1_800_000_000.0
SEAL = SharedSeal(SETTINGS.secret.encode(), SETTINGS.registry.key)
__all__ = ["cluster"]  # a fixture


@pytest.mark.parametrize(
    ("live", "behind", "error", "here", "state"),
    [
        (True, False, "", False, "good"),
        (True, True, "", False, "behind"),
        (True, True, "refused", False, "unreachable"),
        (False, True, "refused", False, "gone"),
        (True, False, "", True, "good"),
        (True, False, "timed out", True, "no registry"),
    ],
)
def test_what_is_wrong_with_a_hub(live: bool, behind: bool, error: str, here: bool, state: str) -> None:
    assert cluster_view.state(live, behind, error, here) == state
    assert state in cluster_view.STATES


def test_sums_are_of_what_is_there() -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1, "v": "x"},
        {"a": 2, "b": 5, "v": "y"},
        {"b": None, "v": "x"},
        {"v": ""},
    ]
    assert cluster_view.summed(rows, ("a", "b")) == {"a": 3, "b": 5}
    assert cluster_view.summed([], ("a",)) == {"a": 0}
    assert list(cluster_view.counted(rows, "v").items()) == [("x", 2), ("y", 1)]


class Others:
    """Other hubs, as the cluster hears of them."""

    def __init__(self, of: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of, self.now = of, 0.0
        monkeypatch.setattr(cluster_running, "clusters", lambda: [of])
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.claims: dict[str, Claims] = {}

    def come(self, name: str, hosts: int, software: str = "tunrouter 9", epoch: int = 1000) -> None:
        made = self.claims[name] = Claims(name, f"{name}:1", epoch, SEAL.sign, software)
        made.sessions = lambda: hosts + 1
        self.say(name)  # a JOIN alone is of nobody
        for number in range(hosts):
            made.join((NAMESPACE, f"host-{number}"), 1, b"")
        self.say(name)

    def say(self, name: str) -> None:
        clocks = Clocks(int(CLOCK * 1000), int(self.now * 1000))
        self.of.registry.hear(self.claims[name].next_batch(clocks).published, self.now, clocks.wall)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.of.registry.echoed_at = self.now
        self.of.registry.expire(self.now)


@pytest.fixture
def others(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Others:
    made = Others(cluster, monkeypatch)
    made.come("hub-2", 3)
    made.come("hub-10", 2, "")
    return made


def test_a_hub_that_is_gone_counts_as_one_and_its_hosts_do_not(others: Others) -> None:
    others.of.claims.join((NAMESPACE, "host-9"), 1, b"")
    others.of.claims.next_batch(Clocks(0, 0))
    hosts: Any = others.of.hosts
    hosts.sessions = 4
    before = ctl_cluster.view(others.now, CLOCK)
    schema.check(before, "cluster")
    assert [row["name"] for row in before["hubs"]] == ["hub-1", "hub-10", "hub-2"]
    assert [row["state"] for row in before["hubs"]] == ["good"] * 3
    software = {others.of.claims.software: 1, "tunrouter 9": 1}
    assert before["total"] == {
        "hubs": 3, "live": 3, "problems": 0, "hosts": 6, "sessions": 4 + 4 + 3, "software": software,
    }  # fmt: skip
    others.pass_by(4.0)
    others.say("hub-10")
    others.pass_by(4.0)
    after = ctl_cluster.view(others.now, CLOCK)
    schema.check(after, "cluster")
    gone = next(row for row in after["hubs"] if row["name"] == "hub-2")
    assert (gone["live"], gone["state"], gone["heard_s"]) == (False, "gone", 8.0)
    assert (after["total"]["live"], after["total"]["problems"], after["total"]["hosts"]) == (2, 1, 3)


def test_how_long_a_hub_is_up_is_known_from_its_epoch(others: Others) -> None:
    others.come("hub-3", 0, epoch=int((CLOCK - 90) * 1000))
    others.come("hub-4", 0, epoch=int((CLOCK + 90) * 1000))  # its clock is before ours
    rows = {row["name"]: row for row in ctl_cluster.view(0.0, CLOCK)["hubs"]}
    assert (rows["hub-3"]["up_s"], rows["hub-4"]["up_s"]) == (90.0, 0.0)


def test_a_hub_of_an_older_version_says_neither_its_software_nor_its_sessions() -> None:
    claims = Claims("hub-2", "a:1", 1, SEAL.sign)
    data = claims.header(Clocks(0, 0))
    new, signature = cluster_wire.decode(data)
    assert (new.software, new.sessions) == ("", 0)
    body = data[4 : data.index(bytes([cluster_wire.Field.SOFTWARE, 0, 0]))]
    left = data[:2] + len(body).to_bytes(2, "big") + body
    old, _ = cluster_wire.decode(left + signature)
    assert (old.kind, old.software, old.sessions) == (cluster_wire.Kind.HUB, "", 0)


def test_it_is_printed(others: Others) -> None:
    others.of.redis.lost = "timed out"
    reply: dict[str, Any] = ctl_cluster.view(others.now, CLOCK)
    page = "\n".join(cli_show._TEXTS["cluster"](reply, Paper(None, False)))
    assert "cluster, as hub hub-1 sees it: 3 of 3 hubs live, 5 hosts, 7 sessions" in page
    assert "is away: timed out; what is known goes on" in page
    assert "hub-1 (this one)" in page
    assert "no registry: timed out" in page
    others.pass_by(9.0)
    page = "\n".join(cli_show._TEXTS["cluster"](ctl_cluster.view(others.now, CLOCK), Paper(None, False)))
    assert "1 of 3 hubs live" in page
    assert "gone: its lease has ended" in page


def test_hosts_and_namespaces_are_not_what_it_shows() -> None:
    arguments = {"--cluster": True, "--ns": None, "--host": "host-1"}
    with pytest.raises(ConfigError, match="shows hubs"):
        cli_show.show("status", arguments)


def test_it_is_measured(others: Others) -> None:
    found = {family.name: dict(rows) for family, rows in metrics_cluster.rows()}
    assert found["tunrouter_cluster_hub_live"] == {("hub-2",): 1.0, ("hub-10",): 1.0}
    assert found["tunrouter_cluster_hub_hosts"] == {("hub-1",): 0.0, ("hub-2",): 3.0, ("hub-10",): 2.0}
    assert found["tunrouter_cluster_registry_up"] == {(others.of.redis.name,): 1.0}
    assert found["tunrouter_cluster_registry_messages"][(others.of.redis.name, "taken")] == 9.0
    assert found["tunrouter_cluster_link_rtt_seconds"] == {}
    for name in ("", "_rtt_seconds", "_loss_ratio"):
        assert found[f"tunrouter_cluster_link_datagram{name or 's'}"] == {}


def test_datagrams_of_links_are_shown_and_measured(others: Others, monkeypatch: pytest.MonkeyPatch) -> None:
    """hub-2 has a good channel, hub-10 a link without one; what a link is otherwise is in an e2e test."""
    figures = Figures("good", "", "192.0.2.1:9", 0.002, 0.001, 0.25, 1500, 7, 8)
    control = SimpleNamespace(liveness=SimpleNamespace(rtt=0.001), software="")
    with_one = SimpleNamespace(control=control, channel=SimpleNamespace(figures=lambda now: figures))
    without = SimpleNamespace(control=control, channel=None)
    links = {"hub-2": with_one, "hub-10": without}
    monkeypatch.setattr(others.of.links, "link_with", links.get)
    found = {family.name: dict(rows) for family, rows in metrics_cluster.rows()}
    assert found["tunrouter_cluster_link_datagrams"] == {("hub-2",): 1.0, ("hub-10",): 0.0}
    assert found["tunrouter_cluster_link_datagram_rtt_seconds"] == {("hub-2",): 0.002}
    assert found["tunrouter_cluster_link_datagram_loss_ratio"] == {("hub-2",): 0.25}
    view = ctl_cluster.view(others.now, CLOCK)
    schema.check(view, "cluster")
    assert {row["name"]: row["datagrams"] for row in view["hubs"]} == {
        "hub-1": None,
        "hub-2": "good",
        "hub-10": "none",
    }


def test_the_web_api_tells_it_and_says_where_there_is_none(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(own_hubs(), Shared())
    request: Any = None
    told = json.loads(looks.cluster(request).body)  # type: ignore[arg-type]
    schema.check(told, "cluster")
    assert told["total"]["live"] == 3
    monkeypatch.setattr(cluster_running, "clusters", list)
    with pytest.raises(Refused, match="in no cluster") as none:
        Looks(own_hubs(), Shared()).cluster(request)
    assert none.value.status == 409


def test_without_a_cluster_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_running, "clusters", list)
    with pytest.raises(ValueError, match="in no cluster"):
        ctl_cluster.view(0.0, 0.0)
    assert all(not rows for _, rows in metrics_cluster.rows())
