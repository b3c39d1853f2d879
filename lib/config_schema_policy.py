"""The `tests` section of a configuration: packets that must pass, and packets that must not.

Knows: its keys, none of which is GOST's. Refuses to know: what they mean (config_policy).
"""

from __future__ import annotations

import msgspec

from lib.config_section import Section


class PolicyTest(Section):
    """A packet, and whether it must be delivered; a section of tunrouter's own."""

    sender: str = msgspec.field(default="", name="from")
    to: str = ""
    port: str = ""
    expect: str = ""
    source: str = ""
    ns: str = ""
    service: str = ""
