"""Secrets that a configuration names and does not hold: ${file:PATH} and ${env:NAME}, and GOST's auth.file.

Knows: how each is read. Refuses to know: where in a configuration they may stand (config_references).
"""

from __future__ import annotations

import os
from pathlib import Path

MAX_SIZE = 1 << 16


def read(kind: str, name: str) -> str:
    """The value; the line feed at a file's end is not part of it. Raises ValueError with the reason."""
    if kind == "env":
        value = os.environ.get(name)
        if value is None:
            raise ValueError(f"environment variable {name} is not set")
        return value
    try:
        with Path(name).open("rb") as file:
            raw = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror or error}") from None
    if len(raw) > MAX_SIZE:
        raise ValueError(f"{name}: more than {MAX_SIZE} bytes")
    return raw.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
