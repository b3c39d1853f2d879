"""What a view shows can be read at every size: words, units and whole texts, and a reason where figures are missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.page.conftest import Opens
from tests.support.chromium import Tab
from tests.support.fake_page_server import FakeHub

Few = Callable[..., tuple[FakeHub, str]]
WIDTHS = (360, 768, 1000, 1280, 1440)

CUT = """(() => {
  const cut = (one) => one.offsetWidth && getComputedStyle(one).overflowX !== 'visible'
    && (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1);
  const letters = (text) => text.replace(/[^\\p{L}\\p{N}]/gu, '');
  const titles = (one) => [one.closest('.tr [title]'), ...one.querySelectorAll('[title]')].map((titled) => titled?.title ?? '');
  const told = (one) => {
    const all = letters(titles(one).join('')), texts = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) if (!all.includes(letters(texts.currentNode.data))) return false;
    return true;
  };
  const cells = [...document.querySelectorAll('.rows .tr > div')].flatMap((one) => [one, ...one.querySelectorAll('*')]);
  return [...document.querySelectorAll('.thead [role=columnheader]')].filter(cut)
    .concat(cells.filter((one) => cut(one) && !told(one)))
    .map((one) => one.className + ': ' + one.textContent);
})()"""
"""Titles of columns that are cut off, and cells whose whole text nothing tells to who points at them."""


def _drawn(tab: Tab, width: int) -> None:
    tab.size(width, 900)
    tab.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_navigation_has_words_at_every_size(few: Few, opens: Opens) -> None:
    _, url = few()
    tab = opens(url)
    tab.says("All 12")
    words = "[...document.querySelectorAll('.nav a > span')].map((one) => [one.textContent, one.offsetWidth > 12, one.offsetHeight > 8, one.scrollWidth <= one.clientWidth])"
    expected = ["Hosts", "Map", "Routes", "Cluster", "Drops", "Trace", "Config"]
    for width in WIDTHS:
        _drawn(tab, width)
        assert tab.run(words) == [[word, True, True, True] for word in expected], width


LONG = "a-host-whose-name-is-longer-than-any-column-has-room-for.site-17.example.org"


@pytest.mark.parametrize("view", ["hosts", "cluster", "routes", "trace"])
def test_what_is_cut_off_can_be_read_in_whole(few: Few, opens: Opens, view: str) -> None:
    hub, url = few()
    hub.rows[3].update(host=LONG, prefixes=[f"2001:db8:{number:x}::/48" for number in range(12)])
    hub.spoil(4, "conflict")["problems"].extend(["flapping", "dropping", "queue"])
    hub.hubs[2].update(
        name=f"hub-0-{LONG}", address=f"{LONG}:8444", software="tunrouter 0.9.0+built.by.us.20261127"
    )
    hub.lose("hub-9", "unreachable", "[Errno 111] Connection refused by 2001:db8:1234:5678::9 after 3 tries")
    hub.packets = [
        [
            hub.now,
            "answered",
            LONG,
            LONG,
            f"session of {LONG}",
            "",
            f"{'2001:db8:1234:5678:9abc:def0:1:2 > ' * 4}: UDP",
        ]
    ]
    tab = opens(url, view)
    if view == "trace":
        tab.click("button", "Start")
    tab.wait(f"document.querySelector('.rows').textContent.includes({LONG!r})")
    for width in WIDTHS:
        _drawn(tab, width)
        assert tab.run(CUT) == [], width


def _map_link(tab: Tab, host: str) -> list[object]:
    """(rates, whether they are in sight, whether they lie below the two lines of text) of a host's link."""
    found = tab.run(
        f"""(() => {{
          const node = [...document.querySelectorAll('.picture .node')].find((one) => one.querySelector('.name').textContent === {host!r});
          const rates = node.querySelector('.rates'), at = rates.getBoundingClientRect();
          const frame = document.querySelector('.picture').getBoundingClientRect(), behind = node.querySelector('.behind').getBoundingClientRect();
          return [rates.textContent, at.left >= frame.left && at.right <= frame.right, at.bottom > behind.bottom + 6];
        }})()"""
    )
    return list(found)


def test_links_of_the_map_have_rates_with_their_unit_on_a_phone(few: Few, opens: Opens) -> None:
    hub, url = few()
    hub.rows[3].update({"in": 1.5e6, "out": 2.5e5})
    hub.rows[4].update({"in": 0.0, "out": 0.0})
    busy, idle = hub.rows[3]["host"], hub.rows[4]["host"]
    tab = opens(url, "map", width=360, height=740)
    tab.wait("document.querySelectorAll('.picture .node').length === 12")
    assert _map_link(tab, busy) == ["↑ 12 Mbit/s  ↓ 2 Mbit/s", True, True]
    assert _map_link(tab, idle)[0] == "idle"
    hub.tick(lambda hub: hub.rows[3].update({"in": 3.0e6}))
    tab.wait("document.querySelector('.picture').textContent.includes('↑ 24 Mbit/s')")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_map_says_what_its_arrows_mean(few: Few, opens: Opens, width: int) -> None:
    _, url = few()
    tab = opens(url, "map", width=width)
    tab.wait("document.querySelectorAll('.picture .node').length === 12")
    assert "↑ to the hub, ↓ from it, in bit/s" in tab.text()


LONG_PACKET = "2001:db8:1234:5678::41 > 2001:db8:9abc::7: TCP 41000 > 443 [S], 1420 B"


@pytest.mark.parametrize(
    ("width", "packet"), [(360, LONG_PACKET), (768, "10.0.0.1 > 10.0.0.2: TCP 41000 > 443 [S], 1420 B")]
)
def test_a_trace_says_whose_packet_it_is_on_small_screens(
    few: Few, opens: Opens, width: int, packet: str
) -> None:
    hub, url = few()
    hub.packets = [[hub.now, "dropped", "hall-0001", "ward-0004", "", "no-route", packet]]
    tab = opens(url, "trace", width=width, height=740)
    tab.click("button", "Start")
    tab.says(packet)
    cells = """['from', 'to', 'packet', 'way', 'time'].map((name) => {
      const one = document.querySelector(`.rows .c-${name}`), row = one.closest('.tr').getBoundingClientRect(), at = one.getBoundingClientRect();
      return [name, one.offsetWidth > 20, one.scrollWidth <= one.clientWidth + 1 && one.scrollHeight <= one.clientHeight + 1, at.top >= row.top && at.bottom <= row.bottom];
    })"""
    names = ("from", "to", "packet", "way", "time")
    assert tab.run(cells) == [[name, True, True, True] for name in names]


def test_curves_without_figures_say_why_until_there_are_some(few: Few, opens: Opens) -> None:
    hub, url = few()
    hub.step = 1
    hub.rows[5]["software"] = ""  # a GOST client's round trip is not measured
    assert hub.curves(5, 0)["rtt"][-1] is None
    tab = opens(url, "host/5")
    tab.says("Not measured: clients of tunrouter are.")
    tab.wait("document.querySelectorAll('.curve canvas').length === 3")
    label = "document.querySelectorAll('.plot')[1].getAttribute('aria-label')"
    assert tab.run(label) == "Round trip: Not measured: clients of tunrouter are."
    hub.rows[5]["software"] = "tunrouter 0.9.0"
    tab.wait("document.querySelectorAll('.curve canvas').length === 4")
    assert "Not measured" not in tab.text()
    assert "Round trip over the last hour; now" in tab.run(label)


def test_what_somebody_types_is_shown_as_code(few: Few, opens: Opens) -> None:
    hub, url = few()
    hub.spoil(3, "away")
    hub.difference["warnings"] = [
        {"where": "hub.yml:1:1", "text": "`tunrouter check` says more", "hint": "run `tunrouter doctor`"}
    ]
    tab = opens(url, "host/3")
    codes = "[...document.querySelectorAll('main code')].map((one) => one.textContent)"
    tab.wait(f"{codes}.includes('tunrouter doctor')")
    assert "`" not in tab.text()
    tab = opens(url, "config")
    tab.click("button", "Compare")
    tab.wait(f"{codes}.includes('tunrouter check') && {codes}.includes('tunrouter doctor')")
    assert "`" not in tab.text()
    _, empty = few(hosts=0)
    tab = opens(empty)
    tab.wait(f"{codes}.includes('tunrouter invite NAME')")


def test_drops_say_of_what_they_are_the_number_and_whose(few: Few, opens: Opens) -> None:
    hub, url = few()
    tab = opens(url, "drops")
    tab.says("Dropped packets")
    text = tab.text()
    first = hub.drops()["drops"][0]
    total = sum(row["count"] for row in hub.drops()["drops"] if row["reason"] == first["reason"])
    assert f"{total:,} packets" in text
    assert "30 times" in text
    assert "hosts that are gone 60,000" in text
    assert "(ended)" not in text


def test_routes_and_their_steps_name_the_default_tenant_and_a_tenants_own_table(
    few: Few, opens: Opens
) -> None:
    _, url = few()
    tab = opens(url, "routes")
    tab.says("40 routes")
    tables = "[...document.querySelectorAll('.rows .c-table')].map((one) => one.textContent)"
    assert set(tab.run(tables)) == {"main", "the tenant's"}
    tab.type("[name=from]", "hall-0006")
    tab.type("[name=to]", "10.0.7.9")
    tab.click("button", "Explain")
    tab.says("It would be delivered.")
    steps = tab.run("document.querySelector('.steps').textContent")
    assert "default, 126 hosts" in steps
    assert "00000000" not in steps
