"""Pauses of Python's cyclic garbage collector while something big is read or loaded.

Knows: that several may ask for a pause at once. Refuses to know: what is read (cli_config, route_live).

The collector would walk a growing table again and again, and the finished one at every full collection: 0.1 s
for a hundred thousand routes. What is loaded has no cycles, so nothing is missed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_pauses = 0


@contextmanager
def paused() -> Iterator[None]:
    """Switch the cyclic garbage collector off in this block; what is there at its end is never looked at."""
    global _pauses
    _pauses += 1
    gc.disable()
    try:
        yield
    finally:
        _pauses -= 1
        if not _pauses:
            gc.freeze()
            gc.enable()
