"""What the page costs with 1,000 hosts: bytes, time until something is seen, the longest task while it is scrolled."""

from __future__ import annotations

import threading

import pytest

from tests.page.conftest import Opens
from tests.support.fake_page_server import FakeHub

MOST_BYTES = 300_000
MOST_SECONDS = 1.0
LONGEST_TASK = 0.05

SCROLL = """(async () => {
  const one = document.querySelector('.scroll');
  for (let step = 0; step < 120; step += 1) {
    one.scrollTop += 300;
    await new Promise(requestAnimationFrame);
  }
})()"""


def test_little_is_transferred_and_soon_seen(many: tuple[FakeHub, str], opens: Opens) -> None:
    _, url = many
    tab = opens(url)
    tab.says("All 1,000")
    assert 20_000 < tab.received <= MOST_BYTES
    painted = tab.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
    assert painted / 1000 <= MOST_SECONDS


@pytest.mark.alone
def test_scrolling_a_thousand_live_hosts_holds_up_nothing(many: tuple[FakeHub, str], opens: Opens) -> None:
    hub, url = many
    tab = opens(url)
    tab.says("All 1,000")
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.3):
            hub.tick(FakeHub.breathe)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        events = tab.tasks(SCROLL)
    finally:
        ended.set()
        thread.join()
    main = {(one["pid"], one["tid"]) for one in events if one["name"] in ("FunctionCall", "UpdateLayoutTree")}
    tasks = [one for one in events if one["name"] == "RunTask" or one["name"].endswith("RunTask")]
    spent = [
        one.get("tdur", one["dur"]) / 1e6
        for one in tasks
        if (one["pid"], one["tid"]) in main and "dur" in one
    ]
    assert len(spent) > 100, "the trace has no tasks"
    assert max(spent) <= LONGEST_TASK
    assert tab.run("document.querySelector('.scroll').scrollTop") > 20_000
    assert tab.run("document.querySelectorAll('.rows .tr').length") < 60
