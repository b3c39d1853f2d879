"""Collector of problems, warnings and notices about a configuration, so that all are reported at once.

Knows: the three kinds of findings.
Refuses to know: what is looked for (config_read, config_from_urls, config_resolve), and how it is shown
(cli_main).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from lib.addresses import widened
from lib.did_you_mean import did_you_mean
from lib.errors import Position, Problem

MOST_PROBLEMS = 1000
"""Problems that are told."""
MAX_GUESSES, MAX_NAMES = 20, 1000
"""Guesses of names in one configuration, and names that each looks through."""

T = TypeVar("T")


def at_once() -> None:
    """The step of a reading that nothing else waits for."""


@dataclass(slots=True)
class Findings:
    """What was found while a configuration was read and resolved.

    Everything that goes through a configuration has one of these, so it also has the `step`: a function that
    is called after every piece of work of some microseconds. In a hub that reads a new configuration it lets
    packets pass.
    """

    problems: list[Problem] = field(default_factory=list)
    """Errors: with any of them the configuration is not used."""
    warnings: list[Problem] = field(default_factory=list)
    """What is probably a mistake."""
    notices: list[Problem] = field(default_factory=list)
    """What is right and good to know."""
    warned: set[str] = field(default_factory=set)
    """The messages of `warnings`, against repeats."""
    step: Callable[[], None] = at_once
    """Lets others work, where they have to."""

    guesses: int = 0
    """How often was guessed what a name may be meant to be."""

    def guess(self, name: str, names: Iterable[str]) -> str:
        """A hint which of the configuration's own names may be meant by one that is none of them, or "".

        The first mistakes get one: every guess costs time for each name that there is.
        """
        self.guesses += 1
        return did_you_mean(name, islice(names, MAX_NAMES)) if self.guesses <= MAX_GUESSES else ""

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items, with a step after each."""
        for item in items:
            yield item
            self.step()

    def error(self, where: Position, message: str, hint: str = "") -> None:
        """Add a problem that makes the configuration unusable."""
        self.add([Problem(where, message, hint)])

    def add(self, problems: Sequence[Problem]) -> None:
        """Add problems, unless there are very many already: all are the same mistake then."""
        self.problems += problems[: max(0, MOST_PROBLEMS + 1 - len(self.problems))]

    def warn(self, where: Position, message: str, hint: str = "") -> None:
        """Add a warning, unless there is one with the same message."""
        if message not in self.warned:
            self.warned.add(message)
            self.warnings.append(Problem(where, message, hint))

    def warn_widened(self, where: Position, what: str, written: str) -> None:
        """Warn of a prefix whose host bits are cleared, so that it stands for more than was written."""
        network = widened(written)
        if network:
            hint = f"write {network}, or {written.partition('/')[0]} for the address alone"
            self.warn(where, f"{what}: {written} stands for the whole network {network}", hint)

    def notice(self, where: Position, message: str) -> None:
        """Add a notice."""
        self.notices.append(Problem(where, message))
