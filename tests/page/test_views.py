"""Each view of the page against a hub that is played: something breaks, and the page says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.page.conftest import Opens
from tests.support.chromium import Tab
from tests.support.fake_page_server import FakeHub

Few = Callable[..., tuple[FakeHub, str]]
Many = tuple[FakeHub, str]

NAMES = "[...document.querySelectorAll('.rows .tr')].sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex')).map((row) => row.querySelector('.name').textContent)"
"""The hosts that are drawn, from top to bottom."""


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("away", "away"),
        ("flapping", "flapping"),
        ("dropping", "dropping"),
        ("silent", "silent"),
        ("queue", "queue stands"),
        ("conflict", "address conflict"),
        ("loss", "loss"),
    ],
)
def test_a_host_that_gets_a_problem_goes_to_the_top(few: Few, opens: Opens, problem: str, words: str) -> None:
    hub, url = few()
    tab = opens(url)
    tab.wait(f"{NAMES}.length === 12")
    name = hub.rows[9]["host"]
    assert tab.run(NAMES)[0] != name
    hub.tick(lambda hub: hub.spoil(9, problem))
    tab.wait(f"{NAMES}[0] === {name!r}")
    assert words in tab.run("document.querySelector('.rows .tr[aria-rowindex=\"2\"]').textContent")
    assert tab.run("document.getElementById('problems').textContent") == "1"
    hub.tick(lambda hub: hub.rows[9].update(problems=[], state="up"))
    tab.wait(f"{NAMES}[0] !== {name!r}")


def test_hosts_are_searched_sorted_and_chosen_by_tenant(many: Many, opens: Opens) -> None:
    hub, url = many
    tab = opens(url)
    tab.says("All 1,000")
    tab.type("input[type=search]", f"{hub.rows[259]['host']} farm")
    tab.wait(f"{NAMES}.length === 1")
    assert tab.run(NAMES) == [hub.rows[259]["host"]]
    tab.type("input[type=search]", f"{hub.rows[259]['host']} ships")
    tab.says("No host fits this search.")
    tab.type("input[type=search]", " ")
    tab.click(".thead button", "In")
    most = max(row["in"] for row in hub.rows.values())
    fastest = [row["host"] for row in hub.rows.values() if row["in"] == most]
    tab.wait(f"{fastest}.includes({NAMES}[0])")
    tab.run(
        "(() => { const one = document.querySelector('.tools select'); one.value = [...one.options].find((o) => o.text.startsWith('Ships')).value; one.dispatchEvent(new Event('change')); })()"
    )
    tab.says("All 125")
    tab.click(".either button", "Problems")
    wrong = sum(bool(row["problems"]) for row in hub.rows.values() if row["ns"] == hub.rows[7]["ns"])
    tab.wait(f"document.querySelectorAll('.rows .tr').length === {wrong}")


def test_hosts_come_and_go(few: Few, opens: Opens) -> None:
    hub, url = few()
    tab = opens(url)
    tab.says("All 12")
    gone = hub.rows[2]["host"]
    assert gone in tab.run(NAMES)

    def another(hub: FakeHub) -> None:
        hub.rows[99] = {**hub.rows[1], "id": 99, "host": "the-new-one"}
        del hub.rows[2]

    hub.tick(another)
    tab.says("the-new-one")
    tab.wait(f"{NAMES}.length === 12 && !{NAMES}.includes({gone!r})")


def test_a_stream_that_is_cut_is_taken_up_again(few: Few, opens: Opens) -> None:
    hub, url = few()
    tab = opens(url)
    tab.wait("document.getElementById('live').textContent === 'live'")
    hub.cut()
    tab.wait(
        "performance.getEntriesByType('resource').filter((one) => one.name.includes('/x/events')).length >= 1"
    )
    hub.tick(lambda hub: hub.rows[1].update(host="after-the-cut"))
    tab.says("after-the-cut")
    tab.wait("document.getElementById('live').textContent === 'live'")


def test_what_was_missed_for_too_long_is_read_anew(few: Few, opens: Opens) -> None:
    hub, url = few()
    tab = opens(url)
    tab.wait("document.getElementById('live').textContent === 'live'")
    hub.seq += 100  # as a hub that was started anew: no difference leads there
    hub.rows[1]["host"] = "known-only-by-a-snapshot"
    hub.cut()
    tab.says("known-only-by-a-snapshot")


def test_the_map_shows_tenants_then_hosts_and_what_breaks(many: Many, opens: Opens) -> None:
    hub, url = many
    tab = opens(url, "map")
    tab.wait("document.querySelectorAll('.picture .node').length === 8")
    assert "125 hosts" in tab.text()
    tab.run(
        "[...document.querySelectorAll('.picture .node')].find((one) => one.textContent.includes('Lab 4')).dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    tab.wait("document.querySelectorAll('.picture .node').length === 40")
    assert "40 of 125 hosts" in tab.text()
    row = next(row for row in hub.rows.values() if row["ns"] == hub.rows[5]["ns"] and not row["problems"])
    tab.type("input[type=search]", row["host"])
    tab.wait("document.querySelectorAll('.picture .node').length === 1")
    assert "away" not in tab.run("document.querySelector('.picture').textContent")
    hub.tick(lambda hub: hub.spoil(row["id"], "away"))
    tab.wait("document.querySelector('.picture .node.away')?.textContent.includes('away')")


def test_routes_are_listed_page_by_page_and_searched(many: Many, opens: Opens) -> None:
    _, url = many
    tab = opens(url, "routes")
    tab.says("100,000 routes")
    tab.wait("document.querySelector('.scroll').getAttribute('aria-rowcount') === '101'")
    tab.run("document.querySelector('.scroll').scrollTop = 1e6")
    tab.wait("Number(document.querySelector('.scroll').getAttribute('aria-rowcount')) > 200")
    tab.type("section:last-child input[type=search]", "10.1.2.3/32")
    tab.wait("document.querySelectorAll('.rows .tr').length === 1")
    assert "10.1.2.3/32" in tab.run("document.querySelector('.rows .tr').textContent")


def test_a_search_for_routes_that_the_hub_refuses_says_why(many: Many, opens: Opens) -> None:
    _, url = many
    tab = opens(url, "routes")
    tab.says("100,000 routes")
    tab.type("section:last-child input[type=search]", "10/error")
    tab.says("is no prefix write one, such as 10.0.0.0/8")
    tab.errors = [
        one for one in tab.errors if "400" not in one
    ]  # the browser's own line about a refused request


@pytest.mark.parametrize(
    ("address", "verdict"),
    [("10.0.7.9", "It would be delivered."), ("192.0.2.9", "It would not be delivered.")],
)
def test_where_a_packet_would_go_is_drawn_as_steps(
    many: Many, opens: Opens, address: str, verdict: str
) -> None:
    _, url = many
    tab = opens(url, "routes")
    tab.type("[name=from]", "hall-0006")
    tab.type("[name=to]", address)
    tab.click("button", "Explain")
    tab.says(verdict)
    assert tab.run("document.querySelectorAll('.steps li').length") == 6


def test_drops_say_what_to_do(many: Many, opens: Opens) -> None:
    hub, url = many
    tab = opens(url, "drops")
    tab.says("Dropped packets")
    first = hub.drops()["drops"][0]
    assert first["remedy"] in tab.text()
    assert "Refused clients" in tab.text()
    assert "Where they were going" in tab.text()


def test_a_hub_of_the_cluster_that_is_gone_is_on_top(few: Few, opens: Opens) -> None:
    hub, url = few()
    tab = opens(url, "cluster")
    tab.says("30 of 30 hubs live, 4,650 hosts, 4,680 sessions")
    assert tab.run(NAMES)[:2] == ["hub-1", "hub-2"]
    hub.lose("hub-23", "gone")
    hub.lose("hub-4", "unreachable", "Connection refused")
    tab.says("29 of 30 hubs live, 4,420 hosts")
    tab.says("says nothing: its hosts are gone")
    tab.says("no link with it: Connection refused")
    assert tab.run(NAMES)[:3] == ["hub-23", "hub-4", "hub-1"]


def test_without_a_cluster_there_is_no_view_of_one(few: Few, opens: Opens) -> None:
    _, url = few(role="tenant")
    tab = opens(url, "cluster")
    tab.says("Cluster is not for the role tenant")
    assert not tab.run("document.getElementById('to-cluster')")


def test_one_host_has_curves_sessions_and_flows(many: Many, opens: Opens) -> None:
    hub, url = many
    tab = opens(url, "host/26")
    tab.wait("document.querySelectorAll('.curve canvas').length === 4")
    tab.says("Flows that carry most now")
    tab.wait(f"document.querySelector('h1').textContent === {hub.rows[26]['host']!r}")
    tab.says("10.1.0.1:443")
    assert hub.rows[26]["prefixes"][0] in tab.text()
    hub.tick(lambda hub: hub.spoil(26, "dropping"))
    tab.says("1,234 packets in the last 30 s: no-route")


@pytest.mark.parametrize(("word", "path"), [("Kick", "kick"), ("Drain", "drain")])
def test_kick_and_drain_ask_first(few: Few, opens: Opens, word: str, path: str) -> None:
    hub, url = few()
    tab = opens(url, "host/3")
    tab.click("button", word)
    tab.wait("document.querySelector('dialog[open]')")
    tab.press("Escape")
    tab.wait("!document.querySelector('dialog')")
    assert hub.asked == []
    tab.click("button", word)
    tab.click("dialog button", word)
    tab.says("1 session of")
    assert hub.asked == [(f"/x/hosts/3/{path}", {})]


def test_a_viewer_has_no_buttons(few: Few, opens: Opens) -> None:
    _, url = few(role="viewer")
    tab = opens(url, "host/3")
    tab.says("Sessions")
    assert tab.run("[...document.querySelectorAll('main button')].length") == 0


def test_a_tenant_sees_no_configuration(few: Few, opens: Opens) -> None:
    _, url = few(role="tenant")
    tab = opens(url, "config")
    tab.says("Config is not for the role tenant")
    tab.says("All 12")
    assert "Config" not in tab.run("document.getElementById('nav').textContent")


def test_a_trace_shows_packets_as_they_pass(few: Few, opens: Opens) -> None:
    hub, url = few()
    hub.packets.append(
        [hub.now, "dropped", "hall-0001", "", "", "no-route", "10.0.0.1 > 192.0.2.7: UDP 5 > 53"]
    )
    tab = opens(url, "trace")
    tab.click("button", "Start")
    tab.says("UDP 5 > 53")
    tab.says("no-route")
    tab.says("2 packets, 7 more were not shown")
    tab.click("button", "Stop")
    tab.type("[name=filter]", "nonsense")
    tab.click("button", "Start")
    tab.says("is no word of a filter")
    tab.errors = [one for one in tab.errors if "400" not in one]


def test_a_reload_is_shown_before_it_is_applied(few: Few, opens: Opens) -> None:
    hub, url = few()
    tab = opens(url, "config")
    tab.says("handshakeTimeout: 5s")
    tab.click("button", "Compare")
    tab.says("+  handshakeTimeout: 10s")
    assert hub.asked == []
    tab.click("button", "Apply")
    tab.click("dialog button", "Apply")
    tab.says("It is in force.")
    tab.says("Keep this change?")
    tab.go("about:blank")
    tab.go(f"{url}#/config")  # who comes back still finds it
    tab.click("button", "Keep it")
    tab.says("The change is kept.")
    assert hub.asked == [("/x/config/reload?confirm=60s", {"stamp": "s1"}), ("/x/confirm", {"id": "c1"})]


def test_a_change_may_be_applied_without_asking_again(few: Few, opens: Opens) -> None:
    hub, url = few()
    tab = opens(url, "config")
    tab.click("button", "Compare")
    tab.click(".check input")
    tab.click("button", "Apply")
    tab.click("dialog button", "Apply")
    tab.says("It is in force.")
    assert hub.asked == [("/x/config/reload", {"stamp": "s1"})]


def test_a_file_with_mistakes_cannot_be_applied(few: Few, opens: Opens) -> None:
    hub, url = few()
    hub.difference = {
        **hub.difference,
        "problems": [{"where": "hub.yml:3:1", "text": "no such type: tnu", "hint": "write tun"}],
        "changes": [],
    }
    tab = opens(url, "config")
    tab.click("button", "Compare")
    tab.says("hub.yml:3:1")
    tab.says("write tun")
    assert tab.run("document.querySelectorAll('.result button').length") == 0


def _log_in(tab: Tab, password: str) -> None:
    tab.type("[name=user]", "ada")
    tab.type("[name=password]", password)
    tab.press("Enter")


def test_a_login_is_asked_for_and_ends(few: Few, opens: Opens) -> None:
    _, url = few(login=True)
    tab = opens(url)
    tab.says("Password")
    _log_in(tab, "wrong")
    tab.says("This user and password do not fit.")
    tab.errors = [one for one in tab.errors if "401" not in one]
    _log_in(tab, "right")
    tab.says("All 12")
    tab.click("button", "Log out")
    tab.says("Password")


def test_strangers_names_stay_text(few: Few, opens: Opens) -> None:
    hub, url = few()
    evil = "<img src=x onerror=\"document.title='owned'\">"
    for row in hub.rows.values():
        row.update(host=evil, peer=evil, address=evil, prefixes=[evil])
    hub.packets = [[hub.now, "forwarded", evil, evil, evil, evil, evil]]
    hub.difference["changes"][0].update(service=evil, lines=[evil])
    hub.hubs[1].update(name=evil, error=evil, address=evil, software=evil)
    for view in ("hosts", "map", "routes", "cluster", "drops", "host/3", "trace", "config"):
        tab = opens(url, view)
        if view in ("trace", "config"):
            tab.click("button", "Start" if view == "trace" else "Compare")
        if view == "drops":
            tab.says("Dropped packets")
        else:
            tab.wait("document.querySelector('main').textContent.includes('<img src=x')")
        assert tab.run("document.querySelectorAll('main img').length") == 0
        assert "owned" not in tab.run("document.title").split(" · ")[0].replace(evil, "")
