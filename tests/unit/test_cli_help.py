"""`tunrouter COMMAND --help`: of every command what the usage text says of it, and nothing of others."""

from __future__ import annotations

import pytest

from lib import cli_entry, cli_grammar, cli_help
from lib.cli_usage import USAGE

COMMANDS = [command for command in cli_grammar.commands() if command.name]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli_entry.run(words, lambda arguments: pytest.fail("it ran")) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
@pytest.mark.parametrize("word", ["-h", "--help"])
def test_every_command_has_help(
    command: cli_grammar.Command, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, command.name, word)
    assert text.startswith(f"usage: tunrouter {command.name}")
    words = " ".join(text.split())
    assert all(option.about in words for option in command.options)
    others = [option for option in cli_grammar.options() if option not in command.options and option.long]
    assert not [option.long for option in others if f"  {option.long}" in text]
    assert all(len(line) <= cli_help.WIDTH for line in text.splitlines())


def test_it_comes_before_what_is_missing_or_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "invite", "host-7", "--nonsense", "--help").startswith("usage: tunrouter invite ")


def test_without_a_command_the_whole_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "nonsense", "--help") == USAGE
    assert not cli_help.is_asked(["join", "x"])
