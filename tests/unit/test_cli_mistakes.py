"""What is said of a command line that docopt refuses."""

from __future__ import annotations

import docopt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.cli_flags import normalise
from lib.cli_mistakes import explanation
from lib.cli_usage import USAGE
from tests.support import texts


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ("statsu", "'statsu' is no command; did you mean 'status'?"),
        ("hub.yml", "'hub.yml' is no command; did you mean -C hub.yml?"),
        ("-L x frob", "'frob' is no command"),
        ("status --jsno", "unknown option --jsno; did you mean '--json'?"),
        ("--verion", "unknown option --verion; did you mean '--version'?"),
        ("--contrl x status", "unknown option --contrl; did you mean '--control'?"),
        ("-X 1", "unknown option -X"),
        ("status -api :18080", "status takes no --api"),
        ("-C -C --nope", "unknown option --nope"),
        ("top --json", "top takes no --json"),
        ("lint --control x a", "lint takes no --control"),
        ("-C", "-C needs a value; -C FILE"),
        ("-C a -O yaml -O json", "-O is given twice"),
        ("capture tcp", "capture needs -w FILE; the pcapng file to write; - for standard output"),
        ("kick", "kick needs HOST"),
        ("kick a b", "one word too many: 'b'"),
        ("status --control x extra", "one word too many: 'extra'"),
        ("completion", "completion needs bash or zsh or fish"),
        ("completion tcsh", "completion knows no 'tcsh'; write bash or zsh or fish"),
        ("check demo", "one word too many: 'demo'"),
        ("check hub.yml", "one word too many: 'hub.yml'; did you mean -C hub.yml?"),
        ("kick a hub.yml", "one word too many: 'hub.yml'"),
        ("-V -h", "a start takes no -V"),
    ],
)
def test_the_word_to_blame(argv: str, error: str) -> None:
    words = normalise(argv.split())
    with pytest.raises(docopt.DocoptExit):
        docopt.docopt(USAGE, words, default_help=False)
    assert explanation(words).splitlines()[0] == f"error: {error}"


def test_how_the_command_is_used_is_said() -> None:
    assert (
        "usage: tunrouter kick [--control PATH] [--service NAME] [--ns UUID] [--all] HOST"
        in explanation(["kick"]).splitlines()
    )


WORDS = [
    "status",
    "kick",
    "capture",
    "completion",
    "bash",
    "-C",
    "-L",
    "-w",
    "--json",
    "--json=1",
    "--nope",
    "-",
    "--",
    "x",
    "",
]


@given(st.lists(st.sampled_from(WORDS) | texts.from_bytes(8), max_size=6))
def test_any_words_are_explained(argv: list[str]) -> None:
    assert explanation(normalise(argv)).startswith("error: ")
