"""The work that a function does, counted in instructions of the interpreter: the same on every machine.

What C code does (a sort, a search in a list) is not counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def counted(work: Callable[[], object]) -> int:
    """How many instructions a function takes, with all that it calls."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def longest_step(work: Callable[[Callable[[], None]], object]) -> int:
    """The most instructions that a function goes through without a call of the function that it is given."""
    count = most = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count, most
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
            most = max(most, count)
        return trace

    def step() -> None:
        nonlocal count
        count = 0

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work(step)
    finally:
        sys.settrace(before)
    return most
