"""YAML into sections: types by the field, every problem at once with its place, and back into text."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lib import config_read, config_yaml
from lib.config_schema import Config
from lib.config_yaml import generic
from lib.errors import ConfigError
from lib.go_values import SECONDS
from tests.support import texts
from tests.support.configs import checked


def load(text: str) -> Config:
    return checked(config_read.read([("f", text)]))


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


# --- scalars by the type the field wants


@pytest.mark.parametrize("text", ["0123", "no", "1:30", "on", "1e3", "0x10", '"~"'])
def test_text_stays_text_where_text_is_wanted(text: str) -> None:
    assert load(f"services: [{{name: {text}}}]").services[0].name == text.strip('"')


@pytest.mark.parametrize(
    ("word", "expected"), [("true", True), ("Yes", True), ("ON", True), ("no", False), ("Off", False)]
)
def test_switches_are_read_in_any_spelling(word: str, expected: bool) -> None:
    assert load(f"api: {{accesslog: {word}}}").api.accesslog is expected  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m30s", 90), ("5000000000", 5), ("'10s'", 10)], ids=["go", "ns", "quoted"]
)
def test_durations_in_both_forms(text: str, seconds: int) -> None:
    assert load(f"routers: [{{name: r, reload: {text}}}]").routers[0].reload == seconds * SECONDS


def test_null_and_empty_leave_the_default() -> None:
    loaded = load("services: [{name: ~, addr: , handler: null}]\nrouters:\n")
    assert (loaded.services[0].name, loaded.services[0].handler, loaded.routers) == ("", None, [])


def test_keys_are_case_insensitive_and_metadata_keys_come_out_lower_as_in_gost() -> None:
    loaded = load("SERVICES: [{Name: a, HANDLER: {Type: tun, metaData: {Router.ID: X}}}]")
    handler = loaded.services[0].handler
    assert handler is not None
    assert {key: generic(tree) for key, tree in handler.metadata.items()} == {"router.id": "X"}


def test_metadata_is_resolved_as_yaml_v3_does() -> None:
    text = (
        "{d: 5s, n: 0123, o: on, l: [1, x], e: null, f: 1.50, q: '7', t: 1:30, b: true, s: {A: 1}, i: 1e999}"
    )
    handler = load(f"services: [{{handler: {{metadata: {text}}}}}]").services[0].handler
    assert handler is not None
    assert {key: generic(tree) for key, tree in handler.metadata.items()} == {
        "d": "5s", "n": 83, "o": "on", "l": [1, "x"], "e": None, "f": 1.5, "q": "7", "t": "1:30", "b": True,
        "s": {"a": 1}, "i": "1e999",
    }  # fmt: skip


def test_json_is_yaml() -> None:
    assert load('{"services":[{"name":"z","addr":":1"}],\n\t"log":{"level":"warn"}}').services[0].addr == ":1"


# --- anchors, merge keys, bounds


def test_aliases_and_merge_keys() -> None:
    loaded = load("""
routers:
- &base {name: a, reload: 5s, routes: [{dst: 10.0.0.0/8, gateway: g}]}
- {<<: *base, name: b}
- <<: [{name: c}, *base]
""")
    assert [router.name for router in loaded.routers] == ["a", "b", "c"]
    assert [len(router.routes) for router in loaded.routers] == [1, 1, 1]


def test_an_alias_bomb_costs_a_problem() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    assert any("aliases expand to more than" in p for p in problems("\n".join(lines)))


def test_depth_is_bounded_also_through_aliases() -> None:
    assert any("nested deeper" in p for p in problems("[" * 5000))
    deep = "[" * 30 + "{}" + "]" * 30
    assert any("nested deeper" in p for p in problems(f"a: &a {deep.format('x')}\nb: &b {deep.format('*a')}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("services: [*gone]", "f:1:12: the alias *gone has no finished anchor &gone"),
        ("a: &a [*a]", "f:1:8: the alias *a has no finished anchor &a"),
        ("services: []\nServices: []", "f:2:1: the key 'Services' is there already; see line 1"),
        ("log: {level: a,\n      level: b}", "f:2:7: the key 'level' is there already; see line 1"),
        ("[a]: b", "f:1:1: a key must be a word"),
        ("log: !!python/object:x {}", "f:1:6: the tag tag:yaml.org,2002:python/object:x means nothing here"),
        ("log: {}\n---\nlog: {}", "f:2:1: a second document: one is read"),
        ("log: {<<: 5}", "f:1:11: << wants a mapping or a list of mappings"),
        ("log: {}\n\x07", "f:2:1: a character no YAML text holds: '\\x07'"),
    ],
)
def test_yaml_that_is_odd(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_a_syntax_error_has_its_place() -> None:
    (problem,) = problems("services:\n- name: a\n addr: b\n")
    assert problem.startswith("f:3:2: not YAML: ")
    (problem,) = problems("services:\n- name: a\n  addr :b\n  handler: {type: router}\n")
    assert problem.startswith("f:3:3: not YAML: "), "where the key stands, and not the line behind it"
    assert problem.endswith("; behind a key come a colon and a blank")


# --- problems, all at once


def test_all_problems_are_reported_at_once_with_place_and_hint() -> None:
    assert problems(
        """foo: bar
services:
- name: a
  handlr: {}
  listener: tun
  handler:
    authers: x
    metadata: [1]
routers:
- reload: 5x
  routes:
  - gatway: x
    dst: {}
"""
    ) == [
        "f:1:1: unknown key 'foo' in the configuration",
        "f:4:3: unknown key 'handlr' in a service section; did you mean 'handler'?",
        "f:5:13: a listener section wants keys and values, not a text",
        "f:7:14: 'authers' wants a list, not a text",
        "f:8:15: 'metadata' wants keys and values, not a list",
        "f:10:11: 'reload': not a duration: '5x' (write 10s, 1m30s or 500ms)",
        "f:12:5: unknown key 'gatway' in a route section; did you mean 'gateway'?",
        "f:13:10: 'dst' wants one value, not keys and values",
    ]


def test_read_keeps_what_is_good() -> None:
    kept = config_read.read([("f", "services: [{name: a, adr: x}, {name: b}]")])
    assert [service.name for service in kept.services] == ["a", "b"]
    assert len(kept.problems) == 1


def test_foreign_gost_keys_cost_one_warning_each() -> None:
    loaded = load("services: [{name: a, bypass: x}, {name: b, bypass: y, status: z}]\nprofiling: {}")
    assert [str(warning) for warning in loaded.warnings] == [
        "f:1:22: 'bypass' in a service section is asked by no handler of a routing tunnel, in GOST neither",
        "f:1:55: 'status' in a service section is what GOST's web API says of a running service; nothing reads it",
        "f:2:1: 'profiling' in the configuration is for GOST's own developers",
    ]


# --- several sources


def test_lists_are_appended_and_of_single_sections_the_last_wins() -> None:
    loaded = checked(
        config_read.read(
            [
                ("a", "services: [{name: x}]\nlog: {level: debug, format: json}"),
                ("b", "services: [{name: y}]\nlog: {level: warn}"),
            ]
        )
    )
    assert [service.name for service in loaded.services] == ["x", "y"]
    assert loaded.log is not None
    assert (loaded.log.level, loaded.log.format) == ("warn", "")


def test_problems_name_their_source() -> None:
    with pytest.raises(ConfigError) as caught:
        checked(config_read.read([("a.yml", "x: 1"), ("b.yml", "\ny: 1")]))
    assert [str(p.where) for p in caught.value.problems] == ["a.yml:1:1", "b.yml:2:1"]


def test_where_a_configuration_comes_from() -> None:
    assert config_read.default_files("/home/u")[:2] == [
        "/etc/tunrouter/tunrouter.yaml",
        "/etc/tunrouter/tunrouter.yml",
    ]
    assert config_read.default_files("/home/u")[-1] == "./tunrouter.json"
    assert "/home/u/.tunrouter/tunrouter.yml" in config_read.default_files("/home/u")
    assert config_read.is_inline(' {"log":{}}')
    assert not config_read.is_inline("file.yml")
    assert config_read.is_url("https://x/y.yml")


# --- back into text

FULL = """
services:
- {name: "no", addr: ":1", handler: {type: router, metadata: {a: 1, b: "1", c: [x], d: 1:30}}, listener: {type: tcp}}
chains:
- name: c
  hops: [{name: h, selector: {failTimeout: 10s}, nodes: [{name: n, addr: "x:1", dialer: {type: tcp, tls: {}}}]}]
routers: [{name: r, reload: 1m30s, routes: [{net: 1.2.3.4, gateway: x}]}]
"""


def test_json_has_nanoseconds_and_leaves_out_what_is_empty() -> None:
    assert json.loads(config_read.render(load(FULL), "json")) == {
        "services": [
            {
                "name": "no",
                "addr": ":1",
                "handler": {"type": "router", "metadata": {"a": 1, "b": "1", "c": ["x"], "d": "1:30"}},
                "listener": {"type": "tcp"},
            }
        ],
        "chains": [
            {
                "name": "c",
                "hops": [
                    {
                        "name": "h",
                        "selector": {"strategy": "", "maxFails": 0, "failTimeout": 10 * SECONDS},
                        "nodes": [{"name": "n", "addr": "x:1", "dialer": {"type": "tcp", "tls": {}}}],
                    }
                ],
            }
        ],
        "routers": [{"name": "r", "routes": [{"net": "1.2.3.4", "gateway": "x"}], "reload": 90 * SECONDS}],
    }


def test_yaml_has_go_durations() -> None:
    plain = yaml.safe_load(config_read.render(load(FULL), "yaml"))
    assert plain["routers"][0]["reload"] == "1m30s"
    assert plain["services"][0]["handler"]["metadata"]["d"] == "1:30"


@pytest.mark.parametrize("style", ["json", "yaml"])
def test_what_is_printed_reads_back_the_same(style: str) -> None:
    once = config_read.render(load(FULL), style)
    assert config_read.render(load(once), style) == once


# --- anything at all

_WORDS = st.sampled_from(
    ["services", "routers", ":", "-", " ", "\n", "{", "}", "[", "]", ",", "&a", "*a", "<<", "name", "'", '"', "!!", "|",
     "metadata", "handler", "1", "~", "#", "?", "\t", "reload", "10s"]
)  # fmt: skip


@given(st.one_of(texts.from_bytes(), st.lists(_WORDS).map(" ".join), st.lists(_WORDS).map("".join)))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    try:
        config_read.render(load(text), "json")
    except ConfigError as error:
        assert error.problems


@given(st.recursive(texts.from_json(5) | st.none(), lambda x: st.lists(x) | st.dictionaries(_WORDS, x)))
def test_any_json_is_a_config_or_a_config_error(value: object) -> None:
    try:
        config_read.render(load(json.dumps(value)), "yaml")
    except ConfigError as error:
        assert error.problems


def test_python_and_c_parsers_give_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = config_yaml.parse("f", FULL)
    monkeypatch.setattr(config_yaml, "_LOADER", yaml.SafeLoader)
    assert config_yaml.parse("f", FULL) == fast
