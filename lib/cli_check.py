"""`tunrouter check`: what a configuration means, and what is wrong with it and with the files that it names.

Knows: in which order it is said, and how much of it. Refuses to know: what is wrong (config_resolve,
config_check and its sisters, service_policy), and the words of the summary
(settings_summary).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lib import (
    config_check,
    config_check_certificates,
    config_check_enrol,
    config_check_exit,
    config_check_rights,
    config_check_start,
    config_only_tunnel,
    service_pidfile,
    service_policy,
    settings_summary,
)
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.errors import ConfigError, Position, Problem
from lib.humanize import counted
from lib.printable import printable
from lib.settings import Settings

OF_A_KIND, OF_ALL = 3, 15
"""Warnings of one kind, and of all kinds, that are printed one by one; the others are counted."""
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\d\S*")


def run(
    arguments: Mapping[str, Any], read: Callable[[], Config], resolve: Callable[[Config], Settings]
) -> int:
    """Run the command; returns its exit status. Raises ConfigError with everything that a start fails at.

    `read` gives the configuration of the arguments, and `resolve` the settings that it stands for.
    """
    found = Findings()
    try:
        config = read()
        settings = resolve(config)
    except ConfigError as error:
        if not arguments["--json"]:
            raise
        print(settings_summary.as_json(None, error.problems, error.warnings, error.notices))
        return 2
    _pidfile(arguments["--single"], found)
    config_check_certificates.look(config, settings, found)
    config_check_start.look(config, settings, arguments, found)
    config_check_enrol.look(config, settings, found)
    config_check_exit.look(config, settings, found)
    config_check_rights.look(config, settings, found)
    failing, unjudged = service_policy.problems(settings, service_policy.rows_of_files)
    found.add(failing)
    found.notices += unjudged
    warnings = (*settings.warnings, *config_check.warnings(settings, config), *found.warnings)
    settings = replace(settings, warnings=warnings, notices=(*settings.notices, *found.notices))
    if arguments["--json"]:
        print(settings_summary.as_json(settings, found.problems))
        return 2 if found.problems else 0
    _print(settings, arguments["--all"], not found.problems)
    held = len(settings.tests) - len(failing) - len(unjudged)
    if held and not found.problems:
        print(f"ok: {counted(held, 'policy test holds', 'policy tests hold')}")
    if found.problems:
        raise ConfigError(found.problems)
    return 0


def _pidfile(path: str | None, found: Findings) -> None:
    """Look at the file of --single: one that no start could lock is a problem."""
    wrong = service_pidfile.what_is_wrong(path) if path else ""
    if wrong:
        found.error(Position("--single"), f"{path}: {wrong}")


def _print(settings: Settings, everything: bool, is_right: bool) -> None:
    for mark, problems in (("warning", settings.warnings), ("note", settings.notices)):
        left = [problem for problem in problems if config_only_tunnel.is_left(problem)]
        others = [problem for problem in problems if not config_only_tunnel.is_left(problem)]
        for line in (*map(str, left), *(map(str, others) if everything else folded(others, mark))):
            print(printable(f"{mark}: {line}"))
    if is_right:  # else "ok" would be the last word
        for line in settings_summary.words(settings, everything):
            print(printable(line))


def folded(problems: Iterable[Problem], what: str) -> Iterator[str]:
    """Problems as lines: of each kind the first ones, and how many more there are.

    Two are of a kind where their messages differ in names and numbers only.
    """
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(_NAMES.sub("", problem.message), []).append(problem)
    left, more = OF_ALL, 0
    for some in kinds.values():
        shown = some[: min(OF_A_KIND, left)]
        left -= len(shown)
        more += 0 if shown else len(some)
        yield from map(str, shown)
        if shown and len(some) > len(shown):
            yield f"and {counted(len(some) - len(shown), f'more {what}')} of this kind; --all prints them"
    if more:
        yield f"and {counted(more, f'more {what}')} of other kinds; --all prints them"
