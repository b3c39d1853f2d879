"""The way in: what is a question to a running process."""

from __future__ import annotations

import pytest

from lib import front


@pytest.mark.parametrize(
    ("argv", "is_question"),
    [
        ("status", True),
        ("--control /x status --json", True),
        ("-control=/x drops", True),
        ("top --sort host", True),
        ("kick status", True),
        ("", False),
        ("-C status", False),
        ("-L tun:///a -F router://status:1", False),
        ("check -C top", False),
        ("explain --from a 10.0.0.1", False),
        ("--version", False),
    ],
)
def test_questions(argv: str, is_question: bool) -> None:
    assert front.is_question(argv.split()) is is_question


def test_what_is_no_command_line_costs_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.ask(["kick"]) == 2
    assert capsys.readouterr().err.startswith("error: kick needs HOST\nusage: tunrouter kick ")


def test_nobody_to_ask_costs_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.ask(["status", "--control", "/nonexistent"]) == 1
    assert capsys.readouterr().err == "error: control socket /nonexistent: No such file or directory\n"


@pytest.mark.parametrize(("option", "value"), [("--ns", "nonsense"), ("PREFIX", "10.0.0.1/x")])
def test_what_is_no_value_costs_2(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [option, value] if option.startswith("--") else [value]
    assert front.ask(["routes", *words]) == 2
    assert option in capsys.readouterr().err
