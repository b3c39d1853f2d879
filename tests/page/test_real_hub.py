"""The page of a real hub with real traffic, view by view: what is asked for happens, and the page says so."""

from __future__ import annotations

import time

import pytest

from tests.support.netns import HUB_TO_HOST_1
from tests.support.page_stage import NOWHERE, URL, Stage, row
from tests.support.program import OVERLAY_1, OVERLAY_2, example, pings, reach, start_client


@pytest.mark.needs_root
class TestOfARealHub:
    """One after the other, in this order."""

    def test_both_hosts_are_up_and_their_prefixes_known(self, stage: Stage) -> None:
        tab = stage.open("hosts")
        tab.wait(f"{row('host-1')}?.querySelector('.dot.up')")
        tab.wait(f"{row('host-2')}?.textContent.includes('192.168.')")
        tab.wait("document.getElementById('live').textContent === 'live'")
        assert tab.errors == []
        tab.close()

    def test_traffic_is_a_rate_on_the_map(self, stage: Stage) -> None:
        tab = stage.open("map")
        tab.wait("document.querySelectorAll('.picture .node').length >= 4")
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
        seen = f"[...document.querySelectorAll('.rows .tr')].some((one) => one.textContent.includes('{NOWHERE}'))"
        until = time.monotonic() + 15
        while not tab.run(seen):  # when the hub has begun to look is not told
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

    def test_a_file_with_a_mistake_is_not_applied(self, stage: Stage) -> None:
        tab = stage.open("config")
        right = stage.config.read_text()
        stage.config.write_text(right.replace("listener: {type: tcp}", "listener: {type: tpc}"))
        try:
            tab.click("button", "Compare")
            tab.says("hub.yml:5:20")
            tab.says("tcp")
            assert "Apply" not in tab.run("document.querySelector('.result').textContent")
        finally:
            stage.config.write_text(right)
        tab.close()

    def test_a_kicked_host_comes_again(self, stage: Stage) -> None:
        tab = stage.open("hosts")
        tab.wait(row("host-1"))
        tab.go(URL + tab.run(f"{row('host-1')}.querySelector('a').getAttribute('href')"))
        tab.wait("document.querySelectorAll('.curve canvas, .curve .note').length === 4")
        lines = stage.clients["host-1"].line_count()
        tab.click("button", "Kick")
        tab.click("dialog button", "Kick")
        tab.says("1 session of host-1")
        stage.clients["host-1"].wait_line("connected to", after=lines)
        reach(stage.topology.host_2, OVERLAY_1)
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
