"""-L and -F: the same configuration as a real GOST makes of them (tests/data/command_lines.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cli_flags, config_from_urls, config_read
from lib.errors import ConfigError
from tests.support import texts
from tests.support.configs import checked

CASES = json.loads((Path(__file__).parent.parent / "data" / "command_lines.json").read_text())
OURS_DIFFERS = {
    "-L bogus://:8443": "-L 1: unknown scheme 'bogus' in bogus://",
    "-L router+bogus://:8443": "-L 1: unknown scheme 'bogus' in router+bogus://",
}
"""GOST falls back to plain TCP for a scheme it does not know; here it is an error."""


def arguments(argv: list[str]) -> dict[str, Any]:
    """What app hands over for a command line."""
    taken: dict[str, Any] = {"listens": [], "forwards": []}
    words = iter(cli_flags.normalise(argv))
    for word in words:
        if word == "-D":
            taken["level"] = "debug"
        elif word in ("-L", "-F"):
            taken["listens" if word == "-L" else "forwards"].append(next(words))
        else:
            taken[word.removeprefix("--")] = next(words)
    return taken


def printed(*listens: str, forwards: list[str] | None = None) -> Any:
    return json.loads(config_read.render(checked(config_from_urls.read(listens, forwards or [])), "json"))


def refusal(*listens: str, forwards: list[str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        checked(config_from_urls.read(listens, forwards or []))
    return str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=[f"{n}: {' '.join(c['argv'])}" for n, c in enumerate(CASES)])
def test_recorded_command_line(case: dict[str, Any]) -> None:
    line = " ".join(case["argv"])
    taken = arguments(case["argv"])
    if line in OURS_DIFFERS:
        with pytest.raises(ConfigError) as caught:
            checked(config_from_urls.read(**taken))
        assert str(caught.value) == OURS_DIFFERS[line]
    elif case["config"] is None:  # GOST wants a service; here meaning does (test_meaning)
        assert checked(config_from_urls.read(**taken)).services == []
    else:
        assert (
            json.loads(config_read.render(checked(config_from_urls.read(**taken)), "json")) == case["config"]
        )


# --- beyond the recorded ones; each checked by hand against GOST 3.3.0's -O


def test_generated_names_avoid_those_of_files() -> None:
    taken = checked(config_read.read([("f", "services: [{name: service-0}]\nchains: [{name: chain-0}]")]))
    made = config_from_urls.read(["tun:///h"], ["router://h:1"], taken=taken)
    assert (made.services[0].name, made.chains[0].name) == ("service-1", "chain-1")
    assert made.services[0].handler is not None
    assert made.services[0].handler.chain == "chain-1"


def test_login_is_percent_decoded() -> None:
    (service,) = printed("router://us%3Aer:p%40ss@:1")["services"]
    assert service["handler"]["auth"] == {"username": "us:er", "password": "p@ss"}


def test_auth_parameter_counts_where_the_url_names_no_user() -> None:
    node = printed(forwards=["router://h:1?auth=YTpi"])["chains"][0]["hops"][0]["nodes"][0]
    assert node["connector"]["auth"] == {"username": "a", "password": "b"}
    node = printed(forwards=["router://u:p@h:1?auth=YTpi"])["chains"][0]["hops"][0]["nodes"][0]
    assert node["connector"]["auth"] == {"username": "u", "password": "p"}


def test_host_name_stays_as_written() -> None:
    assert printed("tun:///host%2d1")["services"][0]["forwarder"]["nodes"][0]["addr"] == "host%2d1"


def test_selector_defaults_once_anything_is_said() -> None:
    hop = printed(forwards=["router://[::1]:443?strategy=rand"])["chains"][0]["hops"][0]
    assert hop["selector"] == {"strategy": "rand", "maxFails": 1, "failTimeout": 30_000_000_000}
    assert hop["nodes"][0]["addr"] == "[::1]:443"
    assert hop["nodes"][0]["dialer"]["tls"] == {"serverName": "::1"}


@pytest.mark.parametrize("written", ["[fe80::1%25eth0]", "[fe80::1%eth0]"])
def test_a_link_local_address_with_its_device(written: str) -> None:
    """As RFC 6874 and Go want it in a URL, and as `ip` and `ping` take it. `%25` alone is device 25."""
    made = printed(f"router://{written}:8443?router=r", forwards=[f"router://h:1,{written}:443"])
    assert made["services"][0]["addr"] == "[fe80::1%eth0]:8443"
    assert made["chains"][0]["hops"][0]["nodes"][1]["addr"] == "[fe80::1%eth0]:443"
    alone = printed(forwards=[f"router+tls://{written}:443"])["chains"][0]["hops"][0]["nodes"][0]
    assert alone["dialer"]["tls"] == {"serverName": "fe80::1"}
    assert printed("router://[fe80::1%25]:1")["services"][0]["addr"] == "[fe80::1%25]:1"


def test_selector_of_a_listen_url_is_its_forwarders() -> None:
    (service,) = printed("tun:///h?max_fails=2")["services"]
    assert service["forwarder"]["selector"] == {
        "strategy": "round",
        "maxFails": 2,
        "failTimeout": 30_000_000_000,
    }


def test_forward_url_without_a_scheme_is_an_http_proxy() -> None:
    node = printed(forwards=["h:80"])["chains"][0]["hops"][0]["nodes"][0]
    assert (node["connector"], node["dialer"]["type"]) == ({"type": "http"}, "tcp")


def test_tls_parameters_in_their_long_spelling() -> None:
    url = "router+tls://:8443?tls.certFile=a&key=b&ca=c&cert=d&keyFile=g"
    assert printed(url)["services"][0]["listener"]["tls"] == {"certFile": "a", "keyFile": "g", "caFile": "c"}


def test_service_only_parameters() -> None:
    (service,) = printed("tun:///h?interface=e&netns=n&retries=3&dns=1,2&limiter.in=1MB")["services"]
    assert service["handler"] == {"type": "tun", "retries": 3, "metadata": {"dns": ["1", "2"]}}
    assert service["listener"]["metadata"] == {"dns": ["1", "2"], "limiter.in": "1MB", "retries": "3"}
    assert service["metadata"] == service["listener"]["metadata"] | {"interface": "e", "netns": "n"}


def test_limits_and_admissions() -> None:
    made = printed(
        "router://:1?limiter.conn.in=1KB&limiter.conn.out=2KB&admission=1.1.1.1,2.2.2.2&limiter.out=1KB"
    )
    assert made["limiters"] == [{"name": "limiter-0", "limits": ["$  1KB", "$$ 1KB 2KB"]}]
    assert made["admissions"] == [{"name": "admission-0", "matchers": ["1.1.1.1", "2.2.2.2"]}]


def test_api_and_metrics_urls() -> None:
    made = checked(
        config_from_urls.read(
            [], [], api="user:pass@:1?pathPrefix=/a&accesslog=true", metrics="user:pass@:2?path=/b"
        )
    )
    auth = {"username": "user", "password": "pass"}
    assert json.loads(config_read.render(made, "json")) == {
        "api": {"addr": ":1", "pathPrefix": "/a", "accesslog": True, "auth": auth},
        "metrics": {"addr": ":2", "path": "/b", "auth": auth},
    }


def test_a_parameter_given_twice_is_told_of() -> None:
    made = checked(config_from_urls.read(["router://:1?router=a&router=b"]))
    assert [str(w) for w in made.warnings] == ["-L 1: 'router' is given twice: the first counts"]
    assert made.services[0].handler is not None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "an empty URL"),
        ("ruoter://:1", "unknown scheme 'ruoter' in ruoter://; did you mean 'router'?"),
        ("router+tsl://:1", "unknown scheme 'tsl' in router+tsl://; did you mean 'tls'?"),
        ("tls+router://:1", "the wrong way round"),
        ("router://:1#x", "a # in a URL"),
        ("router://:1?a=%zz", "a % without two hex digits"),
        ("tun:///a%b", "a % without two hex digits"),
        ("router://:1\n", None),
        ("router://:1?a=\x00", "a control character"),
        ("router://:1?auth=bad", "is not the base64 of user:pass"),
        ("router://:1?retries=x", "retries: not a whole number"),
    ],
)
def test_listen_url_that_is_wrong(url: str, expected: str | None) -> None:
    if expected is None:  # blanks around are cut off, as in GOST
        assert checked(config_from_urls.read([url])).services[0].addr == ":1"
    else:
        assert expected in refusal("router://:2", url)
        assert refusal("router://:2", url).startswith("-L 2: ")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("router://", "no address to dial"),
        ("router://h:1/x", "a path means nothing in -F"),
        ("router://h:1?failTimeout=x", "failTimeout: not a duration"),
        ("router://h:1?secure=perhaps", "secure: neither on nor off"),
    ],
)
def test_forward_url_that_is_wrong(url: str, expected: str) -> None:
    assert expected in refusal("tun:///h", forwards=[url])


def test_all_wrong_urls_are_reported_at_once() -> None:
    lines = refusal("x://", "y://", forwards=["z://h:1"]).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["-F 1", "-L 1", "-L 2"]


GOST_ANNOUNCES = {
    "höst": "h%C3%B6st",
    "h%C3%B6st": "h%C3%B6st",
    "h%c3%b6st": "h%c3%b6st",
    "h%c3%b6 st": "h%C3%B6%20st",
    "日本": "%E6%97%A5%E6%9C%AC",
    "a b": "a%20b",
    "a%20b": "a%20b",
    "a%2fb": "a%2fb",
    "a%2f b": "a/%20b",
    'a"b': "a%22b",
    "a|b": "a%7Cb",
    "a<b": "a%3Cb",
    "a\\b": "a%5Cb",
    "a^b`c{d}": "a%5Eb%60c%7Bd%7D",
    "a/b//c/": "a/b//c",
    "host-1": "host-1",
    "a;@[*~!'(=&$+.-_b": "a;@[*~!'(=&$+.-_b",
    "a;@[*~!'(=&$+.-_ö": "a;@%5B%2A~%21%27%28=&$+.-_%C3%B6",
}
"""What a real GOST 3 sends as its host name for this path of a tun:// URL."""


@pytest.mark.parametrize("path", GOST_ANNOUNCES)
def test_a_host_of_a_url_goes_by_the_name_that_gost_gives_it(path: str) -> None:
    made = checked(config_from_urls.read([f"tun:///{path}"], ["router://h:1"]))
    assert made.services[0].forwarder is not None
    (node,) = made.services[0].forwarder.nodes
    assert node.addr == GOST_ANNOUNCES[path]
    assert [str(warning) for warning in made.warnings] == (
        []
        if node.addr == path.strip("/")
        else [
            f"-L 1: this host goes by {node.addr!r}, as under GOST, which encodes it; routes have to name it so"
        ]
    )


# --- flags


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("-L=x -F=y", "-L x -F y"),
        ("--L x", "-L x"),
        ("-L --F", "-L --F"),
        ("-api :1 -metrics=:2", "--api :1 --metrics :2"),
        ("-L router://:1?a=b", "-L router://:1?a=b"),
        ("-D=true -V=false", "-D"),
        ("-C - check", "-C - check"),
        ("check -- -api", "check -- -api"),
        ("-unknown", "-unknown"),
        ("demo --keep", "demo --keep"),
    ],
)
def test_normalise(argv: str, expected: str) -> None:
    assert cli_flags.normalise(argv.split()) == expected.split()


# --- anything at all

_PARTS = st.sampled_from(
    ["router", "tun", "+", "tls", "://", ":", "@", "/", "?", "&", "=", "%", "#", ",", "[", "]", "h", "8443", "auth",
     "secure", "failTimeout", "so_mark", "limiter.in", "handler.", "node."]
)  # fmt: skip
_URLS = st.lists(texts.from_bytes() | st.lists(_PARTS).map("".join), max_size=3)


@given(_URLS, _URLS)
def test_any_urls_are_a_config_or_a_config_error(listens: list[str], forwards: list[str]) -> None:
    try:
        config_read.render(checked(config_from_urls.read(listens, forwards)), "yaml")
    except ConfigError as error:
        assert error.problems


@given(st.lists(texts.from_bytes()))
def test_any_flags_are_normalised(argv: list[str]) -> None:
    assert all(isinstance(word, str) for word in cli_flags.normalise(argv))
