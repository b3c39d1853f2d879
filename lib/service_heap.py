"""Heap of the C library (glibc): large blocks go back to the kernel as soon as they are freed.

Knows: mallopt(3) and its defaults.
Refuses to know: who needs large blocks (auth_password_pool: 16 MB for a check of a password).

By default glibc takes such a block from the kernel once, and after it was freed keeps the next ones in the
heap of the thread that wanted them. Small blocks above them then hold 16 MB each: 600 guesses of a password
cost a hub 600 MB for ever.
"""

from __future__ import annotations

import ctypes

LARGE = 4 << 20
"""Bytes from which a block is the kernel's own. What forwards packets needs no block of that size."""
KEPT = 8 << 20
"""Bytes of free heap at its end that are kept for what comes."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def return_large_blocks() -> None:
    """Fix both thresholds, which otherwise grow with the blocks that are freed.

    Does nothing in a C library that has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)
