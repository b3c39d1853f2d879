"""Printer of YAML for big values, such as a router of 100000 routes: a little at a time.

Knows: how a value of dicts, lists and scalars is cut into small ones, of which the whole is put together.
Refuses to know: how a small value is laid out (config_read), what one means.

One call of YAML's printer for a big value would hold up all packets until it returns, for many seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

from lib import config_read

MOST = 64
"""Scalars, lists and dicts that are worked on at once."""
LONG = 4096
"""Letters of a text that is big by itself."""
_BEYOND = re.compile("([\U00010000-\U0010ffff])")
"""What JSON writes as two halves, of which YAML makes two characters."""


def is_big(value: object) -> bool:
    """Whether a value holds more than is worked on at once."""
    left, waiting = MOST, [value]
    while waiting:
        one = waiting.pop()
        left -= 1
        if isinstance(one, str):
            if len(one) > LONG:
                return True
        elif isinstance(one, Mapping | list):
            if len(one) > left:
                return True
            waiting.extend(one.values() if isinstance(one, Mapping) else one)
        if left < 0:
            return True
    return False


def portions(items: list[Any]) -> Iterator[list[Any]]:
    """A list in parts that are not big, or have one item only."""
    if len(items) < 2 or not is_big(items):
        yield items
        return
    half = len(items) // 2
    yield from portions(items[:half])
    yield from portions(items[half:])


def as_yaml(value: Any, pad: str = "") -> Iterator[str]:
    """A dict or list that is not empty as lines of YAML, in pieces; each line begins with `pad`."""
    if not is_big(value):
        yield indent(config_read.as_yaml(value), pad)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry({key: inner}, config_read.as_yaml({key: None}), inner, pad)
    else:
        for part in portions(value):
            if len(part) == 1 and isinstance(part[0], Mapping | list) and is_big(part[0]):
                yield from _item(part[0], pad)
            else:
                yield from _entry(part, "- null\n", part[0], pad)


def _entry(whole: Any, empty: str, inner: Any, pad: str) -> Iterator[str]:
    """What holds `inner`, and is laid out as `empty` where it is null."""
    begin = indent(empty.removesuffix(" null\n"), pad)
    if not is_big(whole):
        yield indent(config_read.as_yaml(whole), pad)
    elif isinstance(inner, str):
        yield f"{begin} {_quoted(inner)}\n"
    else:
        yield f"{begin}\n"
        yield from as_yaml(inner, f"{pad}  ")


def _quoted(text: str) -> str:
    """A long text in quotes; but for a few characters it is the same in JSON, whose printer is fast."""
    made = [
        f"\\U{ord(part):08x}" if at % 2 else json.dumps(part)[1:-1]
        for at, part in enumerate(_BEYOND.split(text))
    ]
    return f'"{"".join(made)}"'


def _item(value: Any, pad: str) -> Iterator[str]:
    pieces = as_yaml(value, f"{pad}  ")
    yield f"{pad}- {next(pieces)[len(pad) + 2 :]}"
    yield from pieces
