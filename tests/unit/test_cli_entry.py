"""The way in: what is done at once, by the checkout and by the executable."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib import cli_entry

ROOT = Path(__file__).parents[2]
UNPACK = ROOT / "packaging" / "bootloader" / "tunrouter_unpack.c"


@pytest.mark.parametrize(
    ("argv", "at_once"),
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
        ("--version", True),
        ("-version", True),
        ("-h", True),
        ("-D --version", False),
        ("-C -h", False),
        ("-C=-h", False),
        ("-C=status", False),
    ],
)
def test_what_is_done_at_once(argv: str, at_once: bool) -> None:
    assert cli_entry.is_at_once(argv.split()) is at_once


def test_what_the_bootloader_unpacks_little_for_is_done_at_once() -> None:
    table = re.search(r"AT_ONCE\[\] = \{(.*?)\}", UNPACK.read_text(), re.DOTALL)
    assert table
    words = re.findall(r'"(\S+)"', table[1])
    assert set(words) == {name for name, _ in cli_entry.AT_ONCE} | {"-h", "-V"}
    assert all(cli_entry.is_at_once([word, "more"]) for word in words)


def test_what_is_no_command_line_costs_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_entry.do_at_once(["kick"]) == 2
    assert capsys.readouterr().err.startswith("error: kick needs HOST\nusage: tunrouter kick ")


def test_nobody_to_ask_costs_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_entry.do_at_once(["status", "--control", "/nonexistent"]) == 1
    assert capsys.readouterr().err == "error: control socket /nonexistent: No such file or directory\n"


@pytest.mark.parametrize(("option", "value"), [("--ns", "x" * 65), ("PREFIX", "10.0.0.1/x")])
def test_what_is_no_value_costs_2(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [option, value] if option.startswith("--") else [value]
    assert cli_entry.do_at_once(["routes", *words]) == 2
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "check", "explain"])
@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("-C a", ["a"]),
        ("-C a -C b", ["a", "b"]),
        ("-C a -C b -C a", ["a", "b", "a"]),
        ("-Ca -C=b -C -C", ["a", "b", "-C"]),
        ("", []),
    ],
)
def test_what_is_given_more_than_once_is_there_as_often(command: str, words: str, values: list[str]) -> None:
    """docopt has [a, b, b] for `check -C a -C b`: a second -L was said to listen where it does already."""
    seen: list[object] = []

    def note(arguments: cli_entry.Arguments) -> int:
        seen.append(arguments["-C"])
        return 0

    address = ["10.0.0.1"] if command == "explain" else []
    assert cli_entry.run([*filter(None, [command]), *words.split(), *address], note) == 0
    assert seen == [values]


@pytest.mark.parametrize("kilobytes", [20_000, 40_000])
@pytest.mark.parametrize("command", ["--version", "check -L router://127.0.0.1:0"])
def test_too_little_memory_to_load_the_program_is_one_line(kilobytes: int, command: str) -> None:
    limited = f"ulimit -v {kilobytes}; exec {sys.executable} {ROOT / 'tunrouter.py'} {command}"
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, timeout=60)
    if done.returncode:
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: not enough memory: see ulimit -v")
        assert done.stderr.count("\n") == 1
    else:
        assert command == "--version", "gevent does not fit"


def test_a_checkout_whose_requirements_are_not_installed_says_so_in_one_line() -> None:
    program = (sys.executable, "-S", str(ROOT / "tunrouter.py"), "check", "-L", "router://:8443")
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, env={})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: No module named 'gevent': install what requirements.txt names\n"
