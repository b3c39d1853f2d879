"""What reading and resolving a configuration finds, collected so that all is reported at once.

Knows: the three weights a finding has.
Refuses to know: what is looked for (config_read, config_from_urls, config_resolve), and how it is shown
(cli_main).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.errors import Position, Problem


@dataclass(slots=True)
class Findings:
    """What was found while reading or resolving: it makes unusable, is odd, or is good to know."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)
    warned: set[str] = field(default_factory=set)
    """Messages of the warnings given here."""

    def error(self, where: Position, message: str, hint: str = "") -> None:
        """Add a problem."""
        self.problems.append(Problem(where, message, hint))

    def warn(self, where: Position, message: str, hint: str = "") -> None:
        """Add a warning, once for the same words."""
        if message not in self.warned:
            self.warned.add(message)
            self.warnings.append(Problem(where, message, hint))

    def notice(self, where: Position, message: str) -> None:
        """Add something good to know."""
        self.notices.append(Problem(where, message))
