"""What every test may use: the needs_root and alone markers, and namespaces as fixtures.

A test which takes a namespace fixture, or is marked needs_root, is skipped with a reason without root.
`make test` runs several tests at once (pytest-xdist); one that is marked alone has the machine for itself.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO

import gevent
import pytest
from hypothesis import settings

from lib import log_setup
from lib.log_dedup import Fold
from lib.log_troubles import Troubles
from lib.session_codel import Codel
from tests.support.netns import Namespace, Topology

# No deadline: a busy machine is no failure. No database: a run owes nothing to the runs before it.
settings.register_profile("same", deadline=None, database=None, derandomize=True)
"""The same inputs in every run, here and in CI: a test that was green stays green until something has changed."""
settings.register_profile("random", deadline=None, database=None, print_blob=True, derandomize=False)
"""Other inputs in every run: `make fuzz` asks for it with --hypothesis-profile."""
settings.load_profile("same")

_ROOT_FIXTURES = frozenset({"namespace", "topology"})
_running: list[IO[str]] = []
"""The lock of the test that runs, and of no more than it."""


def pytest_configure(config: pytest.Config) -> None:
    if threading.current_thread() is threading.main_thread():  # nohup, or a shell's &, may have them ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so would every program under test
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "needs_root: needs root, for TUN devices and network namespaces")
    config.addinivalue_line("markers", "alone: judges speed or loss, so nothing else may run beside it")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = _places(items)
    items.sort(key=lambda item: place[item.path])
    # Beside the unit tests, which are short: first, all by one worker, while the others need not wait for long. Else
    # last: a worker that steals one of them from another (--dist worksteal) would wait for a long test elsewhere.
    are_quick = sum("unit" in item.path.parts for item in items) > len(items) // 2
    items.sort(key=lambda item: _is_alone(item) is not are_quick)
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root, for TUN devices and network namespaces")
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.get_closest_marker("needs_root") or _ROOT_FIXTURES.intersection(fixtures):
            item.add_marker(skip)


def _places(items: list[pytest.Item]) -> dict[Path, float]:
    """Where in the run each file comes: files of every directory are spread over all of it.

    Unit tests compute, others mostly wait for programs: each worker has some of both at any time.
    """
    counts: Counter[Path] = Counter(item.path.parent for item in items)
    seen: Counter[Path] = Counter()
    places: dict[Path, float] = {}
    for item in items:
        directory = item.path.parent
        places.setdefault(item.path, seen[directory] / counts[directory])
        seen[directory] += 1
    return places


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from what is collected here, for good: each of its rounds would go through all of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Let no test that is marked alone run beside another one of this run.

    Who wants to begin passes the turnstile, which a test that waits to be alone holds: nobody overtakes it. What is
    alone and comes next in the same worker goes on at once: all others would wait anew, for one another.
    """
    if not hasattr(item.config, "workerinput"):  # without pytest-xdist nothing runs beside it
        return (yield)
    common = Path(item.config.option.basetemp).parent
    if not _running:
        with _locked(common / "turnstile.lock", fcntl.LOCK_EX):
            how = fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH
            _running.append(_locked(common / "running.lock", how))
    try:
        return (yield)
    finally:
        if not (_is_alone(item) and _is_alone(nextitem)):
            _running.pop().close()


def _is_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """After all that pytest says: how many tests a real GOST, or a systemd-resolved, would have run."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker of pytest-xdist: the one that started it speaks
        return
    from tests.support.chromium import NO_CHROMIUM
    from tests.support.program import NO_GOST  # late: tests/binary first says which executable it is about
    from tests.support.redis_local import NO_VALKEY
    from tests.support.resolved import NO_RESOLVED

    for reason, what in (
        (NO_GOST, "a real GOST v3: put gost into PATH, or set GOST_BIN"),
        (NO_VALKEY, "a Valkey: put valkey-server into PATH (CONTRIBUTING.md)"),
        (NO_CHROMIUM, "chromium: as root, make tools-page installs it"),
        (NO_RESOLVED, "systemd-resolved and dbus-daemon: make tools-resolved unpacks the one"),
    ):
        skipped = sum(reason in str(report.longrepr) for report in reporter.stats.get("skipped", ()))
        if skipped:
            tests = "1 test was" if skipped == 1 else f"{skipped} tests were"
            reporter.write_line(f"{tests} skipped for want of {what}")


@pytest.fixture(autouse=True)
def right_time() -> None:
    """Set the event loop's clock, which stands still between tests: a time-out that begins by it is over at once."""
    gevent.get_hub().loop.update_now()


@pytest.fixture(autouse=True)
def nothing_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test log the sum of lines that another one's events were folded into, or tell of its troubles."""
    monkeypatch.setattr(log_setup, "_fold", Fold())
    monkeypatch.setattr(log_setup, "_troubles", Troubles())


@pytest.fixture
def no_codel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CoDel drop nothing, where order or completeness is judged: on a busy machine packets wait long enough for it."""
    monkeypatch.setattr(Codel, "due", lambda *_: 0)


@pytest.fixture
def own_children() -> Iterator[None]:
    """Let the event loop wait for children in this test only; else subprocess would miss how they ended."""
    yield
    gevent.get_hub().loop.reset_sigchld()


def _locked(path: Path, how: int) -> IO[str]:
    """A file with this lock on it, until it is closed."""
    file = path.open("a")
    fcntl.flock(file, how)
    return file


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    """One network namespace with nothing but its loopback."""
    with Namespace("lone", tmp_path) as made:
        yield made


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Topology]:
    """A hub and two hosts in namespaces of their own, joined by veth pairs."""
    with Topology(tmp_path) as made:
        yield made


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a configuration file; returns its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file
