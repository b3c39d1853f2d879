"""The errors of tunrouter, by who is to blame.

Knows: the four ways a thing can go wrong and what each costs.
Refuses to know: how an error is shown or logged (cli_main, log_setup).

    who is wrong      raised               what it costs
    the user's text   ConfigError          exit status 2, every problem at once
    a peer's bytes    ProtocolError        that peer's session, reason logged once
    this host         HostError            exit status 1, one clear line
    a packet          nothing is raised    the packet, counted (drops.Reason)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lib.forward_drop_reasons import Refusal


class TunrouterError(Exception):
    """Base of every error raised on purpose by this package."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text the user wrote; line and column count from 1."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong (or odd, as a warning) with what the user wrote."""

    where: Position
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(TunrouterError):
    """The configuration cannot be used; holds every problem found, in order of appearance."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ProtocolError(TunrouterError):
    """A peer broke the protocol: its session ends."""

    def __init__(self, message: str, refusal: Refusal = Refusal.MALFORMED) -> None:
        self.refusal = refusal
        super().__init__(message)


class PluginError(TunrouterError, OSError):
    """A plugin gave no reply, or not a proper one: what it was asked for cannot be said."""


class HostError(TunrouterError):
    """This host does not let us do what was asked (permission, port taken, no TUN)."""
