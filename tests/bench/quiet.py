"""Timed runs on a quiet machine: one at a time, on cores that never sleep, with the CPU time of others noted.

Knows: the lock that all benchmarks of this machine share, spinners, how much CPU time which process used.
Refuses to know: what is measured.

A virtual core that halts wakes late, as the hypervisor pleases. So during a timed run each core has a
busy loop of class SCHED_IDLE, which runs only when nothing else wants to.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(os.environ.get("BENCH_LOCK", Path(tempfile.gettempdir()) / "bench.lock"))
"""Taken by every benchmark of this machine, whoever made it: two at once would measure each other."""
BUSY = 0.15
"""Share of all cores in use above which the machine is not quiet."""

_HZ = os.sysconf("SC_CLK_TCK")
_KERNEL_THREAD = 0x00200000
_SPIN = """
import os, sys, time
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {int(sys.argv[1])})
end = time.monotonic() + 120
while time.monotonic() < end and os.getppid() == int(sys.argv[2]):
    for _ in range(100_000): pass
"""


@dataclass(slots=True)
class Timing:
    """A timed run, filled in when it ends. CPU seconds."""

    seconds: float = 0.0
    foreign: float = 0.0
    """Used by processes that are not ours."""
    stolen: float = 0.0
    """Taken by the hypervisor."""

    @property
    def disturbed(self) -> bool:
        """More than 4 % of a core foreign, or 5 % of all cores stolen."""
        cores = os.cpu_count() or 1
        return self.foreign > 0.04 * self.seconds or self.stolen > 0.05 * self.seconds * cores


@contextmanager
def timed(patience: float) -> Iterator[Timing]:
    """Hold the lock and keep the cores awake; first wait up to patience seconds for a quiet machine."""
    timing = Timing()
    with LOCK.open("a") as lock:
        _lock_when_quiet(lock.fileno(), patience)
        with _spinners():
            began, foreign, stolen = time.monotonic(), _foreign_cpu(), _cpu_line()[7]
            yield timing
            timing.seconds = time.monotonic() - began
            timing.foreign = max(0.0, _foreign_cpu() - foreign)
            timing.stolen = _cpu_line()[7] - stolen


def cpu_seconds(pid: int) -> float:
    """User and system time of a program so far, all its processes and threads."""
    return sum(sum(map(int, _stat(one)[11:13])) for one in _family(pid)) / _HZ


def resident_mb(pid: int) -> float:
    """VmRSS of a program in MB (10^6 bytes), all its processes."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in _family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def proportional_mb(pid: int) -> float:
    """Pss of a program in MB (10^6 bytes), all its processes: what they share by fork counts once."""
    kb = 0
    for one in _family(pid):
        with open(f"/proc/{one}/smaps_rollup") as rolled:
            kb += next(int(line.split()[1]) for line in rolled if line.startswith("Pss:"))
    return kb * 1024 / 1e6


def _family(pid: int) -> list[int]:
    """A process and its descendants: the executable is a loader that waits, and the program proper."""
    found = [pid]
    for one in found:
        found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def _lock_when_quiet(lock: int, patience: float) -> None:
    """Take the lock while the machine is quiet, or after so many seconds all the same."""
    deadline = time.monotonic() + patience
    while True:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not patience or _is_quiet() or time.monotonic() > deadline:
            return
        fcntl.flock(lock, fcntl.LOCK_UN)  # whoever waits for it may be what we wait for
        time.sleep(0.5)


def _is_quiet() -> bool:
    before = _cpu_line()
    time.sleep(0.2)
    spent = [after - earlier for after, earlier in zip(_cpu_line(), before, strict=True)]
    idle = spent[3] + spent[4]
    return sum(spent) - idle <= BUSY * sum(spent)


@contextmanager
def _spinners() -> Iterator[None]:
    command = (sys.executable, "-I", "-S", "-c", _SPIN)
    started = [subprocess.Popen((*command, str(core), str(os.getpid()))) for core in os.sched_getaffinity(0)]
    try:
        time.sleep(0.1)  # until their interpreters are up: that work is not of class SCHED_IDLE yet
        yield
    finally:
        for spinner in started:
            spinner.kill()
            spinner.wait()


def _cpu_line() -> list[float]:
    """Seconds: user nice system idle iowait irq softirq steal."""
    with open("/proc/stat") as stat:
        return [int(ticks) / _HZ for ticks in stat.readline().split()[1:9]]


def _foreign_cpu() -> float:
    """CPU time of all processes but ours and the kernel's.

    Ended children count with their parents, so that short-lived programs are seen as well.
    """
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = _stat(int(entry))
            except OSError:
                continue
            if not int(fields[6]) & _KERNEL_THREAD:
                parents[int(entry)] = int(fields[1])
                used[int(entry)] = sum(map(int, fields[11:15])) / _HZ
    return sum(seconds for pid, seconds in used.items() if not _is_ours(pid, parents))


def _is_ours(pid: int, parents: dict[int, int]) -> bool:
    while pid and pid != os.getpid():
        pid = parents.get(pid, 0)
    return pid != 0


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field (state) on. Raises OSError when the process has gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
