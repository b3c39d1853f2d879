"""Big objects of the web API, such as a router of 100000 routes, as JSON: a little at a time.

Knows: how JSON in pieces is put together. Refuses to know: what is big (config_print), what an object means.

One call of JSON's printer for a big value would hold up all packets until it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lib.api_request import encoded
from lib.config_print import is_big, portions


def as_json(value: Any) -> Iterator[bytes]:
    """A value as JSON, in pieces."""
    if not isinstance(value, Mapping | list) or not is_big(value):
        yield encoded(value)
    elif isinstance(value, Mapping):
        before = b"{"
        for key, inner in value.items():
            yield before + encoded(key) + b":"
            yield from as_json(inner)
            before = b","
        yield b"}"
    else:
        before = b"["
        for part in portions(value):
            yield before
            yield from as_json(part[0]) if len(part) == 1 else [encoded(part)[1:-1]]
            before = b","
        yield b"]"
