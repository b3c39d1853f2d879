"""Which of several host names a client has."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from lib.client_host import HostNames
from lib.settings import ClientSettings, DeviceSettings, HostChoice, NodeSettings
from lib.settings_dial import ChoiceSettings
from lib.settings_diff import differences

NODES = (NodeSettings("n", "h", 1),)


def client(strategy: str = "round", *said: ChoiceSettings, name: str = "s") -> ClientSettings:
    """A client with the host names a, b and so on, one for each of `said`, or with three of them."""
    hosts = tuple(HostChoice(chr(97 + i), one) for i, one in enumerate(said or (ChoiceSettings(),) * 3))
    return ClientSettings(name, "a", DeviceSettings(), NODES, hosts=hosts, host_strategy=strategy)


def chosen(settings: ClientSettings, count: int, dice: float = 0.0) -> str:
    """The names that it has, if its device is removed again and again."""
    names, found = HostNames(), ""
    for _ in range(count):
        found += names.choose(settings, dice).host
        names.device_gone(settings.name)
    return found


BACKUP, HEAVY = ChoiceSettings(backup=True), ChoiceSettings(weight=98)


@pytest.mark.parametrize(
    ("settings", "dice", "expected"),
    [
        (client(), 0, "abcab"),
        (client("fifo"), 0.9, "aaaaa"),
        (client("round", BACKUP, ChoiceSettings(), ChoiceSettings()), 0, "bcbcb"),
        (client("round", BACKUP, BACKUP), 0, "ababa"),
        (client("rand"), 0.5, "bbbbb"),
        (client("rand", ChoiceSettings(), HEAVY, ChoiceSettings()), 0.98, "bbbbb"),
        (client("rand", ChoiceSettings(), HEAVY, ChoiceSettings()), 0.995, "ccccc"),
    ],
)
def test_each_device_has_a_name_by_the_selector(settings: ClientSettings, dice: float, expected: str) -> None:
    assert chosen(settings, 5, dice) == expected


def test_by_hash_the_address_decides_as_in_gost() -> None:
    """As GOST 3.3 does with seven names; a backup is none of them, and another address is another name."""
    found = {"192.168.123.1": 4, "192.168.123.7": 4, "10.9.8.7": 6, "172.16.5.4": 1}
    names = HostNames()
    for said, count in ((ChoiceSettings(),) * 7, 7), ((*(ChoiceSettings(),) * 7, BACKUP), 8):
        for address, number in found.items():
            settings = client("hash", *said)
            assert len(settings.hosts) == count
            settings = replace(settings, device=DeviceSettings(addresses=(ip_interface(f"{address}/24"),)))
            assert names.choose(settings, 0.5).host == chr(97 + number)
    assert chosen(client("hash"), 3) == "aaa", "without an address the first"


def test_a_client_with_one_name_has_that() -> None:
    one = ClientSettings("s", "host-1", DeviceSettings(), NODES)
    assert HostNames().choose(one, 0.5) is one


def test_the_name_stays_until_the_names_or_the_device_are_others() -> None:
    names, settings = HostNames(), client("rand")
    assert names.choose(settings, 0.9).host == "c"
    assert names.choose(replace(settings, nat=True), 0).host == "c", "a reload of something else"
    assert names.choose(client("rand", name="t"), 0).host == "a", "each service has its own"
    names.device_gone("t")
    assert names.choose(settings, 0).host == "c"
    assert names.choose(client("fifo"), 0).host == "a", "a reload of the strategy"


def test_a_reload_does_not_tell_of_the_name_that_is_chosen() -> None:
    settings = client("rand")
    has = HostNames().choose(settings, 0.9)
    assert differences(has, settings) == []
    assert differences(has, client("rand", *(ChoiceSettings(),) * 2)) == [
        "host c -> a",
        "hosts a, b, c -> a, b",
    ]
