"""Signals before anything can obey them, each case in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.netns import ROOT

BEGIN = """\
import os, signal, sys
from lib import service_signals as first
signal.signal(signal.SIGINT, signal.SIG_IGN if "ignored" in sys.argv else signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
first.hold()
"""


def run(text: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        (sys.executable, "-c", BEGIN + text, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
def test_a_reload_or_a_question_waits_until_the_service_is_there(name: str) -> None:
    text = f"""
os.kill(os.getpid(), signal.{name})
signal.signal(signal.{name}, lambda *_: print("obeyed"))
print("ready")
first.release()
"""
    assert run(text) == (0, "ready\nobeyed\n")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
def test_a_command_that_is_no_service_ends_by_them(name: str) -> None:
    assert run(f"os.kill(os.getpid(), signal.{name}); first.ordinary(); print('on')") == (
        -signal.Signals[name],
        "",
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_start_is_ended_without_a_word(name: str) -> None:
    assert run(f"os.kill(os.getpid(), signal.{name}); print('on')") == (-signal.Signals[name], "")


def test_ctrl_c_is_an_exception_again_for_a_command() -> None:
    text = """
first.ordinary()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert run(text) == (0, "interrupted\n")


def test_an_ignored_interrupt_stays_ignored() -> None:
    assert run("os.kill(os.getpid(), signal.SIGINT); first.ordinary(); print('on')", "ignored") == (0, "on\n")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_service_that_has_ended_ignores_them(name: str) -> None:
    """The handlers of gevent's loop may be gone by then, and a signal would have its usual effect, or none good."""
    text = f"first.release(); first.ended(); os.kill(os.getpid(), signal.{name}); print('on')"
    assert run(text) == (0, "on\n")
