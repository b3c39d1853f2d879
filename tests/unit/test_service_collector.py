"""Pauses of the cyclic garbage collector: off inside, on after the last one, and what they freeze."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from lib import service_collector


@pytest.fixture(autouse=True)
def frozen() -> Iterator[list[str]]:
    """What has been frozen; nothing is, in fact."""
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gc, "freeze", lambda: calls.append("frozen"))
        yield calls
    assert gc.isenabled()


def test_what_stays_is_frozen(frozen: list[str]) -> None:
    with service_collector.paused():
        assert not gc.isenabled()
    assert frozen == ["frozen"]
    assert gc.isenabled()


def test_what_does_not_stay_is_not(frozen: list[str]) -> None:
    with service_collector.paused(stays=False):
        assert not gc.isenabled()
    assert frozen == []


@pytest.mark.parametrize("first", [True, False])
def test_of_several_at_once_the_last_one_to_end_switches_it_on(frozen: list[str], first: bool) -> None:
    with service_collector.paused(stays=first):
        with service_collector.paused(stays=not first):
            pass
        assert not gc.isenabled()
        assert frozen == []
    assert frozen == ["frozen"]
    with service_collector.paused(stays=False):
        pass
    assert frozen == ["frozen"], "the pauses before are over"


def test_an_error_switches_it_on_again() -> None:
    with pytest.raises(ValueError, match="x"), service_collector.paused():
        raise ValueError("x")
    assert gc.isenabled()
