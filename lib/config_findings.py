"""Collector of problems, warnings and notices about a configuration, so that all are reported at once.

Knows: the three kinds of findings.
Refuses to know: what is looked for (config_read, config_from_urls, config_resolve), and how it is shown
(cli_main).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.errors import Position, Problem


@dataclass(slots=True)
class Findings:
    """What was found while a configuration was read and resolved."""

    problems: list[Problem] = field(default_factory=list)
    """Errors: with any of them the configuration is not used."""
    warnings: list[Problem] = field(default_factory=list)
    """What is probably a mistake."""
    notices: list[Problem] = field(default_factory=list)
    """What is right and good to know."""
    warned: set[str] = field(default_factory=set)
    """The messages of `warnings`, against repeats."""

    def error(self, where: Position, message: str, hint: str = "") -> None:
        """Add a problem that makes the configuration unusable."""
        self.problems.append(Problem(where, message, hint))

    def warn(self, where: Position, message: str, hint: str = "") -> None:
        """Add a warning, unless there is one with the same message."""
        if message not in self.warned:
            self.warned.add(message)
            self.warnings.append(Problem(where, message, hint))

    def notice(self, where: Position, message: str) -> None:
        """Add a notice."""
        self.notices.append(Problem(where, message))
