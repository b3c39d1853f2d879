"""What breaks at a real hub is seen on its page, in each view: nothing here is played."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.page.conftest import PICTURES
from tests.page.test_look import SIZES
from tests.support.chromium import Tab
from tests.support.page_stage import ADDRESSES, URL, Stage, row

pytestmark = pytest.mark.needs_root

PROBLEMS = {
    "drops": "dropping",
    "flaps": "flapping",
    "lossy": "loss",
    "twice": "address conflict",
    "stands": "queue stands",
    "leaves": "away",
}
"""Host -> what the page says of it, those first that are noticed first."""
PATIENCE = 30
WIDER = "[document.documentElement, ...document.querySelectorAll('main, .scroll, .rows .c-state')].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.className)"
"""What can be scrolled sideways: nothing should."""


@pytest.fixture(scope="module")
def broken(stage: Stage) -> Iterator[Tab]:
    """The hosts, seen while all was well, and then broken."""
    stage.more_hosts()
    tab = stage.open("hosts")
    for name in PROBLEMS:
        tab.wait(f"{row(name)}?.querySelector('.dot.up')")
        tab.wait(f"!{row(name)}.querySelector('.chip')")
    stage.break_all()
    yield tab
    assert tab.errors == []
    tab.close()


def _host(tab: Tab, name: str) -> str:
    """The address of a host's own view."""
    return URL + str(tab.run(f"{row(name)}.querySelector('a').getAttribute('href')"))


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_host_that_breaks_is_marked(broken: Tab, name: str) -> None:
    chips = f"[...({row(name)}?.querySelectorAll('.chip') ?? [])].map((one) => one.textContent)"
    broken.wait(f"{chips}.includes('{PROBLEMS[name]}')", PATIENCE)


def test_those_that_are_broken_are_on_top(broken: Tab) -> None:
    broken.wait(f"{row('leaves')}?.classList.contains('bad')", PATIENCE)
    assert broken.run(f"{row('leaves')}.getAttribute('aria-rowindex')") == "2"
    place = "Number({}.getAttribute('aria-rowindex'))"
    for name in PROBLEMS:
        assert broken.run(f"{place.format(row(name))} < {place.format(row('host-2'))}"), name
    assert int(broken.run("document.getElementById('problems').textContent")) >= len(PROBLEMS)


def test_the_map_shows_who_is_away(broken: Tab, stage: Stage) -> None:
    tab = stage.open("map")
    node = "[...document.querySelectorAll('.picture .node')].find((one) => one.textContent.includes('{}'))"
    tab.wait(f"{node.format('leaves')}?.classList.contains('away')", PATIENCE)
    assert tab.run(f"{node.format('host-2')}.classList.contains('away')") is False
    tab.close()


def test_a_host_says_what_is_wrong_and_what_to_do(broken: Tab, stage: Stage) -> None:
    broken.wait(f"{row('twice')}?.querySelector('.chip.bad')", PATIENCE)
    tab = stage.open("hosts")
    tab.wait(row("twice"))
    tab.go(_host(tab, "twice"))
    tab.says("both are alive")
    tab.says("give each machine a name of its own")
    tab.go(URL + "#/hosts")
    tab.wait(row("drops"))
    tab.go(_host(tab, "drops"))
    tab.says("no-route")
    tab.close()


def test_routes_strike_out_who_does_not_carry(broken: Tab, stage: Stage) -> None:
    tab = stage.open("routes")
    tab.type("section:last-child input[type=search]", ADDRESSES["leaves"])
    tab.wait("document.querySelector('.gateway.gone')?.textContent.includes('leaves')")
    tab.close()


def test_drops_say_whose_they_are(broken: Tab, stage: Stage) -> None:
    tab = stage.open("drops")
    tab.wait(
        "[...document.querySelectorAll('.drop .gateway')].some((one) => one.textContent.includes('drops'))"
    )
    tab.wait("document.querySelector('.drop.now')")
    tab.close()


def test_how_it_looks(broken: Tab, stage: Stage) -> None:
    """Pictures of each view, kept to be looked at; nothing is wider than the screen."""
    tab = stage.open("hosts")
    tab.wait(row("twice"))
    hosts = {name: "#" + _host(tab, name).partition("#")[2] for name in ("host-1", "twice")}
    views = {"hosts": "#/hosts", "map": "#/map", "routes": "#/routes", "drops": "#/drops", "trace": "#/trace"}
    for name, place in (views | hosts | {"config": "#/config"}).items():
        tab.go(URL + place)
        tab.wait(f"location.hash === '{place}' && document.querySelector('main h1')")
        _settle(tab, name)
        for width, height in SIZES:
            tab.size(width, height)
            for dark in (False, True):
                tab.theme(dark)
                tab.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
                tab.picture(PICTURES / f"real-{name}-{width}-{'dark' if dark else 'light'}.png")
            assert tab.run(WIDER) == [], (name, width)
    tab.close()


def _settle(tab: Tab, view: str) -> None:
    """Let a view have something to show."""
    if view == "trace":
        tab.click("button", "Start")
        tab.wait("document.querySelectorAll('.rows .tr').length > 3")
        tab.click("button", "Stop")
    elif view == "routes":
        tab.type("[name=from]", "host-1")
        tab.type("[name=to]", ADDRESSES["stands"])
        tab.click("button", "Explain")
        tab.says("It would")
    elif view == "config":
        tab.click("button", "Compare")
        tab.says("A reload would change nothing.")
    elif view in ("host-1", "twice"):
        tab.wait("document.querySelectorAll('.curve canvas, .curve .note').length === 4")
        tab.wait("Boolean(document.querySelector('#history'))")
    elif view == "drops":
        tab.says("What to do")
