"""Go-style flags (`-api`, `-L=x`, `-D=true`) turned into the form that docopt reads.

Knows: which words are flags and which are their values. Refuses to know: what they mean (config_from_urls,
cli_main).
"""

from __future__ import annotations

from collections.abc import Sequence

from lib.cli_usage import LONG_FLAGS, VALUE_FLAGS

_SWITCHES = frozenset("DV")


def normalise(argv: Sequence[str]) -> list[str]:
    """The words for docopt: -api becomes --api; -L=x, --L=x and --L x become -L x; -D=true becomes -D."""
    plain: list[str] = []
    for index, word in enumerate(argv):
        if word == "--":
            return plain + list(argv[index:])
        plain.extend([word] if _is_value(plain) else _normal_flag(word))
    return plain


def repeated(words: Sequence[str], flag: str, found: Sequence[str]) -> list[str]:
    """The values of a flag that may be given more than once, in order; `found` is what docopt has for them.

    docopt gives each value after the first twice where several usage lines have the flag.
    """
    values: list[str] = []
    for index, word in enumerate(words):
        if word.startswith(flag) and not _is_value(list(words[:index])):
            values += words[index + 1 : index + 2] if word == flag else [word.removeprefix(flag)]
    return values if set(values) == set(found) else list(found)


def _is_value(before: list[str]) -> bool:
    """Whether the word after these is the value of a flag, to be left alone."""
    return bool(before) and before[-1] in VALUE_FLAGS


def _normal_flag(word: str) -> list[str]:
    name, equals, value = word.lstrip("-").partition("=")
    if not word.startswith("-"):
        return [word]
    if equals and name in _SWITCHES:
        return [f"-{name}"] if value.lower() in ("true", "t", "1") else []
    if len(name) == 1:
        return [f"-{name}", value] if equals else [f"-{name}"]
    if name in LONG_FLAGS:
        return [f"--{name}", value] if equals else [f"--{name}"]
    return [word]


def first_word(argv: Sequence[str]) -> str:
    """The command: the first word that is neither a flag nor a flag's value; "" where there is none."""
    words = normalise(argv)
    for index, word in enumerate(words):
        if not word.startswith("-") and not _is_value(words[:index]):
            return word
    return ""
