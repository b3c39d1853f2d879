"""A prefix with host bits (192.168.100.1/24) stands for a whole network: who wrote it is told, wherever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.route_loader import RouteLoader
from lib.route_table import RouteTable
from tests.support.routes import drain
from tests.unit.test_config_check import warnings
from tests.unit.test_config_resolve import CHAIN, CLIENT, HUB, TABLE, resolve

LIMITED = "services: [{name: s, addr: ':1', limiter: l, handler: {type: router}, listener: {type: tcp}}]\n"


@pytest.mark.parametrize(
    ("texts", "place", "what", "network"),
    [
        ((HUB % "{router: r}", TABLE.replace("10.0.0.0/8", "10.1.2.3/8")), "f:2:36", "router r: 'dst': 10.1.2.3/8", ""),
        ((HUB % "{router: r}", TABLE.replace("dst: 10.0.0.0", "net: 10.1.2.3")), "f:2:36", "router r: 'net': 10.1.2.3/8", ""),
        ((HUB % "{router: r, trustedProxies: 10.1.2.3/8}", TABLE), "f:1:96", "'trustedProxies': 10.1.2.3/8", ""),
        ((LIMITED, "limiters: [{name: l, limits: ['10.1.2.3/8 1MB']}]\n", TABLE), "f:2:30", "limiter l: 10.1.2.3/8", ""),
        ((CLIENT % "{route: 10.1.2.3/8}", CHAIN), "f:2:84", "route: 10.1.2.3/8", ""),
        ((CLIENT % "{net: fd01::1/64, route: 'fd00::1/64'}", CHAIN), "f:2:101", "route: fd00::1/64", "fd00::/64"),
        ((HUB % "{router: r}", TABLE[:-3] + ", acl: [{action: allow, to: 10.1.2.3/8}]}]\n"), "f:2:88", "acl: 10.1.2.3/8", ""),
    ],
)  # fmt: skip
def test_a_warning_names_what_it_became(texts: tuple[str, ...], place: str, what: str, network: str) -> None:
    network = network or "10.0.0.0/8"
    said = [str(warning) for warning in resolve(*texts).warnings if "stands for" in warning.message]
    written = what.rpartition(" ")[2].partition("/")[0]
    hint = f"write {network}, or {written} for the address alone"
    assert said == [f"{place}: {what} stands for the whole network {network}; {hint}"]


def test_an_address_of_a_device_keeps_its_host_bits_without_a_word() -> None:
    assert resolve(CLIENT % "{net: 192.168.123.1/24, route: 10.0.0.0/8}", CHAIN).warnings == ()


def test_of_very_many_the_first_are_named_and_the_rest_counted() -> None:
    rows = "".join(f"  - {{dst: 10.0.{n}.1/24, gateway: g}}\n" for n in range(30))
    said = [
        warning.message
        for warning in resolve(HUB % "{router: r}", f"routers:\n- name: r\n  routes:\n{rows}").warnings
    ]
    assert len(said) == 11
    assert said[-1] == "router r: 20 more prefixes of this kind"


ROWS = "10.1.2.3/8 a\n192.168.1.1/32 b\n10.9.1.1/16 c\n"


def test_check_tells_of_rows_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text(ROWS)
    said = warnings(HUB % "{router: r}" + f"routers: [{{name: r, file: {{path: {path}}}}}]\n")
    assert f"{path}: 10.1.2.3/8 stands for the whole network 10.0.0.0/8, and 1 more line of this kind" in said


def test_a_load_tells_of_rows_of_any_source_and_a_difference_only_of_new_ones() -> None:
    loader = RouteLoader(RouteTable())
    report = drain(loader.source(1, ROWS.encode(), "redis"))
    assert [str(warning) for warning in report.warnings] == [
        "redis: 10.1.2.3/8 stands for the whole network 10.0.0.0/8, and 1 more line of this kind"
    ]
    plain = "".join(f"10.{n}.0.0/16 d\n" for n in range(20, 60))
    assert not [w for w in drain(loader.source(1, plain.encode(), "redis")).warnings if "stands" in w.message]
    report = drain(loader.source(1, f"{plain}172.16.0.1/16 e\n".encode(), "redis"))
    assert [str(warning) for warning in report.warnings] == [
        "redis: 172.16.0.1/16 stands for the whole network 172.16.0.0/16"
    ]
