"""The usage text as data."""

from __future__ import annotations

from lib import cli_grammar
from lib.cli_usage import USAGE

BY_NAME = {command.name: command for command in cli_grammar.commands()}


def names(command: str) -> list[str]:
    return [option.names[-1] for option in BY_NAME[command].options]


def test_alternatives_are_commands_of_their_own() -> None:
    assert names("kick") == names("drain") == ["--control", "--service", "--ns", "--all"]
    assert BY_NAME["kick"].operands == BY_NAME["drain"].operands == ("HOST",)
    assert BY_NAME["man"].options == BY_NAME["licences"].options == ()


def test_lines_that_go_on_are_one_command() -> None:
    assert names("")[-3:] == ["--user", "--single", "--trace"]
    assert names("explain")[-2:] == ["--port", "--json"]


def test_what_may_be_given_more_than_once() -> None:
    assert BY_NAME[""].repeats == {"-L", "-F", "-C"}
    assert BY_NAME["lint"].repeats == {"FILE"}
    assert BY_NAME["capture"].repeats == {"FILTER"}
    assert BY_NAME["kick"].repeats == frozenset()


def test_values_are_no_operands() -> None:
    assert BY_NAME["capture"].operands == ("FILTER",)
    assert BY_NAME["routes"].operands == ("PREFIX",)
    assert BY_NAME["demo"].operands == ()


def test_choices() -> None:
    assert BY_NAME["completion"].choices == ("bash", "zsh", "fish")
    assert all(not command.choices for command in cli_grammar.commands() if command.name != "completion")


def test_an_explanation_of_two_lines_is_one() -> None:
    about = next(option.about for option in cli_grammar.options() if option.long == "--control")
    assert about == (
        "the path of the control socket, or the word none for no control socket; the default is /run/tunrouter/PID.sock; not as root, in $XDG_RUNTIME_DIR. Without it, commands ask the one process that runs; root finds those of all users"
    )


def test_every_command_of_the_usage_lines_is_explained_and_no_other() -> None:
    explained = [line.split()[0] for line in cli_grammar.section("Commands")]
    assert explained == [name or "(none)" for name in BY_NAME]


def test_every_option_is_used_by_a_command_or_stands_alone() -> None:
    used = {option for command in cli_grammar.commands() for option in command.options}
    assert used | set(cli_grammar.switches()) == set(cli_grammar.options())


def test_what_comes_last() -> None:
    assert cli_grammar.closing().startswith("Without -L and -C,")
    assert USAGE.endswith("again.\n")
