"""`preUp`, `postUp`, `preDown` and `postDown` of a service, checked and turned into HookSettings.

Knows: a command is split into words as a POSIX shell does (quotes, backslashes), as GOST does; no shell runs.
Refuses to know: when commands run (service_hooks), whether their programs are here (config_check_start).
"""

from __future__ import annotations

import re
import shlex

from lib import config_metadata
from lib.config_findings import Findings
from lib.config_schema import Service
from lib.config_yaml import Scalar, Sequence
from lib.errors import Position
from lib.settings_hooks import DEFAULT_HOOK_SECONDS, NO_HOOKS, PHASES, Command, HookSettings

_SECONDS = range(1, 3601)
_OF_A_SHELL = re.compile(r"[|&;<>]+|\d?>+.*|.*\$\(.*|`.*")
"""Words that only a shell understands."""


def hook_settings(service: Service, found: Findings) -> HookSettings:
    """The hooks of a service; a wrong command is a problem in `found`."""
    commands = tuple((phase, _commands(service, phase, found)) for phase in PHASES)
    seconds = config_metadata.seconds(service, "hookTimeout", DEFAULT_HOOK_SECONDS, found)
    tree = config_metadata.find(service, "hookTimeout")
    if tree and not _SECONDS.start <= seconds < _SECONDS.stop:
        found.error(tree.where, f"'hookTimeout': {seconds:g} s is not within 1 s to 1 h")
    kept = tuple((phase, some) for phase, some in commands if some)
    return HookSettings(kept, seconds) if kept or seconds != DEFAULT_HOOK_SECONDS else NO_HOOKS


def _commands(service: Service, phase: str, found: Findings) -> tuple[Command, ...]:
    tree = config_metadata.find(service, phase)
    if isinstance(tree, Scalar) and tree.where.line:
        found.warn(tree.where, f"{phase!r} is one command; GOST reads a list only, and would run nothing")
    items = tree.items if isinstance(tree, Sequence) else [tree] if tree else []
    commands = []
    for item in found.each(items):
        if not isinstance(item, Scalar):
            found.error(item.where, f"{phase!r} wants a list of commands, each a text")
        elif item.text.strip():
            command = split(item.text, phase, item.where, found)
            commands += [command] if command else []
    return tuple(commands)


def split(text: str, key: str, where: Position, found: Findings) -> Command:
    """The words of a command; () where it cannot be split, which is a problem in `found`."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as wrong:
        found.error(where, f"{key!r}: {str(wrong).lower()}: {text[:64]!r}")
        return ()
    if not words or not words[0]:
        found.error(where, f"{key!r}: a command without a program: {text[:64]!r}")
        return ()
    if any(word.startswith("#") for word in words):
        found.error(where, f"{key!r}: a word that begins with #: to GOST that is a comment", "leave it out")
    if "\0" in text:
        found.error(where, f"{key!r}: a NUL in a command")
    shell = next((word for word in words if _OF_A_SHELL.fullmatch(word)), "")
    if shell:
        text = f"{key!r}: no shell runs this command: {shell[:32]!r} is an argument like any other"
        found.warn(where, text, "write a script and its path, or sh -c 'COMMAND'")
    return words
