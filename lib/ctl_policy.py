"""Policy tests in the control socket's replies to `status` and `health`: how many fail, which, and why.

Knows: the fields (PROTOCOL.md, the control socket).
Refuses to know: when tests are run (service_policy_watch), how the rows are shown (cli_show, cli_health).
"""

from __future__ import annotations

import time

from lib import service_supervisor
from lib.humanize import counted
from lib.service_policy_watch import FAILS, HOLDS, NOT_JUDGED, PolicyWatch, Standing

MAX_LISTED = 100
"""Tests that do not hold of which the reply tells; of all it tells the number."""

Row = dict[str, object]


def policy(only: bool) -> Row:
    """What `status` says of the tests: counts, and those that do not hold.

    `only`: the question is about some hosts, and tests belong to none.
    """
    now = time.monotonic()
    watches = [] if only else service_supervisor.running(PolicyWatch)
    counts = {word: sum(watch.counts()[word] for watch in watches) for word in (HOLDS, FAILS, NOT_JUDGED)}
    ran = max((watch.ran_at for watch in watches), default=0.0)
    wrong = [one for watch in watches for one in watch.standings if one.word != HOLDS]
    return {
        "holds": counts[HOLDS],
        "fails": counts[FAILS],
        "not_judged": counts[NOT_JUDGED],
        "ran_s": round(now - ran, 1) if ran else None,
        "problems": [_problem(one, now) for one in wrong[:MAX_LISTED]],
    }


def _problem(standing: Standing, now: float) -> Row:
    outcome = standing.outcome
    return {
        "test": str(outcome.test),
        "expect": outcome.test.expected,
        "outcome": standing.word,
        "reason": outcome.failure or outcome.unjudged,
        "hint": outcome.hint,
        "since_s": round(now - standing.since, 1),
    }


def warnings() -> list[str]:
    """What `health` warns of; the process does its work all the same, and a restart would mend nothing."""
    fails = sum(watch.counts()[FAILS] for watch in service_supervisor.running(PolicyWatch))
    return [f"{counted(fails, 'policy test')} {'fails' if fails == 1 else 'fail'}"] if fails else []
