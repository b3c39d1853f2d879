"""Coverage-guided fuzzing (atheris) of every decoder in targets.py.

    .venv/bin/python tests/fuzz/fuzz.py --seconds 60          what `make fuzz SECONDS=60` runs: shared by
all targets
    .venv/bin/python tests/fuzz/fuzz.py --only frames,urls

What is new to a corpus is kept in build/fuzz; `--keep` copies the smallest inputs of each target to
tests/fuzz/corpus. An input that crashes, hangs for 10 s or takes 1 GB is put into tests/fuzz/crashers,
where the unit tests find it from then on.

Exit status: 0 nothing found, 1 something was.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WORK = ROOT / "build" / "fuzz"
HANG_SECONDS, MEMORY_MB = 10, 1024
_COUNT = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
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
        _telling(target),
    )
    atheris.Fuzz()


def _telling(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """A target that says what it failed with, and on what: libFuzzer ends the process without Python's words."""

    def tell(data: bytes) -> None:
        try:
            target(data)
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
    parser.add_argument("--only", metavar="NAMES", help="comma list of targets")
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

    names = arguments.only.split(",") if arguments.only else list(targets.TARGETS)
    results = {}
    for name in names:
        results[name] = result = run(name, max(2, arguments.seconds // len(names)))
        verdict = "ok" if result["ok"] else "FOUND SOMETHING"
        print(f"{name:18} {result['inputs']:>10,} inputs {result['peak_mb']:>6} MB  {verdict}", flush=True)
        if not result["ok"]:
            print(result["said"])
        if arguments.keep:
            keep(name)
    total = sum(int(str(result["inputs"])) for result in results.values())
    print(f"{'together':18} {total:>10,} inputs")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all(result["ok"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
