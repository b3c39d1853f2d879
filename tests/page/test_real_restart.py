"""The page of a real hub that is killed and started anew while somebody looks: what is old is gone, and said to be."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lib.wire_relay import Request
from tests.page.conftest import Opens
from tests.support.api import free_port
from tests.support.chromium import Tab
from tests.support.netns import Process
from tests.support.page_stage import row
from tests.support.program import TUNROUTER, example
from tests.support.sessions import joined

LIVE = "document.getElementById('live').textContent === 'live'"
AGAIN = "document.getElementById('live').textContent.startsWith('connecting again')"
KEEP = "[...document.querySelectorAll('button')].some((one) => one.textContent === 'Keep it')"
USERS = "users: [{username: ada, password: s3cret}]"


class Hub:
    """A hub whose file and process a test changes."""

    def __init__(self, folder: Path, users: str) -> None:
        self.port, self._page = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._page}/"
        self.file, self._starts = folder / "hub.yml", 0
        text = example("server.yml").replace(":8443", f"127.0.0.1:{self.port}")
        self.file.write_text(f"{text}api: {{addr: '127.0.0.1:{self._page}', {users}}}\n")
        self.process = self._start()

    def _start(self) -> Process:
        self._starts += 1
        log = self.file.with_name(f"hub-{self._starts}.log")
        process = Process((*TUNROUTER, "-C", str(self.file), "--control", "none"), log)
        process.wait_line("listening on")
        return process

    def kill(self) -> None:
        self.process.send(signal.SIGKILL)
        self.process.wait(10)

    def start(self) -> None:
        self.process = self._start()

    def change_file(self) -> None:
        self.file.write_text(self.file.read_text().replace("192.168.100.0/24", "192.168.101.0/24"))


Begins = Callable[[str], Hub]


@pytest.fixture
def begins(tmp_path: Path) -> Iterator[Begins]:
    """Starts hubs, and ends them."""
    hubs: list[Hub] = []

    def begin(users: str) -> Hub:
        hubs.append(Hub(tmp_path, users))
        return hubs[-1]

    yield begin
    for hub in hubs:
        hub.process.stop()


def _in_vain(tab: Tab) -> None:
    """Leave out of the errors that the hub could not be asked while it was away, and that it wanted a login."""
    tab.errors[:] = [one for one in tab.errors if "net::ERR_" not in one and "status of 401" not in one]


def test_what_was_is_gone_and_is_not_said_to_be_undone(begins: Begins, opens: Opens) -> None:
    """A hub that was killed starts with what its files say, and here they say what nobody has kept."""
    hub = begins("")
    with ExitStack() as stack:
        stack.enter_context(joined(("127.0.0.1", hub.port), Request("host-1", "192.168.123.1"))[0])
        tab = opens(hub.url, "hosts")
        tab.wait(f"Boolean({row('host-1')})")
        tab.go(f"{hub.url}#/config")
        tab.says("192.168.100.0/24")
        hub.change_file()
        tab.click("button", "Compare")
        tab.says("router router-0: routes +1 -1")
        tab.click("button", "Apply")
        tab.click("dialog button", "Apply")
        tab.says("Keep this change?")
        hub.kill()
        tab.wait(AGAIN)
        hub.start()
        stack.enter_context(joined(("127.0.0.1", hub.port), Request("host-2", "192.168.123.2"))[0])
        tab.says("This change does not wait any more")
        tab.wait(LIVE)
        assert not tab.run(KEEP)
        tab.says("192.168.101.0/24")
        tab.click("button", "Compare")
        tab.says("A reload would change nothing.")
        tab.go(f"{hub.url}#/hosts")
        tab.wait(f"Boolean({row('host-2')})")
        assert not tab.run(f"Boolean({row('host-1')})")
        _in_vain(tab)


def test_who_has_logged_in_logs_in_again_and_is_where_they_were(begins: Begins, opens: Opens) -> None:
    """Sessions of browsers end with the process. A wrong password is told as one, and the next one is let in."""
    hub = begins(USERS)
    tab = opens(hub.url, "config")
    for again in range(2):
        for password, words in (
            ("wrong", "This user and password do not fit."),
            ("s3cret", "Compare with the files"),
        ):
            tab.wait("document.querySelector('[name=password]')")
            tab.type("[name=user]", "ada")
            tab.type("[name=password]", password)
            tab.press("Enter")
            tab.says(words)
        if not again:
            hub.kill()
            tab.wait(AGAIN)
            hub.start()
    hub.process.wait_line("web API: a wrong login from 127.0.0.1:")
    _in_vain(tab)
