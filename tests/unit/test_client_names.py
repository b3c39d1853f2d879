"""Names of a hub's domain on a client: what is believed of the hub, and what systemd-resolved is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib import client_names
from lib.client_names import follow, objection

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


def test_the_domain_is_asked_of_the_hub_and_nothing_else(told: Path) -> None:
    assert follow("tun0", ("10.20.0.1", "fd20::1"), "tun.example") == ""
    assert told.read_text().splitlines() == [
        "dns tun0 10.20.0.1 fd20::1",
        "domain tun0 ~tun.example",
        "default-route tun0 no",
    ]
    assert follow("tun0", (), "") == ""
    assert told.read_text().splitlines()[3:] == ["revert tun0"]


def test_what_fails_is_taken_back_and_said(told: Path) -> None:
    (told.parent / "do").write_text('if [ "$1" = domain ]; then echo "Failed: denied" >&2; exit 1; fi\n')
    assert follow("tun0", DNS, "tun.example") == (
        "names of tun.example are not asked of 10.20.0.1: resolvectl domain: Failed: denied"
    )
    assert told.read_text().splitlines()[-1] == "revert tun0"


def test_a_program_that_hangs_is_given_up(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_names, "SECONDS", 0.1)
    (told.parent / "do").write_text("exec sleep 30\n")
    assert "it had not ended within 0.1 s" in follow("tun0", DNS, "tun.example")


def test_without_systemd_resolved_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no systemd-resolved here" in follow("tun0", DNS, "tun.example")
    assert follow("tun0", (), "") == ""
