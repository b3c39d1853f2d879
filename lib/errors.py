"""Exceptions of tunrouter, one for each culprit: the user's text, a peer, this host.

Knows: the four ways in which something can go wrong, and what each of them ends.
Refuses to know: how an error is shown or logged (cli_main, log_setup).

    who is wrong      raised               what it costs
    the user's text   ConfigError          exit status 2, every problem at once
    a peer's bytes    ProtocolError        that peer's session, reason logged once
    this host         HostError            exit status 1, one clear line
    a packet          nothing is raised    the packet, counted (forward_drop_reasons.Reason)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from lib.forward_drop_reasons import Refusal


class TunrouterError(Exception):
    """Base of every error raised on purpose by this package."""


class Position(NamedTuple):  # a tuple is made in a third of the time, and a file has many places
    """A place in a text the user wrote; line and column count from 1, line 0 is the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One error or warning about what the user wrote: place, message, and a hint or ""."""

    where: Position
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(TunrouterError):
    """A configuration or command line cannot be used; `problems` has every problem found, in order.

    `warnings` and `notices` have what else was found, so that an error hides none of it.
    """

    def __init__(
        self,
        problems: Iterable[Problem],
        warnings: Iterable[Problem] = (),
        notices: Iterable[Problem] = (),
    ) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        self.notices = tuple(notices)
        super().__init__()

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ProtocolError(TunrouterError):
    """A peer broke the protocol: its session ends. `refusal` is what a failed handshake counts as."""

    layer = ""
    """The handshake that failed: "TLS", "WebSocket" or "relay"; empty outside handshakes."""
    got = b""
    """The first bytes that the peer sent in this handshake, as far as they are kept (session_mismatch)."""

    def __init__(self, message: str, refusal: Refusal = Refusal.MALFORMED) -> None:
        self.refusal = refusal
        super().__init__(message)

    def failed_in(self, layer: str, got: bytes) -> None:
        """Note the handshake in which this happened, where no inner one has been noted."""
        if not self.layer:
            self.layer, self.got = layer, got


class PluginError(TunrouterError, OSError):
    """A plugin gave no reply, or one that cannot be read. This differs from the reply "no such route"."""


class HostError(TunrouterError):
    """This host does not allow what was asked: no permission, a port in use, no TUN."""
