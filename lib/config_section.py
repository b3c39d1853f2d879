"""What every section of a configuration has in common.

Knows: how a section says which keys there are, and where each of its values stood.
Refuses to know: the sections (config_schema).

Each section says of its keys:

    fields      typed, kept, printed by -O; the name on the outside is the camelCase form
    not_yet     fields of a routing tunnel that are not built yet: set, they are an error in meaning
    foreign     keys GOST knows that mean nothing to a routing tunnel: dropped, one warning
    required    printed by -O even when empty, as GOST does
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from lib.config_yaml import Tree
from lib.errors import Position

Metadata = dict[str, Tree]
Places = dict[str, Position]


def words(text: str) -> frozenset[str]:
    """A set of words written with blanks between."""
    return frozenset(text.split())


class Section(msgspec.Struct, rename="camel", kw_only=True):
    """Base of all sections. `at` holds where each field's value stood, "" the section itself."""

    not_yet: ClassVar[frozenset[str]] = frozenset()
    foreign: ClassVar[frozenset[str]] = frozenset()
    required: ClassVar[frozenset[str]] = frozenset()

    at: Places = {}

    def where(self, name: str = "") -> Position:
        """Where the field stood, or failing that the section."""
        return self.at.get(name) or self.at.get("") or Position("configuration")


BESIDE = words("at problems warnings")
"""Fields that are no keys."""


def section_fields(cls: type[Section]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a section that are keys, in GOST's order."""
    return tuple(key for key in msgspec.structs.fields(cls) if key.name not in BESIDE)


def walk(section: Section) -> Iterator[Section]:
    """A section and all below it."""
    yield section
    for field in section_fields(type(section)):
        value = getattr(section, field.name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, Section):
                yield from walk(inner)
