"""Error messages for a command line that docopt refuses: the wrong word, and what was probably meant.

Knows: commands, options and operands as the usage text has them (cli_grammar).
Refuses to know: what any of them does, and how the right ones are read (docopt).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lib import cli_grammar
from lib.cli_flags import first_word
from lib.cli_grammar import Command, Option
from lib.did_you_mean import did_you_mean

_FILES = (".yml", ".yaml", ".json")


def explanation(words: Sequence[str]) -> str:
    """The error message, in lines, for a refused command line; `words` are those of cli_flags.normalise."""
    by_name = {command.name: command for command in cli_grammar.commands()}
    name = first_word(words)
    command = by_name.get(name)
    unknown = _unknown(words, command)
    if unknown is not None:
        return _lines(*unknown, command)
    if command is None:
        hint = (
            f"did you mean -C {name}?" if name.endswith(_FILES) else did_you_mean(name, filter(None, by_name))
        )
        return _lines(f"{name[:64]!r} is no command", hint, None)
    rest = list(words)
    if name:
        rest.remove(name)
    found = _in_options(command, rest) or _in_operands(command, rest) or ("these do not fit together", "")
    return _lines(*found, command)


def _lines(what: str, hint: str, command: Command | None) -> str:
    lines = [f"error: {what}{f'; {hint}' if hint else ''}"]
    if command is not None and command.name:
        lines.append(f"usage: tunrouter {command.synopsis}")
    return "\n".join((*lines, "tunrouter --help tells of every command and option"))


def _unknown(words: Sequence[str], command: Command | None) -> tuple[str, str] | None:
    """(message, hint) about the first option that does not exist; None where all do."""
    known = {name: option for option in cli_grammar.options() for name in option.names}
    options = cli_grammar.options() if command is None else cli_grammar.options_of(command)
    own = [name for option in options for name in option.names]
    for word in _without_values(words):
        name = word.partition("=")[0]
        if word.startswith("-") and word != "-" and name not in known:
            return f"unknown option {name[:64]}", did_you_mean(name, own)
    return None


def _without_values(words: Sequence[str]) -> Iterator[str]:
    """The words that are no values of options. A value may itself look like an option: `-C -C`."""
    valued = {name for option in cli_grammar.options() if option.value for name in option.names}
    rest = iter(words)
    for word in rest:
        yield word
        if word in valued:
            next(rest, None)


def _in_options(command: Command, words: Sequence[str]) -> tuple[str, str] | None:
    """(message, hint) about options that exist and do not fit the command; None where all fit."""
    known = {name: option for option in cli_grammar.options() for name in option.names}
    own = {name for option in command.options for name in option.names}
    whom = command.name or "a start"
    given: list[Option] = []
    at = 0
    while at < len(words):
        word, at = words[at], at + 1
        if not word.startswith("-") or word == "-":
            continue
        name, equals, _ = word.partition("=")
        option = known[name]
        if name not in own:
            return f"{whom} takes no {name}", ""
        if option.value and not equals:
            if at == len(words):
                return f"{name} needs a value", f"{name} {option.value}"
            at += 1
        if option in given and not command.repeats.intersection(option.names):
            return f"{name} is given twice", ""
        given.append(option)
    for option in command.options:
        name = option.names[0]
        if option not in given and f"[{name}" not in command.synopsis:
            return f"{whom} needs {name} {option.value}".rstrip(), option.about
    return None


def _in_operands(command: Command, words: Sequence[str]) -> tuple[str, str] | None:
    """(message, hint) about operands: too few, too many, or a word that is no choice."""
    found = [word for word in _without_values(words) if not word.startswith("-") or word == "-"]
    needed = [name for name in command.operands if f"[{name}" not in command.synopsis]
    if command.choices:
        needed = [" or ".join(command.choices)]
        wrong = [word for word in found if word not in command.choices]
        if wrong:
            return f"{command.name} knows no {wrong[0][:64]!r}", f"write {needed[0]}"
    if len(found) < len(needed):
        return f"{command.name} needs {needed[len(found)]}", ""
    most = 1 if command.choices else len(command.operands)
    if len(found) > most and not command.repeats.intersection(command.operands):
        takes_files = any("-C" in option.names for option in command.options)
        is_file = takes_files and found[most].endswith(_FILES)
        hint = f"did you mean -C {found[most][:64]}?" if is_file else ""
        return f"one word too many: {found[most][:64]!r}", hint
    return None
