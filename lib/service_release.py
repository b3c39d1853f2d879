"""Release of what a change has replaced, such as a router of 100000 routes: a little at a time.

Knows: what rows are below a section of a configuration, and below settings; that whoever is at work with them
now has ended after a while. Refuses to know: what a change is (service_changes).

The interpreter frees an object when the last one who has it lets go, with all that is below it: of 100000
routes that takes 50 ms, and no packet is received meanwhile. So somebody has every single row until the
objects are gone, and lets go of one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass

import gevent

from lib import config_section
from lib.config_section import Section
from lib.service_scheduling import Breaths

AFTER_SECONDS = 1.0
"""How long somebody may be at work with what was replaced, as a rule."""

_waiting: deque[list[object]] = deque()


def later(replaced: Iterable[object]) -> None:
    """Let sections and settings go in a while, in steps. Whoever has them still, has them whole."""
    found = list(replaced)
    if found:
        _waiting.append(found)
        gevent.spawn_later(AFTER_SECONDS, _let_go)


def _let_go() -> None:
    if _waiting:
        let_go(_waiting.popleft(), Breaths())


def let_go(replaced: list[object], step: Callable[[], None]) -> None:
    """Let go of all that is in a list, row by row, with a step after each."""
    rows: list[object] = []
    while replaced:
        for row in _below(replaced.pop()):
            rows.append(row)
            step()
            del row
    rows.reverse()  # what has others goes before them, or it would have them to the last
    while rows:
        rows.pop()
        step()


def _below(value: object) -> Iterator[object]:
    if isinstance(value, Section):
        yield from config_section.walk(value)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            inner = getattr(value, field.name)
            if isinstance(inner, tuple):
                yield from inner
