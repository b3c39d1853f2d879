"""Exits of a process: what is set, in which order, and what the last one sets back; without a kernel."""

from __future__ import annotations

import json
import re
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from lib import client_nat, netlink_forwarding
from lib.client_nat import Nat, set_back
from lib.errors import HostError
from lib.netfilter_names import Table
from lib.netfilter_nat import FORWARDING
from lib.settings import DeviceSettings

IPV4 = DeviceSettings(addresses=(ip_interface("10.0.0.2/24"),))
BOTH = DeviceSettings(addresses=(ip_interface("10.0.0.2/24"), ip_interface("fd00::2/64")))


class Kernel:
    """nftables, and the settings below /proc/sys/net, where Linux changes some with others."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.loaded: dict[Table, str] = {}
        self.read_only = False
        self.done: list[str] = []
        for path, value in {
            "ipv4/ip_forward": "0",
            "ipv4/conf/all/accept_redirects": "0",
            "ipv4/conf/default/forwarding": "0",
            "ipv4/conf/eth0/forwarding": "0",
            "ipv6/conf/all/forwarding": "0",
            "ipv6/conf/eth0/forwarding": "0",
            "ipv6/conf/eth0/accept_ra": "1",
        }.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(value)

    def load(self, table: Table, text: str) -> None:
        self.loaded[table] = text
        self.done.append(f"load {table.purpose}")

    def delete(self, table: Table) -> None:
        self.loaded.pop(table, None)
        self.done.append(f"delete {table.purpose}")

    def tables(self) -> tuple[Table, ...]:
        return tuple(self.loaded)

    def listed(self, table: Table) -> list[dict[str, Any]]:
        return [
            {"rule": {"comment": json.loads(text)}}
            for text in re.findall(r'comment ("[^"]*")', self.loaded[table])
        ]

    def write(self, path: str, value: str) -> None:
        if self.read_only:
            raise HostError(f"{path} cannot be set")
        self.done.append(f"{path}={value}")
        (self.place / path).write_text(value)
        if path == "ipv4/ip_forward":
            (self.place / "ipv4/conf/all/accept_redirects").write_text(str(1 - int(value)))
            (self.place / "ipv4/conf/eth0/forwarding").write_text(value)

    def settings(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.place)): path.read_text()
            for path in self.place.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path)
    monkeypatch.setattr(client_nat, "netfilter_table", made)
    monkeypatch.setattr(client_nat, "_SETTINGS", tmp_path)
    monkeypatch.setattr(client_nat, "_write", made.write)
    monkeypatch.setattr(client_nat, "_devices", lambda: (["eth0"], ["lo"]))
    return made


def test_what_is_changed_is_noted_first_and_then_set_back(kernel: Kernel) -> None:
    before, nat = kernel.settings(), Nat()
    nat.set("a", "tun0", BOTH)
    assert kernel.done == [
        "load nat",
        "load forwarding",
        "ipv4/ip_forward=1",
        "ipv6/conf/eth0/accept_ra=2",
        "ipv6/conf/all/forwarding=1",
    ]
    nat.set("a", "tun0", BOTH)
    assert len(kernel.done) == 5, "nothing is done twice"
    nat.drop(["a", "b"])
    assert kernel.settings() == before
    assert not kernel.loaded


def test_ipv6_comes_later_where_its_address_does(kernel: Kernel) -> None:
    before, nat = kernel.settings(), Nat()
    nat.set("a", "tun0", IPV4)
    assert kernel.settings()["ipv6/conf/all/forwarding"] == "0"
    nat.set("a", "tun0", BOTH)
    assert kernel.settings()["ipv6/conf/all/forwarding"] == "1"
    nat.drop(["a"])
    assert kernel.settings() == before


def test_only_the_last_exit_of_a_host_sets_back(kernel: Kernel) -> None:
    """Also where it is one of another process, which has changed nothing itself."""
    before, one, other = kernel.settings(), Nat(), Nat()
    one.set("a", "tun0", BOTH)
    other.set("b", "tun1", BOTH)
    one.drop(["a"])
    assert kernel.settings()["ipv4/ip_forward"] == "1"
    other.drop(["b"])
    assert kernel.settings() == before
    assert not kernel.loaded


def test_a_start_sets_back_what_a_killed_run_has_left(kernel: Kernel) -> None:
    before = kernel.settings()
    Nat().set("a", "tun0", BOTH)
    set_back(kernel.tables())
    assert kernel.settings() != before, "its table is there still: somebody may have the device"
    kernel.delete(Table("nat", "tun0"))  # as netfilter_table.sweep
    set_back(kernel.tables())
    assert kernel.settings() == before
    assert not kernel.loaded


def test_a_device_with_another_name_has_another_table(kernel: Kernel) -> None:
    nat = Nat()
    nat.set("a", "tun0", IPV4)
    nat.set("a", "vpn0", IPV4)
    assert set(kernel.loaded) == {Table("nat", "vpn0"), FORWARDING}


def test_tables_that_somebody_has_removed_are_put_back_with_the_notes(kernel: Kernel) -> None:
    before, nat = kernel.settings(), Nat()
    assert nat.put_back() == []
    nat.set("a", "tun0", BOTH)
    text = dict(kernel.loaded)
    kernel.loaded.clear()
    assert nat.put_back() == ["tunrouter_nat_tun0", "tunrouter_forwarding_host"]
    assert kernel.loaded == text
    kernel.loaded.clear()  # and where nobody has put them back before the end
    nat.drop(["a"])
    assert kernel.settings() == before


def test_a_setting_that_cannot_be_written_is_told_of_and_the_table_goes_with_the_end(kernel: Kernel) -> None:
    kernel.read_only, nat = True, Nat()
    with pytest.raises(HostError, match="cannot be set"):
        nat.set("a", "tun0", IPV4)
    nat.drop(nat.services)
    assert not kernel.loaded


@pytest.mark.parametrize(("is_on", "refused"), [(True, False), (None, False), (False, True)])
def test_settings_that_are_hidden_must_be_right_already(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, is_on: bool | None, refused: bool
) -> None:
    """As under the unit of the package (ProcSubset=pid): not to see a setting is not to know that it is on."""
    monkeypatch.setattr(client_nat, "_read", lambda path: "")
    monkeypatch.setattr(netlink_forwarding, "is_on", lambda version: is_on)
    nat = Nat()
    if refused:
        with pytest.raises(
            HostError, match=r"net\.ipv4\.ip_forward is 0, and cannot be set .*ProcSubset=all"
        ):
            nat.set("a", "tun0", IPV4)
    else:
        nat.set("a", "tun0", IPV4)
    assert kernel.done == ["load nat"]


def test_a_read_only_setting_names_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(
        HostError, match=r"sysctl -w net\.ipv4\.ip_forward=1, or, under systemd, ReadWritePaths"
    ):
        client_nat._write("ipv4/ip_forward", "1")
