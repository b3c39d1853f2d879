"""`tunrouter test`: the policy tests of a configuration, run by its tables with all sources and plugins.

Knows: how outcomes are printed, the exit status. Refuses to know: how a test is run (service_policy).
"""

from __future__ import annotations

import json

from lib.humanize import counted
from lib.printable import printable
from lib.service_policy import Outcome, outcomes, rows_of_all
from lib.settings import Settings


def run(settings: Settings, as_json: bool) -> int:
    """Run all tests and print what became of each; returns the exit status: 0 where all of them hold."""
    found = outcomes(settings, rows_of_all)
    failed = [outcome for outcome in found if not outcome.holds]
    unjudged = [outcome for outcome in failed if not outcome.failure]
    if as_json:
        print(json.dumps({"ok": bool(found) and not failed, "tests": list(map(_data, found))}, indent=2))
    else:
        for outcome in found:
            line = f"ok: {outcome.test}: {outcome.test.expected}" if outcome.holds else str(outcome.problem)
            print(printable(line))
        print(_summary(len(found), len(failed), len(unjudged)))
    return 0 if found and not failed else 1


def _summary(count: int, failed: int, unjudged: int) -> str:
    """Of `count` tests `failed` do not hold; `unjudged` of these may do, which nobody can say here."""
    if not count:
        return "there are no policy tests: write tests: at the top level of the configuration"
    if failed == unjudged > 0:
        return f"{counted(unjudged, 'policy test')} of {count} cannot be judged here"
    if failed:
        more = f", and {unjudged} cannot be judged here" if unjudged else ""
        return f"{counted(failed - unjudged, 'policy test')} of {count} failed{more}"
    return f"all of {counted(count, 'policy test')} hold" if count > 1 else "the policy test holds"


def _data(outcome: Outcome) -> dict[str, object]:
    test, where = outcome.test, outcome.test.where
    return {
        "test": str(test),
        "expect": test.expected,
        "outcome": "holds" if outcome.holds else "fails" if outcome.failure else "not judged",
        "reason": outcome.failure or outcome.unjudged,
        "hint": outcome.hint,
        "file": where.file,
        "line": where.line,
        "column": where.column,
    }
