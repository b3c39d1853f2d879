"""`map` of a client: the ways to write it, and every contradiction with its place."""

from __future__ import annotations

import pytest

from lib import config_from_urls
from lib.addresses import interface, packed_prefix, prefix
from lib.config_findings import Findings
from lib.config_map import maps_of
from lib.config_read import read
from lib.settings import DeviceSettings
from lib.settings_map import texts

DEVICE = DeviceSettings(addresses=(interface("10.20.0.7/16"),), routes=((prefix("10.72.0.0/24"), ""),))


def written(value: str, device: DeviceSettings = DEVICE) -> tuple[dict[str, str], Findings]:
    """The maps of a file with `map: value` in line 6, and what was found."""
    text = "services:\n- name: s\n  handler:\n    type: tun\n    metadata:\n      map: " + value
    config, found = read([("a.yml", text)]), Findings()
    assert not config.problems
    handler = config.services[0].handler
    assert handler is not None
    return texts(maps_of(handler, device, found)), found


@pytest.mark.parametrize(
    ("value", "maps"),
    [
        ("{10.71.0.0/24: 192.168.1.0/24}", {"10.71.0.0/24": "192.168.1.0/24"}),
        (
            "\n        10.71.0.0/24: 192.168.1.0/24\n        fd71::/64: fd00:1::/64",
            {"10.71.0.0/24": "192.168.1.0/24", "fd71::/64": "fd00:1::/64"},
        ),
        ("10.71.0.0/24:192.168.1.0/24", {"10.71.0.0/24": "192.168.1.0/24"}),
        (
            "'10.71.0.0/24:192.168.1.0/24, fd71::/64:fd00:1::/64'",
            {"10.71.0.0/24": "192.168.1.0/24", "fd71::/64": "fd00:1::/64"},
        ),
        ("['fd71::5/128:fd00::5']", {"fd71::5/128": "fd00::5/128"}),
        ("10.71.0.5:192.168.1.5", {"10.71.0.5/32": "192.168.1.5/32"}),
        ("{10.71.0.0/25: 192.168.1.128/25, 10.71.0.128/25: 192.168.1.0/25}",
         {"10.71.0.0/25": "192.168.1.128/25", "10.71.0.128/25": "192.168.1.0/25"}),
        ("{}", {}),
        ("null", {}),
    ],
)  # fmt: skip
def test_the_ways_to_write_it(value: str, maps: dict[str, str]) -> None:
    found, findings = written(value)
    assert not findings.problems + findings.warnings
    assert found == maps


def test_a_url() -> None:
    url = "tun:///host-1?map=10.71.0.0/24:192.168.1.0/24,fd71::/64:fd00:1::/64"
    config = config_from_urls.read([url])
    handler = config.services[0].handler
    assert handler is not None
    assert maps_of(handler, DEVICE, Findings())[1].outside == packed_prefix("fd71::/64")


REFUSED = [
    ("10.71.0.0/24", "is no pair of prefixes"),
    ("'10.71.0.0/24:'", "is no pair of prefixes"),
    ("fd71::5:fd00::5", "is no pair of prefixes"),
    ("{10.71.0.0/24: [192.168.1.0/24]}", "wants one network"),
    ("{10.71.0.0/24: lan}", "not an address or CIDR: 'lan'"),
    ("{10.71.0.0/33: 192.168.1.0/33}", "10.71.0.0/33"),
    ("''", "'map' is empty"),
    ("{10.71.0.0/24: 192.168.1.0/25}", "10.71.0.0/24: 192.168.1.0/25 differ in length"),
    ("{10.71.0.0/24: 'fd00::/24'}", "two versions of IP"),
    ("{192.168.1.0/24: 192.168.1.0/24}", "overlap"),
    ("{10.0.0.0/8: 10.0.0.0/8}", "overlap"),
    ("{0.0.0.0/0: 0.0.0.0/0}", "0.0.0.0/0 is no network of hosts"),
    ("{10.71.0.0/24: 127.0.0.0/24}", "127.0.0.0/24 is no network of hosts"),
    ("{239.1.0.0/24: 192.168.1.0/24}", "239.1.0.0/24 is no network of hosts"),
    ("{'fd71::/64': 'fe80::/64'}", "fe80::/64 is no network of hosts"),
    (
        "{10.71.0.0/24: 192.168.1.0/24, 10.71.1.0/24: 192.168.1.0/24}",
        "192.168.1.0/24 overlaps with 192.168.1.0/24, which is in the map 10.71.0.0/24: 192.168.1.0/24",
    ),
    ("10.71.0.0/24:192.168.1.0/24,10.71.0.128/25:192.168.2.0/25", "10.71.0.128/25 overlaps with 10.71.0.0/24"),
    ("10.71.0.0/24:192.168.1.0/24,192.168.1.0/24:192.168.2.0/24", "192.168.1.0/24 overlaps with 192.168.1.0/24"),
    ("{10.20.0.0/24: 192.168.1.0/24}", "the device's own address 10.20.0.7 is in 10.20.0.0/24"),
    ("{10.71.0.0/24: 10.20.0.0/24}", "the device's own address 10.20.0.7 is in 10.20.0.0/24"),
    ("{10.71.0.0/24: 10.72.0.0/24}", "the route 10.72.0.0/24 leads into the tunnel"),
    ("{10.71.0.0/16: 10.72.0.0/16}", "the route 10.72.0.0/24 leads into the tunnel"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_refused_and_where(value: str, said: str) -> None:
    _, found = written(value)
    (problem,) = found.problems
    assert said in problem.message
    assert (problem.where.file, problem.where.line) == ("a.yml", 6)
    assert problem.where.column > 6


def test_bits_of_hosts_are_warned_of_and_very_many_maps_are_refused() -> None:
    maps, found = written("{10.71.0.9/24: 192.168.1.1/24}")
    assert maps == {"10.71.0.0/24": "192.168.1.0/24"}
    assert [problem.message for problem in found.warnings] == [
        "map: 10.71.0.9/24 stands for the whole network 10.71.0.0/24",
        "map: 192.168.1.1/24 stands for the whole network 192.168.1.0/24",
    ]
    many = ", ".join(f"10.71.{n}.0/24: 192.168.{n}.0/24" for n in range(65))
    (problem,) = written(f"{{{many}}}")[1].problems
    assert problem.message == "'map': more than 64 networks"
