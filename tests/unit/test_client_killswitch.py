"""The killswitch of a process: what its table lets out at each moment, and who takes it away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lib import client_killswitch, netlink_owners, stream_dial
from lib.client_killswitch import Killswitch, unlock
from lib.errors import HostError
from lib.netfilter_killswitch import TABLE
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.settings_dial import DialSettings

NAME = client_killswitch._HELD


class Kernel:
    """nftables: the text of the one table; fails where it is told to."""

    PROGRAM = "sh"  # it is here

    def __init__(self) -> None:
        self.text = ""
        self.rows: list[dict[str, Any]] = []
        self.loads = 0
        self.failing = False

    def load(self, table: object, text: str) -> None:
        if self.failing:
            raise HostError("nft: refused")
        self.text, self.loads = text, self.loads + 1

    def delete(self, table: object) -> None:
        self.text = ""

    def tables(self) -> tuple[object, ...]:
        return (TABLE,) if self.text else ()

    def listed(self, table: object) -> list[dict[str, Any]]:
        return self.rows


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(client_killswitch, "netfilter_table", made)
    monkeypatch.setattr(client_killswitch, "_HELD", f"{NAME}/test/{id(made)}")
    monkeypatch.setattr(client_killswitch, "name_servers", lambda: ["10.0.0.53"])
    monkeypatch.setattr(stream_dial, "_known", type(stream_dial._known)(256))
    return made


def client(*nodes: NodeSettings, name: str = "one", killswitch: bool = True) -> ClientSettings:
    found = nodes or (NodeSettings("n", "hub.example", 8443),)
    return ClientSettings(name, "host-1", DeviceSettings(), found, killswitch=killswitch)


def test_without_a_client_that_wants_it_nothing_is_touched(kernel: Kernel) -> None:
    switch = Killswitch()
    switch.admit([client(killswitch=False)])
    switch.settle([client(killswitch=False)])
    switch.close(True)
    assert kernel.loads == 0
    with switch.asking("one", "hub.example", 8443):
        assert kernel.loads == 0


def test_names_are_asked_for_until_the_first_address_is_known(kernel: Kernel) -> None:
    switch = Killswitch()
    switch.admit([client()])
    assert "10.0.0.53" not in kernel.text
    with switch.asking("one", "hub.example", 8443):
        assert "10.0.0.53 timeout 5s" in kernel.text
        switch.learn("one", "hub.example", 8443, ["203.0.113.10", "2001:db8::10"])
    assert "10.0.0.53" not in kernel.text
    assert "203.0.113.10 . tcp . 8443" in kernel.text
    assert "2001:db8::10 . tcp . 8443" in kernel.text
    with pytest.raises(OSError, match="no name is looked up"), switch.asking("one", "hub.example", 8443):
        pass
    switch.close(True)


def test_a_look_up_through_the_tunnel_replaces_what_was_known(kernel: Kernel) -> None:
    switch = Killswitch()
    switch.admit([client()])
    switch.learn("one", "hub.example", 8443, ["203.0.113.10"])
    switch.let_datagrams_out("one", "hub.example", 8443, "203.0.113.10", 9000)
    switch.learn("one", "hub.example", 8443, ["203.0.113.11"])
    assert "203.0.113.10 . tcp" not in kernel.text
    assert "203.0.113.11 . tcp . 8443" in kernel.text
    assert "203.0.113.10 . udp . 9000" in kernel.text
    before = kernel.loads
    switch.learn("one", "hub.example", 8443, ["203.0.113.11"])
    switch.let_out("one", "hub.example", 8443, "203.0.113.11")
    assert kernel.loads == before, "nothing is loaded that is there"
    switch.close(True)


def test_addresses_of_the_configuration_are_let_out_at_once_and_those_of_a_proxy(kernel: Kernel) -> None:
    given = replace(
        NodeSettings("b", "name.test", 444), dial=DialSettings(addresses=("203.0.113.4", "fe80::4%x"))
    )
    elsewhere = replace(NodeSettings("c", "203.0.113.5", 445), dial=DialSettings(netns="other"))
    switch = Killswitch()
    switch.admit([client(NodeSettings("a", "fe80::3%eth0", 443), given, elsewhere)])
    for way in ("fe80::3 . tcp . 443", "203.0.113.4 . tcp . 444", "fe80::4 . tcp . 444"):
        assert way in kernel.text
    assert "203.0.113.5" not in kernel.text, (
        "what is sent in another network namespace does not leave this one"
    )
    switch.close(True)


def test_the_next_start_takes_over_what_a_killed_one_has_left(kernel: Kernel) -> None:
    kernel.text = "left"
    element = {"elem": {"val": {"concat": ["203.0.113.10", "tcp", 8443]}, "comment": "hub.example:8443"}}
    kernel.rows = [{"set": {"name": "hubs4", "elem": [element]}}]
    switch = Killswitch()
    switch.admit([client()])
    assert "203.0.113.10 . tcp . 8443" in kernel.text
    assert [one[4] for one in stream_dial._known[("hub.example", 8443)].found] == [("203.0.113.10", 8443)]
    switch.close(False)
    assert kernel.text, "the start has failed, and there was one before"


def test_a_start_that_fails_leaves_nothing_that_was_not_there(kernel: Kernel) -> None:
    switch = Killswitch()
    switch.admit([client()])
    switch.close(False)
    assert not kernel.text


def test_only_a_clean_end_takes_it_away(kernel: Kernel) -> None:
    for clean in (False, True):
        switch = Killswitch()
        switch.admit([client()])
        switch.settle([client()])
        switch.set_device("one", "tun3")
        assert '"tun3"' in kernel.text
        switch.close(clean)
        assert bool(kernel.text) is not clean
        assert not client_killswitch.is_held()


def test_a_reload_takes_a_client_out_and_the_last_one_takes_it_away(kernel: Kernel) -> None:
    two = client(NodeSettings("n", "203.0.113.2", 8443), name="two")
    switch = Killswitch()
    switch.admit([client(NodeSettings("n", "203.0.113.1", 8443)), two])
    switch.settle([two])
    assert "203.0.113.1 " not in kernel.text
    assert "203.0.113.2 " in kernel.text
    switch.settle([replace(two, killswitch=False)])
    assert kernel.tables() == ()
    assert not client_killswitch.is_held()
    switch.admit([two])  # and a later reload brings it back
    assert kernel.tables() == (TABLE,)
    switch.close(True)


def test_what_cannot_be_loaded_changes_nothing(kernel: Kernel) -> None:
    switch = Killswitch()
    switch.admit([client()])
    kernel.failing = True
    with pytest.raises(HostError, match="refused"):
        switch.set_device("one", "tun0")
    with pytest.raises(OSError, match="killswitch: nft: refused"):
        switch.let_out("one", "hub.example", 8443, "203.0.113.10")
    kernel.failing = False
    switch.let_out("one", "hub.example", 8443, "203.0.113.10")
    assert "203.0.113.10" in kernel.text
    switch.close(True)


def test_somebody_removes_the_table(kernel: Kernel) -> None:
    switch = Killswitch()
    switch.admit([client()])
    text, kernel.text = kernel.text, ""
    switch.put_back()
    assert kernel.text == text
    switch.close(True)
    switch.put_back()
    assert not kernel.text


def test_one_process_has_it_and_unlock_wants_that_none_has(kernel: Kernel) -> None:
    switch, other = Killswitch(), Killswitch()
    switch.admit([client()])
    with pytest.raises(HostError, match="another tunrouter has one"):
        other.admit([client()])
    with pytest.raises(HostError, match="a running tunrouter has the killswitch"):
        unlock()
    switch.settle([client()])
    switch.close(False)
    kernel.rows = [{"set": {"name": "tunnels", "elem": ["tun0"]}}]
    kept = unlock()
    assert kept is not None
    assert kept.tunnels == ["tun0"]
    assert not kernel.text
    assert unlock() is None
    assert netlink_owners.hold(client_killswitch._HELD) is not None
