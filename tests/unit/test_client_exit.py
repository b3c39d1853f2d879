"""nat and killswitch in a process's life: what a failure means at each moment."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from lib import client_killswitch, client_nat, log_setup
from lib.client_exit import Exits
from lib.client_killswitch import Kept
from lib.errors import HostError
from lib.netfilter_killswitch import TABLE, Way
from lib.settings import ClientSettings, DeviceSettings, NodeSettings

ONE = ClientSettings("one", "host-1", DeviceSettings(), (NodeSettings("n", "203.0.113.1", 8443),))


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Exits:
    """Nobody has touched nftables: who does raises HostError."""

    def fail(*_: object) -> object:
        raise HostError("nft: not permitted")

    for name in ("load", "delete", "listed", "tables"):
        monkeypatch.setattr(f"lib.netfilter_table.{name}", fail)
    return Exits()


def test_without_any_key_nothing_is_needed(exits: Exits) -> None:
    exits.admit([ONE])
    exits.mend([ONE])
    exits.opened(ONE, "tun0", ONE.device)
    exits.settle([ONE])
    exits.close(clean=True)


def test_a_start_that_cannot_set_it_fails_and_what_runs_is_told_of(
    exits: Exits, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HostError, match="not permitted"):
        exits.admit([replace(ONE, killswitch=True)])
    exits.close(clean=False)
    with pytest.raises(HostError, match="not permitted"):
        exits.opened(replace(ONE, nat=True), "tun0", ONE.device)
    with caplog.at_level(logging.WARNING, "tunrouter"):
        exits.follow(replace(ONE, nat=True), "tun0", ONE.device)
    assert "service one: nft: not permitted" in caplog.text
    assert [one.event for one in log_setup.troubles()] == ["nat-failed"]
    exits.settle([ONE])
    assert not log_setup.troubles(), "it is wanted no more"


def test_a_killswitch_that_nobody_here_wants_is_warned_of(
    exits: Exits, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(["tun0"], [Way("n", "203.0.113.1", "tcp", 8443)])
    monkeypatch.setattr("lib.netfilter_table.tables", lambda: (TABLE,))
    monkeypatch.setattr(client_nat, "set_back", lambda tables: None)
    monkeypatch.setattr(client_killswitch, "look", lambda: kept)
    monkeypatch.setattr(client_killswitch, "is_held", lambda: False)
    with caplog.at_level(logging.WARNING, "tunrouter"):
        exits.mend([replace(ONE, killswitch=True)])
        assert not caplog.text
        exits.mend([ONE])
    assert "it lets out tun0, and tcp 203.0.113.1 port 8443; tunrouter unlock removes it" in caplog.text
