"""The configuration of an sd and an entrypoint: every refusal with its place, warnings, and what is meant."""

from __future__ import annotations

import pytest

from lib import config_read, config_resolve
from lib.errors import ConfigError
from lib.settings import Settings
from lib.settings_cluster import EntrypointSettings

HUB = "services: [{name: s, addr: ':1', handler: {type: router, metadata: {router: r, %s}}, listener: {type: tls}}]\n"
REST = """\
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
sds: [{name: sd0, plugin: {type: http, addr: '127.0.0.1:8000', token: t, timeout: 2s}}]
"""
CLEAR = "'entrypoint': datagrams between hubs are neither authenticated nor encrypted, as in GOST"


def resolve(text: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", text)]))


def entrypoint(metadata: str) -> EntrypointSettings:
    found = resolve(HUB % metadata + REST).hubs[0].entrypoint
    assert found is not None
    return found


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(text)
    return [str(problem) for problem in caught.value.problems]


def test_what_gost_s_keys_and_ours_mean() -> None:
    found = entrypoint("sd: sd0, entrypoint: '192.0.2.1:8420'")
    assert (found.sd.name, found.sd.plugin.url, found.sd.plugin.token) == (
        "sd0",
        "http://127.0.0.1:8000",
        "t",
    )
    assert (found.host, found.port, found.address) == ("192.0.2.1", 8420, "192.0.2.1:8420")
    assert (found.cache, found.renew, len(found.allow)) == (1.0, 15.0, 0)
    found = entrypoint(
        "sd: sd0, entrypoint: ':8420', entrypoint.address: hub-1.example:9000, sd.cache.expiration: 5s, "
        "sd.renewInterval: 30, entrypoint.allow: [192.0.2.0/24, '2001:db8::1']"
    )
    assert (found.host, found.port, found.address) == ("", 8420, "hub-1.example:9000")
    assert (found.cache, found.renew, str(found.allow)) == (5.0, 30.0, "192.0.2.0/24, 2001:db8::1/128")
    assert entrypoint("sd: sd0, entrypoint: '[2001:db8::1]:8420'").address == "[2001:db8::1]:8420"


def test_it_is_off_unless_asked_for() -> None:
    settings = resolve(HUB % "domain: d" + REST)
    assert settings.hubs[0].entrypoint is None
    assert not settings.warnings


@pytest.mark.parametrize("allow", ["", ", entrypoint.allow: 192.0.2.2"])
def test_it_is_warned_of_what_everybody_can_do(allow: str) -> None:
    (warning,) = resolve(HUB % f"sd: sd0, entrypoint: '192.0.2.1:8420'{allow}" + REST).warnings
    assert warning.message == CLEAR
    assert ("entrypoint.allow" in warning.hint) == (not allow)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("sd: sd1, entrypoint: '192.0.2.1:8420'", "f:1:84: there is no sd 'sd1'; did you mean 'sd0'?"),
        ("sd: nothing, entrypoint: '192.0.2.1:8420'", "f:1:84: there is no sd 'nothing'"),
        ("sd: sd1", "f:1:84: there is no sd 'sd1'; did you mean 'sd0'?"),
        ("sd: sd0", "f:1:84: 'sd' without 'entrypoint': other hubs could send nothing to the hosts"),
        ("sd: ''", "f:1:84: 'sd' is empty"),
        ("entrypoint: '192.0.2.1:8420'", "f:1:92: 'entrypoint' without 'sd': nobody would say"),
        ("sd: sd0, entrypoint: ''", "f:1:101: 'entrypoint' is empty"),
        ("sd: sd0, entrypoint: ':8420'", "f:1:101: 'entrypoint': other hubs are told where to send"),
        ("sd: sd0, entrypoint: '0.0.0.0:8420'", "f:1:101: 'entrypoint': other hubs are told where to send"),
        ("sd: sd0, entrypoint: '192.0.2.1'", "f:1:101: 'entrypoint': '192.0.2.1' has no port"),
        ("sd: sd0, entrypoint: '192.0.2.1:0'", "f:1:101: 'entrypoint': port 0 is none"),
        ("sd: sd0, entrypoint: 'hub-1:8420'", "f:1:101: 'entrypoint': 'hub-1' is no IP address of this host"),
        ("sd: sd0, entrypoint: [a]", "f:1:101: 'entrypoint' wants one value"),
        (
            "sd: sd0, entrypoint: '192.0.2.1:8420', entrypoint.address: ':1'",
            "'entrypoint.address': ':1' is nothing that other hubs could send to",
        ),
        (
            "sd: sd0, entrypoint: '192.0.2.1:8420', entrypoint.allow: [10.0.0.0/33]",
            "'entrypoint.allow': ",
        ),
        (
            "sd: sd0, entrypoint: '192.0.2.1:8420', entrypoint.allow: []",
            "'entrypoint.allow' names nobody",
        ),
        (
            "sd: sd0, entrypoint: '192.0.2.1:8420', sd.cache.expiration: 0",
            "'sd.cache.expiration': 0 s is not",
        ),
        (
            "sd: sd0, entrypoint: '192.0.2.1:8420', sd.renewInterval: 500ms",
            "'sd.renewInterval': 0.5 s is not",
        ),
        ("sd: sd0, entrypont: ':1'", "did you mean 'entrypoint'?"),
    ],
)
def test_what_is_wrong_has_its_place(metadata: str, expected: str) -> None:
    found = problems(HUB % metadata + REST)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{name: sd0}", "sd sd0 has no plugin and no redis: nobody would know where hosts are"),
        ("{name: sd0, plugin: {type: htp, addr: 'h:1'}}", "unknown plugin type 'htp'; did you mean 'http'?"),
        ("{name: sd0, plugin: {addr: h}}", "not the address of a grpc plugin"),
        ("{plugin: {addr: 'h:1'}}", "one of the sds has no name"),
        (
            "{name: sd0, plugin: {addr: 'h:1'}}, {name: sd0, plugin: {addr: 'h:1'}}",
            "two of the sds have the name",
        ),
        ("{name: sd0, plugin: {addr: 'h:1'}, reload: 5s}", "unknown key 'reload'"),
    ],
)
def test_an_sd_that_is_wrong(section: str, expected: str) -> None:
    assert any(
        expected in problem
        for problem in problems(HUB % "domain: d" + REST.split("sds")[0] + f"sds: [{section}]")
    )


def test_keys_without_effect_are_warned_of() -> None:
    text = "sd.cache.expiration: 2s, entrypoint.allow: [10.0.0.1]"
    found = [str(one) for one in resolve(HUB % text + REST).warnings]
    assert [one.partition(": ")[2] for one in found] == [
        "'entrypoint.allow' has no effect without sd and entrypoint",
        "'sd.cache.expiration' has no effect without sd and entrypoint",
    ] or len(found) == 2


def test_everybody_in_the_allow_list_is_warned_of() -> None:
    found = resolve(
        HUB % "sd: sd0, entrypoint: '192.0.2.1:8420', entrypoint.allow: [0.0.0.0/0]" + REST
    ).warnings
    assert any("'entrypoint.allow': 0.0.0.0/0 lets everybody send" in one.message for one in found)


TWO = """\
services:
  - {name: a, addr: ':1', handler: {type: router, metadata: {router: r, sd: sd0, entrypoint: '%s'%s}}, listener: {type: tls}}
  - {name: b, addr: ':2', handler: {type: router, metadata: {router: r, sd: sd0, entrypoint: '%s'%s}}, listener: {type: tls}}
"""


@pytest.mark.parametrize(
    ("one", "other", "domain", "is_right"),
    [
        ("192.0.2.1:8420", "192.0.2.1:8420", "", False),
        ("192.0.2.1:8420", "192.0.2.1:8421", "", True),
        ("192.0.2.1:8420", "192.0.2.2:8420", "", True),
        ("192.0.2.1:8420", "192.0.2.1:8420", ", domain: d", True),
        ("192.0.2.1:8420", "192.0.2.1:8421", ", domain: d", False),
    ],
)
def test_two_services_with_one_entrypoint(one: str, other: str, domain: str, is_right: bool) -> None:
    text = TWO % (one, domain, other, domain) + REST
    if is_right:
        assert len(resolve(text).hubs) == 2
    else:
        assert len(problems(text)) == 1
