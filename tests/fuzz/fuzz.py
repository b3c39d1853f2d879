"""Fuzzing: every decoder in targets.py, guided by coverage (atheris), and the hypothesis tests at random.

    .venv/bin/python tests/fuzz/fuzz.py --seconds 60          what `make fuzz SECONDS=60` runs: a third for the
hypothesis tests, the rest shared by the targets, of which each has 2 s at least; as many at once as there are cores
    .venv/bin/python tests/fuzz/fuzz.py --only frames,urls,hypothesis

`make test` draws the same inputs in every run (tests/conftest.py). Here the hypothesis tests draw others each time, in
rounds of all of them until their share is used up; one round takes minutes and is never cut short. Each round prints
its seed: `make test ARGS="-m hypothesis --hypothesis-profile=random --hypothesis-seed=SEED"` draws the same again.

What is new to a corpus is kept in build/fuzz; `--keep` copies the smallest inputs of each target to
tests/fuzz/corpus. An input that crashes, hangs for 10 s or takes 1 GB is put into tests/fuzz/crashers,
where the unit tests find it from then on.

Exit status: 0 nothing found, 1 something was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WORK = ROOT / "build" / "fuzz"
HANG_SECONDS, MEMORY_MB = 10, 1024
SLOWER = 10.0
"""How much slower a target may be here, where its branches are counted."""
PROPERTIES = "hypothesis"
"""The name that stands for the hypothesis tests beside those of the targets."""
_COUNT = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_PASSED = re.compile(r"(\d+) passed")
_PEAK = re.compile(r"stat::peak_rss_mb:\s+(\d+)")


def one(name: str, seconds: int) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["lib", "wsproto", "h11"]):
        from tests.fuzz import targets

    target = targets.TARGETS[name]
    corpus = WORK / name
    corpus.mkdir(parents=True, exist_ok=True)
    kept = targets.CORPUS / name
    crashers = targets.CRASHERS / name
    crashers.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds()[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            *(f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MB}"),
            *("-print_final_stats=1", "-verbosity=0", "-max_len=4096"),
            *(f"-artifact_prefix={crashers}/", str(corpus)),
            *([str(kept)] if kept.is_dir() else []),
        ],
        _telling(target, targets.in_time),
    )
    atheris.Fuzz()


def _telling(
    target: Callable[[bytes], None], in_time: Callable[[Callable[[bytes], None], bytes, float], None]
) -> Callable[[bytes], None]:
    """A target that says what it failed with, and on what: libFuzzer ends the process without Python's words."""

    def tell(data: bytes) -> None:
        try:
            in_time(target, data, SLOWER)
        except BaseException:
            traceback.print_exc()
            print(f"input: {data.hex()}", file=sys.stderr, flush=True)
            raise

    return tell


def run(name: str, seconds: int) -> dict[str, object]:
    """Fuzz one target in a process of its own."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "--one", name, "--seconds", str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + 120,
    )
    said = done.stdout + done.stderr
    count, peak = _COUNT.search(said), _PEAK.search(said)
    found: dict[str, object] = {
        "inputs": int(count[1]) if count else 0,
        "peak_mb": int(peak[1]) if peak else 0,
        "seconds": round(time.monotonic() - began, 1),
        "ok": done.returncode == 0 and count is not None,
    }
    if not found["ok"]:
        found["said"] = said[-3000:]
    return found


def properties(seconds: int) -> dict[str, object]:
    """Run the hypothesis tests in rounds, each from a seed of its own, until the time is over or one fails."""
    began, rounds, tests = time.monotonic(), 0, 0
    files = [str(path) for where in ("unit", "e2e") for path in sorted((ROOT / "tests" / where).glob("test_*.py"))
             if "from hypothesis import" in path.read_text(encoding="utf-8")]  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "hypothesis", *files]
    while True:
        seed = random.SystemRandom().getrandbits(32)
        print(f"{PROPERTIES:18} seed {seed}", flush=True)
        done = subprocess.run(
            [*command, "--hypothesis-profile=random", f"--hypothesis-seed={seed}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
        )
        count = _PASSED.search(done.stdout)
        rounds, tests = rounds + 1, int(count[1]) if count else 0
        ok, spent = done.returncode == 0 and tests > 0, time.monotonic() - began
        if not ok or spent >= seconds:
            break
    found: dict[str, object] = {"rounds": rounds, "tests": tests, "seconds": round(spent, 1), "ok": ok}
    return found if ok else found | {"said": (done.stdout + done.stderr)[-6000:]}


def shares(names: list[str], seconds: int) -> dict[str, int]:
    """Seconds for each name: a third for the hypothesis tests, the rest for the targets in equal parts."""
    if PROPERTIES not in names or len(names) == 1:
        return dict.fromkeys(names, max(2, seconds // len(names)))
    each = max(2, (seconds - seconds // 3) // (len(names) - 1))
    return {name: seconds // 3 if name == PROPERTIES else each for name in names}


def keep(name: str, most: int = 40) -> None:
    """Copy the smallest inputs that were worth keeping to the repository."""
    from tests.fuzz import targets

    into = targets.CORPUS / name
    into.mkdir(parents=True, exist_ok=True)
    paths = [path for path in (WORK / name).iterdir() if path.stat().st_size <= 1024]
    for path in sorted(paths, key=lambda path: (path.stat().st_size, path.name))[
        :: max(1, len(paths) // most)
    ]:
        (into / path.name).write_bytes(path.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", metavar="NAMES", help=f"comma list of targets and {PROPERTIES}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at once")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument(
        "--keep", action="store_true", help="keep some of what was found in tests/fuzz/corpus"
    )
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.seconds)
        return 0
    from tests.fuzz import targets

    names = arguments.only.split(",") if arguments.only else [PROPERTIES, *targets.TARGETS]
    results = {}

    def try_one(name: str, seconds: int) -> None:
        if name == PROPERTIES:
            results[name] = result = properties(seconds)
            counts = f"{result['rounds']:>3} rounds of {result['tests']} tests"
        else:
            results[name] = result = run(name, seconds)
            counts = f"{result['inputs']:>10,} inputs {result['peak_mb']:>6} MB"
        said = "ok" if result["ok"] else f"FOUND SOMETHING\n{result['said']}"
        print(f"{name:18} {counts}  {said}", flush=True)
        if arguments.keep and name != PROPERTIES:
            keep(name)

    with ThreadPoolExecutor(arguments.jobs) as pool:  # each of them is a process
        for done in [pool.submit(try_one, *share) for share in shares(names, arguments.seconds).items()]:
            done.result()
    total = sum(int(str(result.get("inputs", 0))) for result in results.values())
    print(f"{'together':18} {total:>10,} inputs")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all(result["ok"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
