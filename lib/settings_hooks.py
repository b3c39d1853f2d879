"""Settings of hooks: the commands that run before and after a service comes up and goes down.

Knows: the phases, in GOST's names, and what a command is: a program and its arguments.
Refuses to know: how they are written (config_hooks), when and how they run (service_hooks).
"""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_HOOK_SECONDS = 30.0
PRE_UP, POST_UP, PRE_DOWN, POST_DOWN = PHASES = ("preUp", "postUp", "preDown", "postDown")
"""What there is a list of commands for, each as its metadata key is called."""

Command = tuple[str, ...]
"""A program and its arguments."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """The commands of one service."""

    commands: tuple[tuple[str, tuple[Command, ...]], ...] = field(default=(), repr=False)
    """(phase, its commands in order), for each phase that has any; not shown, for it may hold secrets."""
    seconds: float = DEFAULT_HOOK_SECONDS
    """How long one command may take."""

    def of(self, phase: str) -> tuple[Command, ...]:
        """The commands of one phase."""
        return dict(self.commands).get(phase, ())


NO_HOOKS = HookSettings()
