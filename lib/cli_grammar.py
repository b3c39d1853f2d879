"""The usage text as data: commands with options, operands and choices, each with its explanation.

Knows: how usage.USAGE is laid out.
Refuses to know: shells (cli_completion), roff (cli_manpage), what anything does (cli_main).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from lib.cli_usage import USAGE, flags

_OPTIONS = re.compile(r"(?<![\w-])(--?[A-Za-z]+)")
_OPERAND = re.compile(r"(?<![\w=-])[A-Z]{4,}")
_VALUE = re.compile(r"(--?\w+) [A-Z]+")
_REPEATED = re.compile(r"\[(--?\w+)[^\]]*\]\.\.\.|([A-Z]{4,})\]?\.\.\.")
_ALTERNATIVES = re.compile(r"\(([^()]*)\)")
_ENTRY = re.compile(r"  (\S.*?)(?:  +(\S.*))?")


@dataclass(frozen=True, slots=True)
class Option:
    """One option: -C FILE, or --json."""

    short: str
    long: str
    value: str
    """The name of its value, empty for a switch."""
    about: str

    @property
    def names(self) -> tuple[str, ...]:
        """-h and --help, or the one there is."""
        return tuple(name for name in (self.short, self.long) if name)


@dataclass(frozen=True, slots=True)
class Command:
    """One command, or "" for none, which runs."""

    name: str
    about: str
    synopsis: str
    """Its line of the usage text, without the program's name."""
    options: tuple[Option, ...]
    operands: tuple[str, ...]
    """The names of what else it takes, as HOST."""
    choices: tuple[str, ...]
    """What its operand can be, where that is known."""
    repeats: frozenset[str]
    """Options and operands that may be given more than once."""


def title() -> str:
    """The usage text's first line."""
    return USAGE.partition("\n")[0]


def section(title: str) -> list[str]:
    """The lines under a title of the usage text, up to the empty line."""
    _, _, rest = USAGE.partition(f"\n{title}:\n")
    return rest.partition("\n\n")[0].splitlines()


def closing() -> str:
    """What the usage text says after everything."""
    return " ".join(USAGE.rpartition("\n\n")[2].split())


@cache
def options() -> tuple[Option, ...]:
    """Every option, in the text's order."""
    abouts = [about for _, about in _entries("Options")]
    return tuple(Option(*flag, about) for flag, about in zip(flags(), abouts, strict=True))


@cache
def commands() -> tuple[Command, ...]:
    """Every command, "" first, in the text's order."""
    abouts = {name.replace("(none)", ""): about for name, about in _entries("Commands")}
    made = [command for line in _lines() for command in _commands(line, abouts)]
    return tuple(sorted(made, key=lambda command: list(abouts).index(command.name)))


def switches() -> tuple[Option, ...]:
    """Options that stand alone, as --version."""
    return tuple(option for option in options() if option.long in ("--version", "--help"))


def options_of(command: Command) -> tuple[Option, ...]:
    """What may be written with it; without a command that is also what stands alone."""
    return command.options if command.name else (*command.options, *switches())


def _lines() -> list[str]:
    """The usage lines, each whole, without the program's name."""
    lines: list[str] = []
    for line in section("Usage"):
        if line.startswith("  tunrouter"):
            lines.append(line.removeprefix("  tunrouter").strip())
        else:
            lines[-1] += " " + line.strip()
    return lines


def _commands(line: str, abouts: dict[str, str]) -> list[Command]:
    """The commands of one usage line: one, none where it starts with an option, or several alternatives."""
    head, _, rest = line.partition(" ") if not line.startswith("(") else line.partition(") ")
    names = head.strip("()").replace("|", " ").split()
    if names[0].startswith("-"):
        return []  # --help and --version, see switches
    if names[0].startswith("["):
        names, rest = [""], line
    by_name = {name: option for option in options() for name in option.names}
    plain = _VALUE.sub(r"\1", rest)
    repeats = frozenset(name for pair in _REPEATED.findall(rest) for name in pair if name)
    operands = tuple(_OPERAND.findall(plain))
    choices = tuple(
        word
        for group in _ALTERNATIVES.findall(rest)
        for word in group.replace("|", " ").split()
        if word.islower()
    )
    return [
        Command(
            name, abouts[name], (name + " " + rest).strip(),
            tuple(by_name[found] for found in _OPTIONS.findall(plain)), operands, choices, repeats,
        )
        for name in names
    ]  # fmt: skip


def _entries(title: str) -> list[tuple[str, str]]:
    """(what, explanation) for each entry of a list; an explanation may go on in the next lines."""
    entries: list[tuple[str, str]] = []
    for line in section(title):
        if line.startswith("   "):
            what, about = entries[-1]
            entries[-1] = what, f"{about} {line.strip()}"
        else:
            found = _ENTRY.fullmatch(line)
            assert found is not None, line
            entries.append((found[1], found[2]))
    return entries
