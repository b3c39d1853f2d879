"""Release of what a change has replaced, such as a router of 100000 routes: a little at a time.

Knows: how to take apart what nobody else has, whatever it is. Refuses to know: what a change is
(service_reload), whose rows these are.

The interpreter frees an object when the last one who has it lets go, with all that is below it: of 100000
routes that takes 50 ms, and no packet is received meanwhile. So whoever lets go of something that may be big
hands it over here. After a while, when nobody is at work with it any more, its parts are taken out, and then
it goes without them; so do they, one after the other. Nothing is changed by that: who has it still, has it
whole, and frees it at once if it does not come here too.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import chain, islice
from types import ModuleType, NoneType

import gevent

from lib.route_trie import Trie
from lib.service_scheduling import Breaths

AFTER_SECONDS = 1.0
"""How long somebody may be at work with what was replaced, as a rule."""
FEW = 16
"""Parts of a container that may go at once with it."""
AT_ONCE = 512
"""Parts that are taken out of a container in one step."""

_CONTAINERS = (tuple, list, dict, set, frozenset, deque)
_SINGLE = (str, bytes, int, float, NoneType, tuple, type, ModuleType)
"""What goes at once: a named tuple is a row."""
_ALONE = 2
"""References to an object that only one variable has: it, and the argument of who counts."""

_waiting: deque[list[object]] = deque()


def later(replaced: Iterable[object]) -> None:
    """Let these go in a while, in steps. Whoever has them still, has them whole."""
    found = [one for one in replaced if one is not None]
    if found:
        _waiting.append(found)
        gevent.spawn_later(AFTER_SECONDS, _let_go)


def _let_go() -> None:
    if _waiting:
        let_go(_waiting.popleft(), Breaths())


def let_go(replaced: list[object], step: Callable[[], None]) -> None:
    """Let go of all that is in a list, with a step after each little piece of the work."""
    shared: dict[int, object] = {}
    """Parts that somebody else had too: another part, or whoever uses them."""
    while replaced or shared:
        one = replaced.pop() if replaced else shared.popitem()[1]
        if not _is_deep(one):
            pass
        elif sys.getrefcount(one) <= _ALONE:
            if isinstance(one, Trie):
                for _ in one.freeing():  # it has many parts, and knows which of them go together
                    step()
            parts = _parts(one)
            while some := list(islice(parts, AT_ONCE)):
                replaced += some
                del some  # or it would have them too
                step()
            del parts
        elif replaced:
            shared[id(one)] = one
        del one
        step()


def _is_deep(one: object) -> bool:
    """Whether to free an object may take long."""
    return _has_parts(one) and (type(one) in _CONTAINERS or any(map(_has_parts, _parts(one))))


def _has_parts(one: object, levels: int = 4) -> bool:
    """Whether an object is none of those that go at once, nor a small container of such."""
    if isinstance(one, Sized) and type(one) in _CONTAINERS:
        return len(one) >= FEW or not levels or any(_has_parts(part, levels - 1) for part in _parts(one))
    return not isinstance(one, _SINGLE)


def _parts(one: object) -> Iterator[object]:
    """What an object refers to."""
    if type(one) is dict:
        return chain(one, one.values())
    return iter(one) if type(one) in _CONTAINERS else iter(gc.get_referents(one))  # type: ignore[call-overload]
