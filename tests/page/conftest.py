"""A browser for all tests of the page, a hub that is played, and a tab whose console has to stay clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support import program
from tests.support.chromium import CHROMIUM, NO_CHROMIUM, Chromium, Tab
from tests.support.fake_page_server import FakeHub, serving
from tests.support.netns import Topology
from tests.support.page_stage import Stage

PICTURES = Path(__file__).resolve().parents[2] / "build" / "page"
"""Where pictures of every view are kept."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not CHROMIUM:
        skip = pytest.mark.skip(reason=NO_CHROMIUM)
        for item in items:
            needs = {"browser", "stage"}.intersection(getattr(item, "fixturenames", ()))
            if "tests/page/" in str(item.path) and needs:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One Chromium; each tab has cookies of its own."""
    found = Chromium(tmp_path_factory.mktemp("chromium") / "profile")
    yield found
    found.close()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A real hub with hosts: all tests share it, and each leaves it as it was."""
    place = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch, Topology(place) as topology, ExitStack() as stack:
        patch.setattr(program, "COPIES", True)
        yield Stage(topology, place, stack)


class Opens(Protocol):
    """Opens a tab at a view."""

    def __call__(
        self, url: str, view: str = "hosts", width: int = 1440, height: int = 900, dark: bool = False
    ) -> Tab: ...


@pytest.fixture
def opens(browser: Chromium) -> Iterator[Opens]:
    """Opens tabs, closes them; no console error may be left, and nothing may have been asked of another place."""
    tabs: list[tuple[Tab, str]] = []

    def open_tab(
        url: str, view: str = "hosts", width: int = 1440, height: int = 900, dark: bool = False
    ) -> Tab:
        tab = browser.open(f"{url}#/{view}", width, height, dark)
        tabs.append((tab, url))
        return tab

    yield open_tab
    for tab, _ in tabs:
        tab.close()
    for tab, url in tabs:
        assert not tab.errors
        assert [one for one in tab.requests if not one.startswith((url, "data:", "about:"))] == []


@pytest.fixture(scope="module")
def many() -> Iterator[tuple[FakeHub, str]]:
    """A hub with 1,000 hosts, 100,000 routes and a dozen problems; its page's address."""
    hub = FakeHub()
    hub.trouble()
    hub.rows[53]["host"] = "<img src=x onerror=alert(1)>"
    with serving(hub) as url:
        yield hub, url


@pytest.fixture
def few() -> Iterator[Callable[..., tuple[FakeHub, str]]]:
    """Makes small hubs, each for one test: its arguments are FakeHub's."""
    with ExitStack() as stack:

        def make(hosts: int = 12, **more: object) -> tuple[FakeHub, str]:
            hub = FakeHub(hosts=hosts, routes=40, **more)  # type: ignore[arg-type]
            return hub, stack.enter_context(serving(hub))

        yield make
