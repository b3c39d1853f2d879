"""What the page costs with 1,000 hosts: bytes, time until something is seen, the longest task while it is scrolled."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from textwrap import indent

import pytest

from lib.wire_relay import Request
from tests.bench.memory import allow_descriptors
from tests.page.conftest import Opens
from tests.support.api import free_port
from tests.support.fake_page_server import FakeHub
from tests.support.netns import Process
from tests.support.program import TUNROUTER, example, unlimited
from tests.support.sessions import joined

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


def test_the_first_load_from_a_real_hub_with_a_thousand_hosts(opens: Opens, tmp_path: Path) -> None:
    """All bytes of a first visit, headers too, as the browser counts them: the list is compressed like the files."""
    allow_descriptors(1200)
    hub_port, page_port = free_port(), free_port()
    gateways = "".join(f"  - {{dst: {_prefix(number)}, gateway: host-{number}}}\n" for number in range(1000))
    text = unlimited(example("server.yml").replace(":8443", f"127.0.0.1:{hub_port}"))
    text = text.replace("    routes:\n", f"    routes:\n{indent(gateways, '    ')}", 1)
    (tmp_path / "hub.yml").write_text(f"{text}api: {{addr: '127.0.0.1:{page_port}'}}\n")
    hub = Process((*TUNROUTER, "-C", str(tmp_path / "hub.yml")), tmp_path / "hub.log")
    with ExitStack() as stack:
        stack.callback(hub.stop)
        hub.wait_line("web API on")
        for number in range(1000):
            request = Request(f"host-{number}", _prefix(number).partition("/")[0])
            stack.enter_context(joined(("127.0.0.1", hub_port), request)[0])
        tab = opens(f"http://127.0.0.1:{page_port}/")
        tab.says("All 1,000")
        tab.wait("document.getElementById('live').textContent === 'live'")
        assert 20_000 < tab.received <= MOST_BYTES
        listed = "performance.getEntriesByType('resource').find((one) => one.name.endsWith('/x/hosts'))"
        assert 2 * tab.run(f"{listed}.encodedBodySize") < tab.run(f"{listed}.decodedBodySize")
        painted = tab.wait("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        assert painted / 1000 <= MOST_SECONDS


def _prefix(number: int) -> str:
    return f"10.{number >> 8}.{number & 255}.0/24"
