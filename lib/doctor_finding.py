"""A finding of `tunrouter doctor`: what is wrong, why it matters, and the command that mends it.

Knows: its parts. Refuses to know: what can be wrong (doctor_host, doctor_way, doctor_tunnel).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding, in whole sentences."""

    what: str
    why: str
    mend: str
    """Commands, or what to do where no command does it."""
