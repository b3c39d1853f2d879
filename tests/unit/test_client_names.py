"""Names of a hub's domain on a client: what is believed of the hub, and what systemd-resolved is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NoReturn

import gevent
import pytest

from lib import client_names, dns_resolv_conf
from lib.client_names import Names, Wanted, objection

pytestmark = pytest.mark.usefixtures("own_children")

DNS = ("10.20.0.1",)


@pytest.mark.parametrize(
    ("dns", "domain", "hubs", "said"),
    [
        (DNS, "tun.example", ["hub.example"], ""),
        (DNS, "tun.example", ["hub.xtun.example", "203.0.113.1"], ""),
        (DNS, "lan", ["hub.example"], "of one word"),
        (DNS, "tun.example", ["Hub.Tun.Example."], "the hub's own name"),
        (DNS, "tun.example", ["tun.example"], "the hub's own name"),
        ((), "tun.example", ["hub.example"], "none of its name servers is reached through the tunnel"),
    ],
)
def test_what_is_believed_of_a_hub(dns: tuple[str, ...], domain: str, hubs: list[str], said: str) -> None:
    found = objection(dns, domain, hubs)
    assert said in found
    assert bool(found) == bool(said)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a resolvectl is told that does as its `do` says: a line for each call."""
    program, calls = tmp_path / "resolvectl", tmp_path / "calls"
    program.write_text(f'#!/bin/sh\necho "$@" >>{calls}\ntest ! -e {tmp_path}/do || . {tmp_path}/do\n')
    program.chmod(0o755)
    calls.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return calls


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where resolv.conf and nsswitch.conf are."""
    for name, text in (
        ("RESOLV_CONF", "nameserver 127.0.0.53\n"),
        ("NSSWITCH", "passwd: files\n\nhosts: files dns\n"),
    ):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(client_names, name, str(tmp_path / name))
    monkeypatch.setattr(client_names, "SOCKET", str(tmp_path / "socket"))
    return tmp_path


class Stub:
    """What the name server of ours is told; it refuses with `why`."""

    def __init__(self) -> None:
        self.address, self.why = "127.0.117.1", ""
        self.calls: list[tuple[object, ...]] = []

    def set(self, *words: object) -> str:
        self.calls.append(words)
        return self.why

    def remove(self, owner: str) -> None:
        self.calls.append((owner,))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub()
    monkeypatch.setattr(client_names, "_stub", lambda: made)
    return made


WANTED = Wanted(DNS, "tun.example", ((bytes((10, 20, 0, 0)), 16),))
BOTH = Wanted(("10.20.0.1", "fd20::1"), "tun.example")


def test_the_domain_is_asked_of_the_hub_and_nothing_else(told: Path, files: Path) -> None:
    names = Names("c")
    done, why = names.follow("tun0", BOTH, "auto")
    assert (done, why) == ("names of tun.example are asked of 10.20.0.1, fd20::1, by systemd-resolved", "")
    assert told.read_text().splitlines() == [
        "dns tun0 10.20.0.1 fd20::1",
        "domain tun0 ~tun.example",
        "default-route tun0 no",
    ]
    assert names.follow("tun0", Wanted(), "auto") == ("", "")
    assert told.read_text().splitlines()[3:] == ["revert tun0"]


@pytest.mark.parametrize(("stays", "calls"), [(True, ["revert tun0"]), (False, [])])
def test_what_goes_with_a_device_is_not_taken_back(
    told: Path, files: Path, stays: bool, calls: list[str]
) -> None:
    names = Names("c")
    names.follow("tun0", BOTH, "resolved")
    names.close("tun0", stays)
    names.close("tun0", stays)
    assert told.read_text().splitlines()[3:] == calls


def test_what_fails_is_taken_back_and_the_next_way_is_taken(told: Path, files: Path, stub: Stub) -> None:
    (told.parent / "do").write_text('if [ "$1" = domain ]; then echo "Failed: denied" >&2; exit 1; fi\n')
    names = Names("c")
    assert names.follow("tun0", WANTED, "resolved") == (
        "",
        (
            "names of tun.example are not asked of 10.20.0.1: resolvectl domain: Failed: denied; "
            "let a resolver of yours forward that domain there"
        ),
    )
    assert told.read_text().splitlines()[-1] == "revert tun0"
    done, _ = names.follow("tun0", WANTED, "auto")
    assert "by way of 127.0.117.1" in done
    assert stub.calls == [("c", WANTED)]
    stub.why = "/etc/resolv.conf: Read-only file system"
    done, why = names.follow("tun0", WANTED, "auto")
    assert (done, names.by) == ("", "")
    assert "/etc/resolv.conf: Read-only file system; resolvectl domain: Failed: denied" in why
    assert stub.calls[-1] == ("c",), "what was set before is not left"


@pytest.mark.parametrize("to_set", [True, False])
def test_what_is_half_done_as_a_client_ends_is_taken_back(
    told: Path, files: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch, to_set: bool
) -> None:
    """The greenlet that sets names is killed as its client ends or is removed, wherever it is."""

    def broken(*words: object) -> NoReturn:
        raise gevent.GreenletExit

    for by, ended in (("resolved", lambda: told.read_text().splitlines()), ("stub", lambda: stub.calls)):
        names = Names("c")
        if not to_set:
            names.follow("tun0", WANTED, by)

        set_it, unset = client_names._WAYS[by]
        with monkeypatch.context() as patch:
            patch.setitem(client_names._WAYS, by, (broken, unset) if to_set else (set_it, broken))
            with pytest.raises(gevent.GreenletExit):
                names.follow("tun0", WANTED if to_set else Wanted(), by)
        names.close("tun0", stays=True)
        assert ended()[-1] == ("revert tun0" if by == "resolved" else ("c",))
        assert names.by == ""


def test_a_program_that_hangs_is_given_up(told: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_names, "SECONDS", 0.1)
    (told.parent / "do").write_text("exec sleep 30\n")
    assert "it had not ended within 0.1 s" in Names("c").follow("tun0", WANTED, "resolved")[1]


@pytest.mark.parametrize(
    ("resolv_conf", "hosts", "program", "first"),
    [
        ("nameserver 127.0.0.53\n", "files dns", True, "resolved"),
        ("nameserver 192.0.2.1\n", "files resolve [!UNAVAIL=return] dns", True, "resolved"),
        ("nameserver 192.0.2.1\n", "files dns", True, "stub"),
        ("nameserver 127.0.0.53\n", "files resolve", False, "stub"),
        (dns_resolv_conf.add("nameserver 127.0.0.53\n", "127.0.117.9", []), "files", True, "resolved"),
    ],
)
def test_the_way_is_that_of_the_programs_here(
    told: Path, files: Path, stub: Stub, resolv_conf: str, hosts: str, program: bool, first: str
) -> None:
    (files / "RESOLV_CONF").write_text(resolv_conf)
    (files / "NSSWITCH").write_text(f"hosts: {hosts}\n")
    if not program:
        (files / "resolvectl").unlink()
    names = Names("c")
    names.follow("tun0", WANTED, "auto")
    assert names.by == first
    assert bool(stub.calls) == (first == "stub")


def test_a_systemd_resolved_of_another_network_is_not_asked(
    told: Path, files: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(files / "socket"))
        listening.listen()
        names = Names("c")
        names.follow("tun0", WANTED, "auto")
        assert names.by == "resolved", "this process listens, and is where it is"
        monkeypatch.setattr(
            os, "stat", lambda path: os.lstat("/" if path.endswith("self/ns/net") else "/proc")
        )
        names.follow("tun0", WANTED, "auto")
    assert names.by == "stub"


def test_off_sets_nothing(told: Path, files: Path, stub: Stub) -> None:
    assert Names("c").follow("tun0", WANTED, "off") == ("", "")
    assert (told.read_text(), stub.calls) == ("", [])


def test_servers_for_all_names_are_set_as_gost_does_it(told: Path, files: Path, stub: Stub) -> None:
    """`resolvectl dns DEVICE SERVER…` and nothing else (go-gost/x, listener/tun/tun_linux.go)."""
    names, wanted = Names("c"), Wanted(("10.0.0.53", "fd00::53"))
    assert (
        names.follow("tun0", wanted, "auto")[0]
        == "names are asked of 10.0.0.53, fd00::53, by systemd-resolved"
    )
    assert told.read_text().splitlines() == ["dns tun0 10.0.0.53 fd00::53"]
    (files / "resolvectl").unlink()
    assert names.follow("tun0", wanted, "auto")[1] == ""
    assert stub.calls == [("c", wanted)]


def test_without_systemd_resolved_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    names = Names("c")
    assert "there is no systemd-resolved here" in names.follow("tun0", WANTED, "resolved")[1]
    assert names.follow("tun0", Wanted(), "resolved") == ("", "")
