"""Hooks in a configuration: how commands are split, and what is said of wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib import cli_main
from lib.settings_hooks import NO_HOOKS, HookSettings
from tests.unit.test_config_resolve import CHAIN, CLIENT, HUB, TABLE, problems, resolve, warnings


def hub(**metadata: object) -> tuple[str, str]:
    return HUB.replace("name: s,", f"name: s, metadata: {json.dumps(metadata)},") % "{router: r}", TABLE


SPLIT = [
    ("ip rule add fwmark 1", ("ip", "rule", "add", "fwmark", "1")),
    ("  a\t'b  c' \"d 'e'\" f\\ g ", ("a", "b  c", "d 'e'", "f g")),
    ("a ''", ("a", "")),
    ("a b#c", ("a", "b#c")),
    ("echo $HOME ~ *", ("echo", "$HOME", "~", "*")),
]


@pytest.mark.parametrize(("text", "words"), SPLIT)
def test_a_command_is_split_into_words_and_nothing_else_is_done_to_it(text: str, words: tuple[str]) -> None:
    """As go-gost/x does with google/shlex: what it would be in a shell is no matter."""
    found = resolve(*hub(preUp=[text], postDown=[text, "true"]))
    assert not warnings(found)
    expected = (("preUp", (words,)), ("postDown", (words, ("true",))))
    assert found.hubs[0].hooks == HookSettings(expected)


def test_hooks_are_of_clients_too_and_nobody_has_any_by_default() -> None:
    client = CLIENT.replace("name: s,", "name: s, metadata: {preDown: [a b, ''], hookTimeout: 2s},") % "{}"
    assert resolve(client, CHAIN).clients[0].hooks == HookSettings((("preDown", (("a", "b"),)),), 2.0)
    assert resolve(CLIENT % "{}", CHAIN).clients[0].hooks is NO_HOOKS


WRONG = [
    ({"preUp": ["echo 'a"]}, "f:1:43: 'preUp': no closing quotation: \"echo 'a\""),
    ({"preUp": ["echo a\\"]}, "'preUp': no escaped character"),
    ({"postUp": ["'' a"]}, "'postUp': a command without a program: \"'' a\""),
    ({"postUp": ["a # b"]}, "a word that begins with #: to GOST that is a comment; leave it out"),
    ({"postUp": ["a\0"]}, "'postUp': a NUL in a command"),
    ({"postUp": [["a", "b"]]}, "'postUp' wants a list of commands, each a text"),
    ({"hookTimeout": "0s"}, "'hookTimeout': 0 s is not within 1 s to 1 h"),
    ({"hookTimeout": "soon"}, "'hookTimeout': "),
]


@pytest.mark.parametrize(("metadata", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_has_its_place(metadata: dict[str, object], said: str) -> None:
    [found] = problems(*hub(**metadata))
    assert said in found
    assert found.startswith("f:1:")


def test_in_a_handler_they_have_no_effect_and_that_is_an_error() -> None:
    [found] = problems(HUB % "{router: r, preUp: [a]}", TABLE)
    assert found.endswith("'preUp' has no effect in handler metadata; it belongs to service metadata")


ODD = [
    ({"preUp": "a b"}, "'preUp' is one command; GOST reads a list only, and would run nothing"),
    ({"preUp": ["a | b"]}, "no shell runs this command: '|' is an argument like any other; write a script"),
    ({"preUp": ["a >/dev/null"]}, "'>/dev/null' is an argument"),
    ({"preUp": ["a && b"]}, "'&&' is an argument"),
]


@pytest.mark.parametrize(("metadata", "said"), ODD, ids=lambda value: str(value)[:40])
def test_what_is_odd_is_a_warning(metadata: dict[str, object], said: str) -> None:
    [found] = warnings(resolve(*hub(**metadata)))
    assert said in found


def test_check_looks_for_the_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.yml"
    text = "".join(hub(preUp=["no-such-1 a"], postDown=["no-such-2"], postUp=["true"]))
    path.write_text(text + "notify: [{command: no-such-3}]\n")
    assert cli_main.main(["check", "-C", str(path), "--control", "none"]) == 2
    said = "".join(capsys.readouterr())
    assert f"{path}:1:" in said
    assert "'preUp': there is no program 'no-such-1'" in said
    assert "warning: " in said.partition("'postDown': there is no program 'no-such-2'")[0]
    assert "'true'" not in said
    assert "'command': there is no program 'no-such-3'" in said
