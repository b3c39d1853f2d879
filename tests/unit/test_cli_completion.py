"""What bash, zsh and fish offer, asked of the shells themselves."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from lib import cli_completion, cli_grammar
from lib.cli_usage import USAGE
from tests.support.netns import ROOT

SHELLS = ("bash", "zsh", "fish")
COMMANDS = set(
    re.findall(r"^  ([a-z]+)  ", USAGE.partition("Commands:")[2].partition("Options:")[0], re.MULTILINE)
)
RUN = {
    "-L", "-F", "-C", "-O", "-D", "-R", "--only-tunnel", "--api", "--metrics", "--control", "--user", "--single", "--trace",
    "-V", "--version", "-h", "--help",
}  # fmt: skip

CASES: dict[str, set[str]] = {
    "tunrouter ": COMMANDS,
    "tunrouter dr": {"drops", "drain"},
    "tunrouter status --": {"--control", "--host", "--ns", "--cluster", "--all", "--watch", "--json"},
    "tunrouter health --": {"--control", "--host", "--ns", "--json"},
    "tunrouter kick --": {"--all", "--control", "--ns", "--service"},
    "tunrouter --s": {"--single"},
    "tunrouter lint --": {"--json"},
    "tunrouter -C check --met": {"--metrics"},  # a file of that name is no command
    "tunrouter completion ": {"bash", "zsh", "fish"},
    "tunrouter -O ": {"yaml", "json"},
    "tunrouter -R ": set(),
    "tunrouter man ": set(),
    "tunrouter -C sub/fi": {"sub/first.yml"},
    "tunrouter capture -w sub/": {"sub/first.yml", "sub/second.json"},
    "tunrouter lint sub/s": {"sub/second.json"},
    "tunrouter kick ": {"host-1", "site.2"},
    "tunrouter drain --control x ho": {"host-x"},
    "tunrouter capture --host ": {"host-1", "site.2"},
    "tunrouter explain --service ": {"hub"},
    "tunrouter routes --ns ": {"e87f56dd-fd57-4921-9ab8-a0847662daae", "Shop Berlin", "Büro"},
    "tunrouter status --ns B": {"Büro"},
}

SESSIONS = """{
  "sessions": [
    {
      "service": "hub",
      "host": "host-1",
      "namespace": "e87f56dd-fd57-4921-9ab8-a0847662daae",
      "title": "Shop Berlin"
    },
    {
      "service": "hub",
      "host": "site.2",
      "namespace": "e87f56dd-fd57-4921-9ab8-a0847662daae",
      "title": "B\\u00fcro"
    },
    {
      "service": "hub",
      "host": "$(touch broken-in)`touch broken-in`;touch broken-in",
      "title": "$(touch broken-in)\\u0007\\u0060touch broken-in\\u0060"
    },
    {
      "service": "hub",
      "host": "no title, \\\"title\\\": \\\"no",
      "title": ""
    }
  ]
}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the shells run: files to complete, and a tunrouter that answers as one that runs."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "first.yml").touch()
    (tmp_path / "sub" / "second.json").touch()
    (tmp_path / "status").write_text(SESSIONS)
    program = tmp_path / "tunrouter"
    program.write_text(
        '#!/bin/sh\n[ "$1 $2" = "status --json" ] || exit 1\n'
        '[ "$3 $4" = "--control x" ] && exec sed "s/host-1/host-x/" status\n[ $# = 2 ] && exec cat status\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for shell in SHELLS:
        (tmp_path / f"script.{shell}").write_text(cli_completion.script(shell))
    return tmp_path


def run(place: Path, *argv: str) -> str:
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed: make tools-test, as root")
    environ = os.environ | {
        "PATH": f"{place}:{os.environ['PATH']}",
        "HOME": str(place),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(argv, cwd=place, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


BASH = r"""
source script.bash
compopt() { :; }  # only inside a real completion
for line in "$@"; do
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _tunrouter tunrouter
    ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
    echo =
done
"""
FISH = r"""
source script.fish
for line in $argv
    complete -C $line | string replace -r '\t.*' ''
    echo =
end
"""


def offered(shell: str, place: Path, lines: list[str]) -> list[set[str]]:
    """What the shell offers for each line."""
    argv = {
        "bash": ("bash", "--norc", "-c", BASH, "bash"),
        "zsh": ("zsh", "-f", str(ROOT / "tests" / "support" / "zsh_capture.zsh"), "script.zsh"),
        "fish": ("fish", "--no-config", "-c", FISH),
    }[shell]
    said = run(place, *argv, *lines)
    return [set(part.split("\n")) - {""} for part in said.split("=\n")[:-1]]


@pytest.mark.parametrize("shell", SHELLS)
def test_what_a_shell_offers(shell: str, place: Path) -> None:
    found = offered(shell, place, list(CASES))
    assert len(found) == len(CASES)
    wrong = {}
    for (line, expected), words in zip(CASES.items(), found, strict=True):
        if shell == "zsh":  # it is given the folder once, and names in it
            expected = {word.removeprefix("sub/") for word in expected}
        if shell != "fish":  # which quotes by itself
            words = {word.replace("\\ ", " ") for word in words}
        if words != expected:
            wrong[line] = words
    assert not wrong
    assert not (place / "broken-in").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_offered(shell: str, place: Path) -> None:
    commands = cli_grammar.commands()
    wanted = []
    for command in commands:
        names = {name for option in command.options for name in option.names}
        wanted.append(names | {"-V", "--version", "-h", "--help"} if not command.name else names)
    assert wanted[0] == RUN
    lines = [f"tunrouter {command.name} -".replace("  ", " ") for command in commands]
    longs = [f"{line}-" for line in lines]
    found = [
        one | two for one, two in zip(offered(shell, place, lines), offered(shell, place, longs), strict=True)
    ]
    assert dict(zip(lines, found, strict=True)) == dict(zip(lines, wanted, strict=True))


def test_bash_takes_an_equals_sign(place: Path) -> None:
    """bash cuts words there."""
    lines = ["tunrouter kick --control = x ho", "tunrouter kick --ns =", "tunrouter kick --ns = e8"]
    uuid = "e87f56dd-fd57-4921-9ab8-a0847662daae"
    assert offered("bash", place, lines) == [{"host-x"}, {uuid, r"Shop\ Berlin", "Büro"}, {uuid}]


def test_bash_quotes_a_title_with_a_blank(place: Path) -> None:
    """As it was begun: bash adds the other quote."""
    lines = ["tunrouter routes --ns Sh", 'tunrouter routes --ns "Sh', "tunrouter routes --ns 'Sh"]
    assert offered("bash", place, lines) == [{r"Shop\ Berlin"}, {"Shop Berlin"}, {"Shop Berlin"}]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_sound(shell: str, place: Path) -> None:
    assert run(place, shell, "-n", f"script.{shell}") == ""


def test_kinds_are_of_options_and_operands_there_are() -> None:
    operands = {name for command in cli_grammar.commands() for name in command.operands}
    options = {name for option in cli_grammar.options() for name in option.names if option.value}
    assert cli_completion.VALUES.keys() <= operands | options
