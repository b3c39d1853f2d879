"""Random search for the stream that blocks a hub's event loop for longest: `make hostile SECONDS=600`.

    .venv/bin/python tests/hostile/hunt.py --seconds 600 [--seed N]
    .venv/bin/python tests/hostile/hunt.py --recipe '{"seed": …}'     one that was found, again

Draws recipes (tests.hostile.recipes), lets each loose on a real hub in a namespace for a second, and reads how
long the longest turn of the hub's loop was meanwhile, and where it was spent. Half of the recipes are drawn
afresh, half are one of the worst so far with a place or two changed. At the end the worst are tried three times
more, and printed: the recipe, the median of its longest turns, the longest ping of others, and what caused it.

Exit status: 0 the longest turn is under --most milliseconds, 1 it is not, or the hub has ended, 2 it cannot run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.hostile import recipes
from tests.hostile.arena import Arena, Run, judged, one_at_a_time
from tests.hostile.attacks import LISTED
from tests.hostile.recipes import Recipe
from tests.support.netns import ROOT

EACH_SECONDS = 1.0
KEPT = 5
MOST_MS = 30.0


@dataclass(frozen=True)
class Found:
    """What a recipe did."""

    recipe: Recipe
    turn_ms: float
    cause: str
    run: Run

    def __str__(self) -> str:
        run = self.run
        return (
            f"turn {self.turn_ms:.1f} ms, longest ping {run.longest_ms:.0f} ms, normal after {run.normal_after:.1f} s, "
            f"newcomer {run.join_seconds:.2f} s, {run.memory_mb:.0f} MB, sent {run.sent_mb:.1f} MB\n"
            f"    {self.recipe.encode()}\n    {self.cause}"
        )


class Hunt:
    """A hub that is watched, and what has been found out about it."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._arena: Arena | None = None
        self._hubs = 0

    def close(self) -> None:
        """End the hub and all around it."""
        if self._arena is not None:
            self._arena.__exit__(None, None, None)
            self._arena = None

    def _ready(self) -> Arena:
        """A hub that is well; a new one after one that was not."""
        if self._arena is None:
            self._hubs += 1
            place = self._work / str(self._hubs)
            place.mkdir()
            self._turns = place / "turns"
            self._turns.touch()
            hub = (sys.executable, "-m", "tests.hostile.traced_hub", str(self._turns))
            self._arena = Arena(place, "tcp", LISTED, *hub)
            self._arena.__enter__()
        return self._arena

    def attempt(self, recipe: Recipe) -> Found:
        """Let a recipe loose. Raises AssertionError when the hub does not survive it."""
        arena = self._ready()
        before = self._turns.stat().st_size
        with one_at_a_time():
            run = arena.attacked(recipe.attack(), recipe.attackers, EACH_SECONDS, recipe.kind)
        assert arena.hub.returncode is None, (
            f"the hub has ended: {recipe.encode()}\n{arena.hub.text()[-3000:]}"
        )
        assert not judged(arena.hub), f"a traceback: {recipe.encode()}\n{judged(arena.hub)[:3000]}"
        worst, cause = self._longest(before)
        if run.normal_after > 5:
            self.close()  # the next one shall not suffer for it
        return Found(recipe, worst, cause, run)

    def _longest(self, since: int) -> tuple[float, str]:
        """The longest turn that was written down behind so many bytes, in ms, and where it was spent."""
        with self._turns.open() as file:
            file.seek(since)
            turns: list[dict[str, Any]] = [json.loads(line) for line in file]
        if not turns:
            return 0.0, "no turn was long enough to be told"
        worst = max(turns, key=lambda turn: turn["ms"])
        held, name = worst["held"]
        places = [
            place for place in worst["stack"] if not place.startswith(("cli_", "<frozen", "traced_hub"))
        ]
        return worst["ms"], f"{held:.1f} ms of it in {name}: {' < '.join(places[::-1][:6]) or 'not seen'}"


def hunt(seconds: float, seed: int, work: Path) -> list[Found]:
    """The worst of what was tried in so many seconds, the worst first."""
    dice, found, began, told = random.Random(seed), list[Found](), time.monotonic(), 0
    hunting = Hunt(work)
    try:
        while time.monotonic() - began < seconds * 0.8:
            number = dice.randrange(1 << 32)
            fresh = not found or dice.random() < 0.5
            recipe = recipes.draw(number) if fresh else recipes.changed(dice.choice(found).recipe, number)
            one = hunting.attempt(recipe)
            found = sorted([*found, one], key=lambda each: -each.turn_ms)[:KEPT]
            told += 1
            mark = " *" if one is found[0] else ""
            print(f"{told:4} {time.monotonic() - began:6.0f} s  {one.turn_ms:8.1f} ms  {recipe.kind:3} "
                  f"{'+'.join(recipe.weights or ())}{mark}", flush=True)  # fmt: skip
        return sorted((_again(hunting, one) for one in found), key=lambda each: -each.turn_ms)
    finally:
        hunting.close()


def _again(hunting: Hunt, one: Found) -> Found:
    """The same recipe three times more; its turn is the median of these."""
    tries = [hunting.attempt(one.recipe) for _ in range(3)]
    median = statistics.median(each.turn_ms for each in tries)
    return min(tries, key=lambda each: abs(each.turn_ms - median))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument(
        "--most", type=float, default=MOST_MS, metavar="MS", help="a longer turn is a failure"
    )
    parser.add_argument("--recipe", metavar="JSON", help="try this one only, three times")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or (os.cpu_count() or 1) < 2:
        print("the hunt needs root, for network namespaces, and two cores", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="tunrouter-hunt-") as work:
        try:
            if arguments.recipe:
                hunting = Hunt(Path(work))
                try:
                    one = hunting.attempt(recipes.decode(arguments.recipe))
                    worst = [_again(hunting, one)]
                finally:
                    hunting.close()
            else:
                print(f"seed {arguments.seed}", flush=True)
                worst = hunt(arguments.seconds, arguments.seed, Path(work))
        except AssertionError as broken:
            print(broken, file=sys.stderr)
            return 1
    print("\nthe worst:")
    for found in worst:
        print(found)
    return int(worst[0].turn_ms > arguments.most)


if __name__ == "__main__":
    sys.exit(main())
