"""The C library's heap: what a check of a password needs is given back."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import hashlib, os, threading
from lib import service_heap

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def check():
    hashlib.scrypt(b"guess", salt=b"0" * 16, n=1 << 14, r=8, p=1, maxmem=64 << 20)

def in_threads():
    threads = [threading.Thread(target=lambda: (check(), check())) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

if {fixed}:
    service_heap.return_large_blocks()
before = resident_mb()
in_threads()
print(resident_mb() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_large_blocks_go_back_to_the_kernel() -> None:
    assert kept_mb(fixed=False) > 12, "otherwise this shows nothing"
    assert kept_mb(fixed=True) < 6


def kept_mb(fixed: bool) -> float:
    """What stays resident after some checks of passwords in threads."""
    program = PROGRAM.format(fixed=fixed)
    return float(subprocess.check_output((sys.executable, "-c", program), cwd=ROOT, text=True))
