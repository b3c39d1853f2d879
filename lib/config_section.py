"""Base class of all sections of a configuration: their keys, and the place of each value in the file.

Knows: how a section lists its keys. Refuses to know: the sections themselves (config_schema).

Each section sorts its keys into:

    fields      typed, kept, printed by -O; in a file the name is the camelCase form
    not_yet     fields that belong to a routing tunnel and are not supported yet: setting one is an error
    foreign     keys that GOST knows and that have no effect here: dropped, one warning with the reason
                (config_no_effect), which for some keys the section's role decides: hub or client
    required    fields that -O prints even when empty, as GOST does
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import cache
from typing import Annotated, ClassVar, TypeVar, get_args

import msgspec

from lib.config_yaml import Tree
from lib.errors import Position, Problem

Metadata = dict[str, Tree]
Places = dict[str, Position]
Texts = Annotated[list[str], "or one text, with commas"]
"""A list of texts that may be written as one text, with commas: `pool: 10.20.0.0/16`."""
Commas = Annotated[str, "or a list"]
"""A text with commas that may be written as a list, which is joined: `interface: [eth0, eth1]`."""
Named = dict[str, Tree]
"""Values by names that somebody chose, whose letters stay as they are: host names."""


def words(text: str) -> frozenset[str]:
    """The set of the words in a text."""
    return frozenset(text.split())


class Section(msgspec.Struct, rename="camel", kw_only=True):
    """Base of all sections. `at` has the place of each field's value; `at[""]` that of the section."""

    not_yet: ClassVar[frozenset[str]] = frozenset()
    foreign: ClassVar[Mapping[str, str]] = {}
    required: ClassVar[frozenset[str]] = frozenset()

    at: Places = {}

    def where(self, name: str = "") -> Position:
        """The place of a field, or of the section where the field was not written."""
        return self.at.get(name) or self.at.get("") or Position("configuration")


class Part(Section, weakref=True):
    """Base of the sections that may be left out of a configuration (config_only_tunnel)."""

    problems: list[Problem] = []
    """Errors of reading this section; the configuration has them too."""
    warnings: list[Problem] = []
    """Warnings of reading it; of those with the same message the configuration has only the first."""


S = TypeVar("S", bound=Section)

BESIDE = words("at problems warnings notices trees files")
"""Fields of a section that are no keys of a file."""


@cache  # msgspec evaluates every annotation again for each call
def section_fields(cls: type[Section]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a section that are keys, in GOST's order."""
    return tuple(key for key in msgspec.structs.fields(cls) if key.name not in BESIDE)


@cache
def nesting(cls: type[Section]) -> tuple[str, ...]:
    """The fields of a section that are sections, or lists of them."""
    return tuple(
        field.name
        for field in section_fields(cls)
        if any(isinstance(kind, type) and issubclass(kind, Section) for kind in get_args(field.type))
    )


def spelled(name: str) -> str:
    """The name that a field has in a file: chain_group is chainGroup."""
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))


def release(section: Section, step: Callable[[], None]) -> None:
    """Empty the lists of a section that is of no more use, and of all below it (config_yaml.release)."""
    for name in nesting(type(section)):
        value = getattr(section, name)
        while isinstance(value, list) and value:
            release(value.pop(), step)
        if isinstance(value, Section):
            release(value, step)
    step()


def copied(section: S, step: Callable[[], None]) -> S:
    """A copy of a section and of all below it, made in steps; trees of metadata are shared.

    config_resolve fills in a section's references in place, but never changes a tree.
    """
    made = copy(section)
    for name in nesting(type(section)):
        value = getattr(section, name)
        if isinstance(value, list):
            setattr(made, name, [copied(one, step) for one in value])
        elif isinstance(value, Section):
            setattr(made, name, copied(value, step))
    step()
    return made


def walk(section: Section) -> Iterator[Section]:
    """A section and all below it."""
    yield section
    for name in nesting(type(section)):
        value = getattr(section, name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, Section):
                yield from walk(inner)
