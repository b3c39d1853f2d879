"""Deadlines and kills are no errors: what they do to code that handles errors, and no handler of lib/ keeps them."""

from __future__ import annotations

import ast
import re
import time

import gevent
import pytest
from gevent.event import Event

from lib.errors import PluginError, ProtocolError
from lib.stream_bounded import failing_as
from lib.stream_deadline import to_its_end, within
from tests.support.lib_trees import lib_trees


def late() -> OSError:
    return OSError(110, "too late")


def test_a_deadline_is_not_taken_for_the_failure_of_one_of_several() -> None:
    """The loop over addresses that every library has."""

    def any_of_them() -> None:
        for _ in range(3):
            try:
                Event().wait()
            except OSError:
                continue

    began = time.monotonic()
    with pytest.raises(OSError, match="too late"), within(0.05, late):
        any_of_them()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("error", [PluginError, ProtocolError, TimeoutError])
def test_a_deadline_of_any_kind_passes_through_what_turns_errors_into_others(error: type[Exception]) -> None:
    """A hub's handshake that is late while a plugin is asked: late, and not the plugin's failure."""
    with (
        pytest.raises(error, match="late"),
        within(0.05, lambda: error("late")),
        failing_as(OSError, OSError),
    ):
        Event().wait()


def test_each_of_two_deadlines_ends_its_own_block() -> None:
    went_on = []

    def both(inner: float, outer: float) -> None:
        with within(outer, lambda: OSError("outer")):
            try:
                with within(inner, lambda: OSError("inner")):
                    Event().wait()
            except OSError:
                went_on.append(inner)
                Event().wait()

    with pytest.raises(OSError, match="outer"):
        both(0.3, 0.05)
    assert went_on == [], "the outer deadline is not the inner block's error"
    with pytest.raises(OSError, match="outer"):
        both(0.05, 0.1)
    assert went_on == [0.05]


def test_what_is_done_in_time_is_left_alone() -> None:
    with within(0.02, late):
        value = gevent.spawn(lambda: 7).get()
    with within(float("inf"), late):
        gevent.sleep(0)
    gevent.sleep(0.05)
    assert value == 7


def test_what_was_waited_for_is_asked_at_the_deadline() -> None:
    steps = ["look-up"]
    gevent.spawn(steps.append, "TLS")
    with pytest.raises(OSError, match="TLS"), within(0.05, lambda: OSError(steps[-1])):
        Event().wait()


def test_what_must_not_be_left_half_done_goes_on_without_its_caller() -> None:
    begun, go_on, done = Event(), Event(), Event()

    def set_a_route() -> str:
        begun.set()
        go_on.wait()
        done.set()
        return "set"

    setting = gevent.spawn(to_its_end, set_a_route)
    begun.wait(5)
    setting.kill()
    go_on.set()
    assert done.wait(5)
    assert to_its_end(set_a_route) == "set"
    with pytest.raises(ZeroDivisionError):
        to_its_end(lambda: 1 // 0)


# --- no handler of lib/ keeps a deadline or a kill

KEEPS = {
    "api_server": "the head of a request that does not come, and no deadline but its own",
    "ctl_server": "the end of a connection's greenlet, and no deadline but its own is around it",
    "hub_session": "a session's greenlet is killed where the hub ends; nothing is done after it",
    "worker_forker": "the process ends there",
}
"""Modules with one handler that does not raise a deadline or a kill again -> why it may."""
DIALS = {
    *("stream_dial", "ctl_client", "service_socket", "service_notify"),
    *("demo_probe", "datagram_open"),
}
"""Modules that connect a socket; all but the first know an address: of this machine, or by its datagrams."""


def test_who_catches_a_deadline_or_a_kill_raises_it_again() -> None:
    found = []
    for path, tree in lib_trees("BaseException", "Timeout", "GreenletExit", "except:"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            names = ast.unparse(node.type) if node.type else "BaseException"
            last = node.body[-1]
            again = isinstance(last, ast.Raise) and (last.exc is None or path.stem == "stream_deadline")
            if not again and re.search("BaseException|gevent.Timeout|GreenletExit", names):
                found.append(path.stem)
    assert found == sorted(KEEPS)


def test_no_finally_throws_a_deadline_away() -> None:
    """`return`, `break` and `continue` there end the exception that is under way."""
    for path, tree in lib_trees("finally:"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Try):
                for inside in (inner for part in node.finalbody for inner in ast.walk(part)):
                    assert not isinstance(inside, ast.Return | ast.Break | ast.Continue), path.stem


def test_deadlines_that_become_errors_are_made_in_one_place() -> None:
    """gevent.Timeout(seconds, OSError()) would be caught as the error of whatever waits. False is no error."""
    for path, tree in lib_trees("Timeout"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("Timeout", "Timeout.start_new")
            ):
                more = [ast.unparse(one) for one in (*node.args[1:], *(key.value for key in node.keywords))]
                assert more in ([], ["False"]), f"{path.stem}:{node.lineno}: use stream_deadline.within"


def test_names_are_dialled_in_one_place() -> None:
    """Everything else would try one address, or all of them without a deadline."""
    found = set()
    for path, tree in lib_trees(".connect", "create_connection"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("sock.connect", "client.connect", "create_connection", ".connect_ex")
            ):
                found.add(path.stem)
    assert found == DIALS
