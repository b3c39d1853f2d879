"""Pauses of Python's cyclic garbage collector while something big is read or loaded.

Knows: that several may ask for a pause at once.
Refuses to know: what is read (cli_config, route_live), what is made of it (hub_push).

The collector would walk a growing table again and again, and the finished one at every full collection: 0.1 s
for a hundred thousand routes. What is loaded has no cycles, so nothing is missed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_pauses = 0
_stays = False
"""Whether something that stays has been made since the first of the present pauses began."""


@contextmanager
def paused(stays: bool = True) -> Iterator[None]:
    """Switch the cyclic garbage collector off in this block; what is there at its end is never looked at.

    Without `stays` the collector only comes later: for work that makes much, and frees nearly all of it.
    """
    global _pauses, _stays
    _pauses += 1
    _stays = _stays or stays
    gc.disable()
    try:
        yield
    finally:
        _pauses -= 1
        if not _pauses:
            if _stays:
                gc.freeze()
            _stays = False
            gc.enable()
