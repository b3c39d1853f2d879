"""The names of a hub's domain in a hosts file: they follow the hub's, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from lib import client_hosts, client_names_files, dns_answers, dns_hosts_file, stream_dns
from lib.client_hosts import HostsFile
from lib.dns_forward import Zone as Wanted
from lib.dns_zone import Zone
from lib.settings_names import NamesSettings

BEFORE = "127.0.0.1 localhost\n"
WANTED = Wanted(("10.20.0.1",), "tun.example")


class Hub:
    """What the hub answers."""

    def __init__(self) -> None:
        self.is_away = False
        self.zone = self.of("host-1", "host-2")

    def of(self, *hosts: str) -> Zone:
        return Zone(
            NamesSettings("tun.example"),
            [],
            ((host, bytes((10, 20, 0, 2 + at))) for at, host in enumerate(hosts)),
        )

    def ask(self, server: str, question: bytes, over_tcp: bool, seconds: float) -> bytes | None:
        assert (server, over_tcp) == ("10.20.0.1", False)
        return None if self.is_away else dns_answers.answer(question, self.zone)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr(stream_dns, "ask", made.ask)
    monkeypatch.setattr(client_hosts, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(client_hosts, "_NAME", f"\0tunrouter-test/hosts/{os.getpid()}/%d")
    monkeypatch.setattr(client_names_files, "is_of_others", lambda _: False)
    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(client_names_files, "say", lambda _, text, *words, **__: lines.append(text % words))
    return lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(BEFORE)
    return path


@pytest.fixture
def hosts(hub: Hub, said: list[str], file: Path) -> Iterator[HostsFile]:
    made = HostsFile(str(file))
    assert made.set("c", WANTED) == ""
    yield made
    made.remove("c")


def wait_for(file: Path, text: str, is_there: bool = True) -> None:
    with gevent.Timeout(5):
        while (text in file.read_text()) != is_there:
            gevent.sleep(0.01)


def test_the_file_has_the_names_of_the_hub_and_follows_them(hosts: HostsFile, hub: Hub, file: Path) -> None:
    wait_for(file, "10.20.0.3 host-2.tun.example\n")
    assert file.read_text().startswith(BEFORE)
    hub.zone = hub.of("host-1", "host-9")
    wait_for(file, "10.20.0.3 host-9.tun.example\n")
    assert "host-2" not in file.read_text()
    hub.is_away = True
    gevent.sleep(0.05)
    assert "host-9" in file.read_text(), "they stay while the hub is away"
    hosts.remove("c")
    assert file.read_text() == BEFORE


def test_what_others_take_out_is_put_back(hosts: HostsFile, file: Path) -> None:
    wait_for(file, "host-2")
    file.write_text("127.0.0.1 other\n")
    wait_for(file, "host-2")
    hosts.remove("c")
    assert file.read_text() == "127.0.0.1 other\n"


def test_what_others_write_right_after_us_is_no_work_of_ours(
    hosts: HostsFile, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, where it came before we had looked what our file is like: nobody put our names back."""
    wait_for(file, "host-2")
    state = client_names_files.state
    written: list[int] = []

    def late(path: str) -> tuple[int, ...]:
        if not written and "host-2" in file.read_text():
            written.append(file.write_text("127.0.0.1 other\n"))
        return state(path)

    hosts._written = None
    monkeypatch.setattr(client_names_files, "state", late)
    wait_for(file, "other")
    wait_for(file, "host-2")


def test_a_hub_that_lists_nothing_is_told_of_once(hub: Hub, said: list[str], file: Path) -> None:
    hub.zone = Zone(NamesSettings("other.example"), [], ())
    hosts = HostsFile(str(file))
    assert hosts.set("c", WANTED) == ""
    with gevent.Timeout(5):
        while not said:
            gevent.sleep(0.01)
    assert said[0].endswith("10.20.0.1 does not list the names of tun.example: the hub's release is older")
    hosts.remove("c")
    assert file.read_text() == BEFORE


def test_the_next_start_takes_away_what_a_killed_process_left(hosts: HostsFile, file: Path) -> None:
    file.write_text(dns_hosts_file.put(file.read_text(), 77, [("10.9.9.9", "gone.example")]))
    client_hosts.mend(str(file))
    assert dns_hosts_file.numbers(file.read_text()) == [1], "ours lives"
    client_hosts.mend(str(file.with_name("none")))


def test_a_file_that_cannot_be_written_is_said_and_nothing_runs(
    hub: Hub, said: list[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, _: object) -> None:
        raise PermissionError(30, "Read-only file system", path)

    monkeypatch.setattr(client_names_files, "change", refuse)
    hosts = HostsFile(str(file))
    assert hosts.set("c", WANTED) == f"{file}: Read-only file system"
    monkeypatch.undo()
    hosts.remove("c")
    assert file.read_text() == BEFORE
