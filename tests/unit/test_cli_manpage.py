"""The manual page: whole, and what groff and mandoc call clean."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lib import cli_grammar, cli_manpage
from lib.cli_usage import LONG_FLAGS, USAGE

PAGE = cli_manpage.page("1.2.3", "2026-11-25")
SECTIONS = "NAME|SYNOPSIS|DESCRIPTION|COMMANDS|OPTIONS|EXIT STATUS|FILES|SIGNALS|ENVIRONMENT|CONFIGURATION|EXAMPLES|SEE ALSO"
MACROS = {"TH", "SH", "SS", "TP", "PP", "HP", "B", "I", "BR", "RS", "RE", "nf", "fi", "nh", "hy", "ad"}


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "tunrouter.8"
    file.write_text(PAGE)
    return str(file)


def plain() -> str:
    """The page's text without its macros and escapes."""
    text = re.sub(r"\\f[BIR]|\\&", "", PAGE)
    for roff, letter in (("\\-", "-"), ("\\(aq", "'"), ("\\(ga", "`"), ("\\(ti", "~"), ("\\e", "\\")):
        text = text.replace(roff, letter)
    return text


def part(title: str) -> str:
    return plain().partition(f"\n.SH {title}\n")[2].partition("\n.SH ")[0]


def test_sections_in_the_usual_order() -> None:
    assert re.findall(r"^\.SH (.*)$", PAGE, re.MULTILINE) == SECTIONS.split("|")


def test_every_option_has_its_entry() -> None:
    found = set(re.findall(r"(?:^|, )(--?[\w-]+)", "\n".join(part("OPTIONS").split("\n.TP\n")), re.MULTILINE))
    assert {f"--{name}" for name in LONG_FLAGS} <= found
    assert set(re.findall(r"^  (-\w)", USAGE, re.MULTILINE)) <= found


def test_every_command_has_its_entry_and_its_synopsis() -> None:
    for command in cli_grammar.commands():
        assert f"tunrouter {command.synopsis}".strip() in part("SYNOPSIS")
        if command.name:
            assert f".B {command.name}\n{command.about.split()[0]}" in part("COMMANDS")


def test_every_word_of_the_usage_text_is_there() -> None:
    page = " ".join(plain().split())
    for option in cli_grammar.options():
        assert option.about in page
    assert cli_grammar.closing() in page


def test_version_and_day_are_in_the_title_line() -> None:
    assert PAGE.startswith('.TH TUNROUTER 8 "2026-11-25" "tunrouter 1.2.3"')


@pytest.mark.parametrize(
    "checker", [("mandoc", "-T", "lint", "-W", "style"), ("man", "--warnings", "-E", "UTF-8", "-l")]
)
def test_nothing_to_complain_about(checker: tuple[str, ...], path: str) -> None:
    if shutil.which(checker[0]) is None:
        pytest.skip(f"{checker[0]} is not installed: make tools-test, as root")
    done = subprocess.run((*checker, path), capture_output=True, text=True, timeout=60)
    said = done.stderr if checker[0] == "man" else done.stdout + done.stderr
    assert (done.returncode, said) == (0, "")


def test_letters_that_roff_would_read_are_written_out() -> None:
    assert set(re.findall(r"^[.'](\S*)", PAGE, re.MULTILINE)) <= MACROS
    body = PAGE.partition("\n")[2]
    assert "`" not in body
    assert "~" not in body
