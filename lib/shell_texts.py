"""`tunrouter completion` and `man`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.errors import HostError


def run(arguments: Mapping[str, Any]) -> int:
    """Not built yet."""
    raise HostError("not built yet")
