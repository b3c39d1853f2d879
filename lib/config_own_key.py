"""A configuration key that GOST does not know, and what a user has to know to write it.

Knows: the words that each key needs. Refuses to know: the keys (config_own_keys, config_own_metadata).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key, and what a user has to know to write it; Markdown, in one line each."""

    place: str
    """Where it stands in a file, in the guide's words."""
    key: str
    kind: str
    """Type and unit; `a`, `b` or `c` for a choice, and `X to Y` for what is allowed."""
    default: str
    """As it could be written in a file, between backticks; words where it could not."""
    example: str
    """YAML."""
    about: str
    """What it does, in whole sentences."""
