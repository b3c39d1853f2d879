"""Every message that something of GOST is not supported ends with what to do instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from lib import cli_main, config_instead, config_schema
from lib.config_gost_keys import (
    CHAIN_KEYS,
    CLIENT_KEYS,
    CONNECTORS,
    DIALERS,
    HANDLERS,
    HUB_KEYS,
    LISTENERS,
    MULTIPLEXED,
    PROXIES,
    PROXY_KEYS,
    TRANSPORTS,
)
from lib.config_section import Section
from tests.support.lib_trees import lib_trees
from tests.unit.test_config_resolve import CHAIN, CLIENT, HUB, TABLE, problems

NOTHING_MORE = "leave it out"
SAID_IN = {
    "cli_config.py": "a configuration from a URL: URL_OF_A_FILE",
    "config_gost_keys.py": "a metadata key without effect: behind the colon",
    "config_metadata.py": "a metadata key: instead_of_key",
    "config_no_effect.py": "a key without effect: behind the colon",
    "config_references.py": "reload of a file of hosts: SIGHUP and -R",
    "config_resolve.py": "a key: instead_of",
    "netfilter_table.py": "what the kernel says, and which part of it is missing",
    "source_read.py": "a Content-Encoding: which one to send",
    "stream_http_body.py": "a Transfer-Encoding: what to send",
}
"""The modules that say that something is not supported, and how their message ends."""
REASONS = sorted(
    {key.odd for keys in (HUB_KEYS, CLIENT_KEYS, CHAIN_KEYS) for key in keys.values()}
    | {
        reason
        for cls in vars(config_schema).values()
        if isinstance(cls, type) and issubclass(cls, Section)
        for reason in dict(cls.foreign).values()
    }
)


def sections() -> Iterator[type[Section]]:
    for value in vars(config_schema).values():
        if isinstance(value, type) and issubclass(value, Section):
            yield value


@pytest.mark.parametrize(
    ("section", "field"), [(cls, field) for cls in sections() for field in sorted(cls.not_yet)]
)
def test_a_key_that_is_not_supported_says_what_to_do_instead(section: type[Section], field: str) -> None:
    hint = config_instead.instead_of(section.__name__, field)
    assert hint != NOTHING_MORE
    assert hint.startswith(("leave it out", "write ")), hint


@pytest.mark.parametrize(
    "key",
    sorted(
        {
            k.name
            for keys in (HUB_KEYS, CLIENT_KEYS, CHAIN_KEYS, PROXY_KEYS)
            for k in keys.values()
            if k.not_yet
        }
    ),
)
def test_a_metadata_key_that_is_not_supported_says_what_to_do_instead(key: str) -> None:
    hint = config_instead.instead_of_key(key)
    assert hint != NOTHING_MORE
    assert hint.startswith(("leave it out", "write ")), hint


@pytest.mark.parametrize("kind", sorted(HANDLERS - {"router", "tun"}))
def test_a_handler_of_another_kind_says_how_to_start_beside_gost(kind: str) -> None:
    [wrong] = problems(
        f"services: [{{name: s, addr: ':1', handler: {{type: {kind}}}, listener: {{type: tcp}}}}]"
    )
    assert wrong.endswith("; start with --only-tunnel, which leaves this service to GOST")


@pytest.mark.parametrize("kind", sorted(LISTENERS - TRANSPORTS))
def test_a_hub_s_listener_of_another_kind_says_which_to_write(kind: str) -> None:
    [wrong] = problems(HUB.replace("type: tcp", f"type: {kind}") % "{router: r}", TABLE)
    assert "; write " in wrong


@pytest.mark.parametrize("kind", sorted(DIALERS - TRANSPORTS))
def test_a_dialer_of_another_kind_says_which_to_write(kind: str) -> None:
    [wrong] = problems(CLIENT % "{}", CHAIN.replace("type: tcp", f"type: {kind}"))
    assert "; write " in wrong
    assert kind not in MULTIPLEXED or f"; write {MULTIPLEXED[kind]}" in wrong


@pytest.mark.parametrize("kind", sorted(CONNECTORS - {"router"}))
def test_a_connector_of_another_kind_says_which_to_write(kind: str) -> None:
    [wrong] = problems(CLIENT % "{}", CHAIN.replace("type: router", f"type: {kind}"))
    assert "; write router" in wrong


@pytest.mark.parametrize("kind", sorted(CONNECTORS - set(PROXIES)))
def test_a_node_before_the_hub_of_another_kind_says_what_there_can_be(kind: str) -> None:
    before = (
        "{name: p, nodes: [{name: p, addr: 'p:1', connector: {type: %s}, dialer: {type: tcp}}]}, {name: h"
    )
    [wrong] = problems(CLIENT % "{}", CHAIN.replace("{name: h", before % kind))
    assert wrong.endswith("; there can be socks5, socks, socks4, socks4a, http")


@pytest.mark.parametrize(
    ("role", "key", "name"),
    [
        ("handler", "chainGroup: {chains: [c]}", "chainGroup"),
        ("service", "quotas: [q]", "quotas"),
        ("forwarder", "hop: h", "hop"),
        ("forwarder", "name: h", "name"),
        ("forwarder", "hopGroup: {hops: [{hop: h}]}", "hopGroup"),
    ],
)
def test_what_would_change_where_packets_go_or_how_many_is_no_mere_warning(
    role: str, key: str, name: str
) -> None:
    """GOST's chain group, forwarder hop and quota work in its routing tunnel too."""
    places = {"handler": "handler: {", "service": "{name: s, ", "forwarder": "forwarder: {"}
    text = CLIENT % "{}"
    assert text.count(places[role]) == 1
    [wrong] = problems(text.replace(places[role], f"{places[role]}{key}, "), CHAIN)
    assert f": {name!r} is not supported yet; " in wrong
    assert wrong.startswith("f:2:")


def test_no_other_message_says_that_something_is_not_supported() -> None:
    assert {path.name for path, tree in lib_trees("supported") if says_so(tree)} == set(SAID_IN), (
        "a new one ends with what to do instead, and has its line in SAID_IN"
    )


def says_so(tree: ast.Module) -> bool:
    """Whether a text of this module, no docstring, says that something is not supported."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return any(isinstance(node.value, str) and "not supported" in node.value for node in texts)


@pytest.mark.parametrize("reason", [r for r in REASONS if "not supported" in r])
def test_a_warning_that_something_is_not_supported_says_what_there_is_instead(reason: str) -> None:
    assert re.search("not supported yet: .{10}", reason)


def test_what_the_command_line_cannot_have_says_what_to_do_instead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli_main.main(["check", "-C", "http://x/gost.yml"]) == 2
    assert "is not supported yet; fetch it first" in capsys.readouterr().err
