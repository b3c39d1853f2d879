"""Logs: repeats are folded, and a log that cannot be written costs its lines only."""

from __future__ import annotations

import logging

import pytest

from lib import logs
from lib.logs import FOLD_AFTER, FOLD_SECONDS, Fold


def test_a_flood_is_said_a_few_times_then_counted() -> None:
    said: list[str] = []
    fold = Fold(said.append)
    for number in range(100):
        fold.say("late", f"peer {number}", number / 100)
    assert said == [f"peer {number}" for number in range(FOLD_AFTER)]
    fold.sweep(FOLD_SECONDS + 1)
    assert said[-1] == f"peer 99 ({100 - FOLD_AFTER} more times in 11 s)"
    fold.sweep(FOLD_SECONDS * 3)
    assert len(said) == FOLD_AFTER + 1


def test_kinds_are_folded_apart_and_a_new_window_says_again() -> None:
    said: list[str] = []
    fold = Fold(said.append)
    for kind in ("a", "b"):
        for _ in range(FOLD_AFTER):
            fold.say(kind, kind, 0.0)
    assert len(said) == 2 * FOLD_AFTER
    fold.say("a", "once more", FOLD_SECONDS + 1)
    assert said[-1] == "once more"
    assert len(said) == 2 * FOLD_AFTER + 1


def test_who_thinks_up_new_kinds_is_folded_too() -> None:
    said: list[str] = []
    fold = Fold(said.append)
    for number in range(1000):
        fold.say(f"kind {number}", "new", 0.0)
    assert len(said) == logs.MAX_KINDS + FOLD_AFTER


def test_a_full_disk_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logs.log.handlers), logs.log.level, logs.log.propagate
    try:
        logs.setup("info", "text", "/dev/full")
        for _ in range(3):
            logs.log.info("something")
    finally:
        for handler in logs.log.handlers:
            handler.handleError = lambda record: None  # type: ignore[method-assign]
            logging.Handler.close(handler)
        logs.log.handlers[:], logs.log.level, logs.log.propagate = before
    said = capsys.readouterr().err
    assert said.count("the log cannot be written") == 1
    assert "No space left on device" in said
    assert "Traceback" not in said
