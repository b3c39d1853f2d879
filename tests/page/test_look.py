"""How every view looks at three sizes in both themes: pictures are kept, nothing overflows, axe finds nothing serious."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.page.conftest import PICTURES, Opens
from tests.support.chromium import Tab
from tests.support.fake_page_server import FakeHub

AXE = (Path(__file__).resolve().parents[1] / "data" / "axe" / "axe.min.js").read_text(encoding="utf-8")
SIZES = ((360, 740), (768, 1024), (1440, 900))
SERIOUS = """axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations
  .filter((one) => one.impact === 'serious' || one.impact === 'critical')
  .map((one) => one.id + ': ' + one.nodes.slice(0, 3).map((node) => node.target + ' ' + node.failureSummary).join(' | ')))"""

IN_THE_MIDDLE = """(({left, right, top, bottom}) =>
  [Math.abs(left - (innerWidth - right)) < 2, top > 40 && bottom < innerHeight - 40]
)(document.querySelector('.login').getBoundingClientRect())"""


def _explained(tab: Tab) -> None:
    tab.type("[name=from]", "hall-0006")
    tab.type("[name=to]", "10.0.7.9")
    tab.click("button", "Explain")
    tab.says("It would")


def _traced(tab: Tab) -> None:
    tab.click("button", "Start")
    tab.says("echo request")


def _compared(tab: Tab) -> None:
    tab.click("button", "Compare")
    tab.says("Apply")


def _drawn(tab: Tab) -> None:
    tab.wait("document.querySelectorAll('.curve canvas, .curve .note').length === 4")
    tab.wait("Boolean(document.querySelector('#history'))")


VIEWS = {
    "hosts": lambda tab: tab.says("All 1,000"),
    "map": lambda tab: tab.says("125 hosts"),
    "routes": _explained,
    "cluster": lambda tab: tab.says("29 of 30 hubs live"),
    "drops": lambda tab: tab.says("What to do"),
    "host/24": _drawn,
    "host/11": _drawn,
    "trace": _traced,
    "config": _compared,
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_every_screen_and_reader(many: tuple[FakeHub, str], opens: Opens, view: str) -> None:
    _, url = many
    tab = opens(url, view)
    VIEWS[view](tab)
    tab.run(AXE + ";0")
    for width, height in SIZES:
        tab.size(width, height)
        for dark in (False, True):
            tab.theme(dark)
            tab.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            name = f"{view.replace('/', '-')}-{width}-{'dark' if dark else 'light'}"
            tab.picture(PICTURES / f"{name}.png")
            if width != 768:
                assert tab.run(SERIOUS) == [], name
        wide = tab.run(
            "[document.documentElement.scrollWidth - innerWidth, (({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.querySelector('main'))]"
        )
        assert wide == [0, 0], f"{view} is wider than {width}"


def test_the_login_fits_every_screen_and_reader(
    opens: Opens, few: Callable[..., tuple[FakeHub, str]]
) -> None:
    _, url = few(login=True)
    tab = opens(url)
    tab.says("Password")
    tab.run(AXE + ";0")
    for width, height in SIZES:
        tab.size(width, height)
        for dark in (False, True):
            tab.theme(dark)
            tab.picture(PICTURES / f"login-{width}-{'dark' if dark else 'light'}.png")
            assert tab.run(SERIOUS) == []
        assert tab.run(IN_THE_MIDDLE) == [True, True], f"the form is not in the middle of {width}"


def test_the_page_has_landmarks_and_one_heading(many: tuple[FakeHub, str], opens: Opens) -> None:
    _, url = many
    tab = opens(url)
    tab.says("All 1,000")
    found = tab.run("['header', 'nav', 'main', 'h1'].map((name) => document.querySelectorAll(name).length)")
    assert found == [1, 1, 1, 1]
    assert tab.run("document.querySelector('nav [aria-current=page]').textContent").startswith("Hosts")


def test_hosts_are_gone_through_by_keys(many: tuple[FakeHub, str], opens: Opens) -> None:
    _, url = many
    tab = opens(url)
    tab.says("All 1,000")
    tab.run("document.querySelector('.scroll').focus()")
    where = "document.activeElement.closest('.tr')?.getAttribute('aria-rowindex')"
    tab.press("ArrowDown")
    assert tab.run(where) == "2"
    tab.press("ArrowDown")
    assert tab.run(where) == "3"
    tab.press("End")
    assert tab.run(where) == "1001"
    tab.press("Home")
    assert tab.run(where) == "2"
    tab.press("PageDown")
    assert int(tab.run(where)) > 8
    tab.press("Enter")
    tab.says("Flows that carry most now")
    assert tab.run("location.hash").startswith("#/host/")
