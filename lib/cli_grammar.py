"""The usage text parsed into data: commands with their options, operands and choices, and explanations.

Knows: how cli_usage.USAGE is laid out.
Refuses to know: shells (cli_completion), roff (cli_manpage), what anything does (cli_main).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from lib.cli_usage import USAGE, flags

_OPTIONS = re.compile(r"(?<![\w-])(--?[A-Za-z][A-Za-z-]*)")
_OPERAND = re.compile(r"(?<![\w=-])[A-Z]{4,}")
_VALUE = re.compile(r"(--?\w[\w-]*) [A-Z]+")
_REPEATED = re.compile(r"\[(--?\w[\w-]*)[^\]]*\]\.\.\.|([A-Z]{4,})\]?\.\.\.")
_ALTERNATIVES = re.compile(r"\(([^()]*)\)")
_ENTRY = re.compile(r"  (\S.*?)(?:  +(\S.*))?")


@dataclass(frozen=True, slots=True)
class Option:
    """One option, such as -C FILE or --json."""

    short: str
    """`-C`, or ""."""
    long: str
    """`--json`, or ""."""
    value: str
    """The name of its value (`FILE`), empty for a switch."""
    about: str
    """Its explanation in the usage text."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its short and its long name, as far as it has them."""
        return tuple(name for name in (self.short, self.long) if name)


@dataclass(frozen=True, slots=True)
class Command:
    """One command; the name is "" for the command line without a command, which runs the services."""

    name: str
    about: str
    synopsis: str
    """Its usage line, without the program's name."""
    options: tuple[Option, ...]
    operands: tuple[str, ...]
    """The names of its operands, such as HOST."""
    choices: tuple[str, ...]
    """The words that its operand can be, where these are fixed (`bash`, `zsh`, `fish`)."""
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
    """The last paragraph of the usage text."""
    return " ".join(USAGE.rpartition("\n\n")[2].split())


@cache
def options() -> tuple[Option, ...]:
    """Every option, in the order of the usage text."""
    abouts = [about for _, about in _entries("Options")]
    return tuple(Option(*flag, about) for flag, about in zip(flags(), abouts, strict=True))


@cache
def commands() -> tuple[Command, ...]:
    """Every command, "" first, in the order of the usage text."""
    abouts = {name.replace("(none)", ""): about for name, about in _entries("Commands")}
    made = [command for line in _lines() for command in _commands(line, abouts)]
    return tuple(sorted(made, key=lambda command: list(abouts).index(command.name)))


def switches() -> tuple[Option, ...]:
    """Options that are a command by themselves: --version and --help."""
    return tuple(option for option in options() if option.long in ("--version", "--help"))


def options_of(command: Command) -> tuple[Option, ...]:
    """The options that a command takes; without a command also --version and --help."""
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
    """The commands of one usage line: one, several alternatives, or none for --version and --help."""
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
