"""`nat` and `killswitch` in a configuration: in files and URLs, what is odd beside them, what this host lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import (
    config_check_exit,
    config_from_urls,
    config_read,
    config_resolve,
    service_command,
    settings_summary_clients,
)
from lib.config_findings import Findings
from lib.settings import Settings

CONFIG = """\
services:
- name: laptop
  handler: {type: tun, chain: c, metadata: {%s}}
  listener: {type: tun, metadata: {net: [10.0.0.1/24], route: [%s]}}
  forwarder: {nodes: [{addr: host-1}]}
%s
chains: [{name: c, hops: [{name: h, nodes: [
  {name: n, addr: 'hub:8443', connector: {type: router}, dialer: {type: tcp}}]}]}]
"""
OTHER = """\
- name: other
  handler: {type: tun, chain: c}
  listener: {type: tun, metadata: {net: [10.1.0.1/24]}}
  forwarder: {nodes: [{addr: host-2}]}
"""
HUB = "- {name: hub, addr: ':8443', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}"


def resolve(metadata: str = "killswitch: on", route: str = "0.0.0.0/0, '::/0'", more: str = "") -> Settings:
    tables = "\nrouters: [{name: r, routes: []}]" if more == HUB else ""
    return config_resolve.resolve(config_read.read([("f", CONFIG % (metadata, route, more) + tables)]))


def test_both_are_off_unless_asked_for() -> None:
    assert (resolve("").clients[0].nat, resolve("").clients[0].killswitch) == (False, False)
    both = resolve("nat: true, killswitch: yes").clients[0]
    assert (both.nat, both.killswitch) == (True, True)
    words = " ".join(settings_summary_clients.words(both))
    assert "nat: what comes out of the tunnel" in words
    assert "killswitch: nothing leaves this host beside the tunnel" in words
    assert settings_summary_clients.data(both)["killswitch"] is True


def test_a_url_has_the_same_keys() -> None:
    listen = "tun:///host-1?net=10.0.0.1/24&route=0.0.0.0/0,::/0&nat=true&killswitch=true"
    config = config_from_urls.read([listen], ["router://203.0.113.10:8443"])
    found = config_resolve.resolve(config)
    assert (found.clients[0].nat, found.clients[0].killswitch) == (True, True)
    assert not found.warnings
    assert not found.notices


ODD = [
    (
        OTHER,
        "service other reaches its hub only through the tunnel of laptop; write killswitch: on for other",
    ),
    (HUB, "the hub hub here can answer nobody beside the tunnel"),
]


@pytest.mark.parametrize(("more", "said"), ODD, ids=["client", "hub"])
def test_what_is_cut_off_is_warned_of(more: str, said: str) -> None:
    (found,) = map(str, resolve(more=more).warnings)
    assert found.startswith("f:3:")
    assert said in found
    assert not resolve("", more=more).warnings


def test_a_version_of_ip_without_a_route_into_the_tunnel_is_told_of() -> None:
    assert not resolve().notices
    (found,) = map(str, resolve(route="0.0.0.0/1, 128.0.0.0/1").notices)
    assert "'killswitch': of IPv6 only what this client's routes take leaves this host" in found
    (found,) = map(str, resolve(route="192.168.0.0/16").notices)
    assert "of IPv4 and IPv6" in found


def test_check_wants_nft_and_settings_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_read.read([("f", CONFIG % ("nat: on, killswitch: on", "0.0.0.0/0", ""))])
    settings = config_resolve.resolve(config)
    (tmp_path / "ipv4").mkdir()
    switch = tmp_path / "ipv4" / "ip_forward"
    monkeypatch.setattr(config_check_exit, "_SETTINGS", tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)

    def looked(program: str | None) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(service_command, "find", lambda name: program)
        found = Findings()
        config_check_exit.look(config, settings, found)
        return list(map(str, found.problems)), list(map(str, found.warnings))

    switch.write_text("1\n")
    assert looked("/usr/sbin/nft") == ([], [])
    switch.write_text("0\n")
    problems, warnings = looked(None)
    assert [one.partition(" sets")[0] for one in problems] == ["f:3:50: 'nat'", "f:3:66: 'killswitch'"]
    assert "'nat': net.ipv4.ip_forward is 0, and this user may not set it; sysctl -w" in warnings[0]
