"""Secrets from files and environment variables, for the references of a configuration.

Knows: how a file and a variable are read. Refuses to know: where in a configuration references may stand
(config_references).
"""

from __future__ import annotations

import os
from pathlib import Path

from lib import service_environment, text_encoding

MAX_SIZE = 1 << 16


def read(kind: str, name: str) -> str:
    """The value of a file (kind "file", name is its path) or a variable (kind "env"). Raises ValueError.

    A newline at the end of a file and a byte order mark are not part of the value.
    """
    if kind == "env":
        value = service_environment.value(name, os.environ)
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
    try:
        raw = text_encoding.utf8(raw, guess=False)
    except UnicodeDecodeError:
        pass  # any bytes may be a secret, also such as begin like a mark
    return raw.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
