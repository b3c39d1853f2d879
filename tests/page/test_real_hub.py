"""The page of a real hub with real traffic: in each view something breaks, and the page says so."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM, NO_CHROMIUM, Chromium, Tab
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, example, host, pings, reach, start_client, start_hub

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)

URL = "http://127.0.0.1:18080/"
NOWHERE = "192.168.123.77"
"""An address in the hosts' network to which no route leads."""


class Stage:
    """A hub with two hosts, and its page in a browser beside it."""

    def __init__(self, topology: Topology, browser: Chromium, config: Path, clients: list[Process]) -> None:
        self.topology, self.browser, self.config, self.clients = topology, browser, config, clients

    def open(self, view: str) -> Tab:
        """The page at a view."""
        return self.browser.open(f"{URL}#/{view}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All tests here share it: each leaves it as it was."""
    place = tmp_path_factory.mktemp("hub")
    config = place / "hub.yml"
    config.write_text(example("server.yml") + "api: {addr: '127.0.0.1:18080'}\n")
    with Topology(place) as topology:
        start_hub(topology.hub, "-C", str(config)).wait_line("web API on 127.0.0.1:18080")
        clients = [
            start_client(topology.host_1, *host(1, HUB_TO_HOST_1)),
            start_client(topology.host_2, *host(2, HUB_TO_HOST_2)),
        ]
        reach(topology.host_1, OVERLAY_2)
        browser = Chromium(place / "profile", ("ip", "netns", "exec", topology.hub.name))
        try:
            yield Stage(topology, browser, config, clients)
        finally:
            browser.close()


def row(name: str) -> str:
    """A script: the row of a host, when it is there."""
    return f"[...document.querySelectorAll('.rows .tr')].find((one) => one.textContent.includes('{name}'))"


@pytest.mark.needs_root
class TestOfARealHub:
    """One after the other, in this order."""

    def test_both_hosts_are_up_and_their_prefixes_known(self, stage: Stage) -> None:
        tab = stage.open("hosts")
        tab.wait(f"{row('host-1')}?.querySelector('.dot.up')")
        tab.wait(f"{row('host-2')}?.textContent.includes('192.168.')")
        assert tab.run("document.getElementById('live').textContent") == "live"
        assert tab.errors == []
        tab.close()

    def test_traffic_is_a_rate_on_the_map(self, stage: Stage) -> None:
        tab = stage.open("map")
        tab.wait("document.querySelectorAll('.picture .node').length === 2")
        stage.topology.host_1.run("ping", "-q", "-f", "-c", "400", "-s", "1200", OVERLAY_2)
        tab.wait(
            "[...document.querySelectorAll('.picture .rates')].some((one) => /[1-9]/.test(one.textContent))"
        )
        tab.close()

    def test_a_packet_without_a_route_is_a_drop_with_a_remedy(self, stage: Stage) -> None:
        tab = stage.open("drops")
        tab.says("Nothing was dropped.")
        pings(stage.topology.host_1, NOWHERE, 2)
        tab.says("no-route")
        tab.says("What to do")
        tab.close()

    def test_where_a_packet_goes_is_what_the_hub_decides(self, stage: Stage) -> None:
        tab = stage.open("routes")
        tab.wait("document.querySelectorAll('.rows .tr').length > 1")
        for address, verdict in (
            (OVERLAY_2, "It would be delivered."),
            (NOWHERE, "It would not be delivered."),
        ):
            tab.type("[name=from]", "host-1")
            tab.type("[name=to]", address)
            tab.click("button", "Explain")
            tab.says(verdict)
        tab.close()

    def test_packets_are_traced_as_they_pass(self, stage: Stage) -> None:
        tab = stage.open("trace")
        tab.type("[name=filter]", f"host {NOWHERE}")
        tab.click("button", "Start")
        until = time.monotonic() + 15
        while not tab.run(f"Boolean({row(NOWHERE)})"):  # when the hub has begun to look is not told
            assert time.monotonic() < until, tab.text()
            pings(stage.topology.host_1, OVERLAY_2, 1)
            pings(stage.topology.host_1, NOWHERE, 1)
        assert OVERLAY_2 not in tab.run("document.querySelector('.rows').textContent")
        tab.close()

    def test_a_reload_is_shown_and_applied(self, stage: Stage) -> None:
        tab = stage.open("config")
        tab.says("services")
        tab.click("button", "Compare")
        tab.says("A reload would change nothing.")
        stage.config.write_text(stage.config.read_text().replace("192.168.100.0/24", "192.168.101.0/24"))
        tab.click("button", "Compare")
        tab.click("button", "Apply")
        tab.click("dialog button", "Apply")
        tab.click("button", "Keep it")
        tab.says("The change is kept.")
        tab.says("192.168.101.0/24")
        tab.close()

    def test_a_kicked_host_comes_again(self, stage: Stage) -> None:
        tab = stage.open("hosts")
        tab.wait(row("host-1"))
        tab.go(URL + tab.run(f"{row('host-1')}.querySelector('a').getAttribute('href')"))
        tab.wait("document.querySelectorAll('.curve canvas').length === 4")
        lines = stage.clients[0].line_count()
        tab.click("button", "Kick")
        tab.click("dialog button", "Kick")
        tab.says("1 session of host-1")
        stage.clients[0].wait_line("connected to", after=lines)
        reach(stage.topology.host_2, OVERLAY_1)
        tab.close()

    def test_a_host_that_dies_goes_to_the_top(self, stage: Stage) -> None:
        tab = stage.open("hosts")
        tab.wait(f"{row('host-2')}?.querySelector('.dot.up')")
        stage.clients[1].send(signal.SIGKILL)
        tab.wait(f"{row('host-2')}?.querySelector('.dot.away')")
        tab.wait("document.querySelector('.rows .tr.bad')?.textContent.includes('host-2')", 30)
        assert tab.errors == []
        tab.close()

    def test_the_name_of_a_stranger_stays_text(self, stage: Stage) -> None:
        text = example("client.yml", HUB_TO_HOST_1).replace("route: 192.168.200.0/24", "name: evil0")
        text = text.replace("192.168.123.1/24", "192.168.124.9/24")
        assert text.count("addr: host-1") == 1
        file = stage.config.with_name("evil.yml")
        evil = "'<img src=x onerror=document.title=7531>'"
        file.write_text(text.replace("addr: host-1", f"addr: {evil}"))
        start_client(stage.topology.host_1, "-C", str(file))
        for view in ("hosts", "map"):
            tab = stage.open(view)
            tab.says("<img src=x onerror=")
            assert tab.run("document.querySelectorAll('main img').length") == 0
            assert "7531" not in tab.run("document.title")
            assert tab.errors == []
            tab.close()
