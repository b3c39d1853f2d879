"""Settings of a router's names: the domain below which its hosts are, and devices behind hosts.

Knows: their shape. Refuses to know: how they are written (config_names), who asks for them (dns_answers).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NamesSettings:
    """The names of one router."""

    domain: str
    """In lower case, without a dot at either end; at least two labels (`dnsDomain`)."""
    devices: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """(name below the domain in lower case, its packed addresses), of `names`."""
