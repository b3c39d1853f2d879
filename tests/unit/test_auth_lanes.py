"""Whose login is checked next: addresses take turns, who was right lately goes first, and nobody waits for ever."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import gevent
import gevent.event
import pytest

from lib import auth_lanes, auth_password_pool, auth_passwords, ids, rule_live
from lib.auth_admission import Login, stays
from lib.auth_lanes import Busy, Lanes
from lib.ids import NO_NAMESPACE
from lib.settings import AutherSettings, IngressSettings
from lib.settings_sources import PluginSettings
from lib.source_origin import Direct

HASH = auth_passwords.hashed("secret", bytes(16))
GUESSER, OTHER = "192.0.2.1", "192.0.2.2"
FIRST = ("", "")
"""Who has the only place before the test begins."""


class Queue:
    """Lanes of one check at a time, which is taken, and who had a turn after that."""

    def __init__(self) -> None:
        self.lanes = Lanes(1)
        self.lanes.enter(FIRST)
        self.had: list[str] = []

    def wait(self, name: str, address: str, has_gone: Callable[[], bool] = stays) -> gevent.Greenlet:
        """Somebody waits for a turn."""

        def check() -> None:
            with self.lanes.turn((name, address), has_gone):
                self.had.append(name)

        made = gevent.spawn(check)
        gevent.idle()
        return made

    def run(self) -> list[str]:
        """Let everybody have their turn."""
        self.lanes.leave(FIRST)
        while self.lanes.waiting:
            gevent.sleep(0)
        gevent.idle()
        return self.had


def test_a_check_of_a_session_goes_first_and_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, from however many addresses: else they keep a session whose login is gone."""
    monkeypatch.setattr(auth_lanes, "MAX_WAITING", 5)
    queue = Queue()
    for number in range(5):
        queue.wait(f"guess {number}", f"192.0.2.{number}")
    with pytest.raises(Busy):
        queue.lanes.enter(("guess", "192.0.2.9"))
    for number in range(2):
        queue.wait(f"session {number}", auth_lanes.OF_SESSION)
    queue.wait("session 0", auth_lanes.OF_SESSION)  # two processes of checking, one name
    assert queue.run()[:3] == ["session 0", "session 1", "session 0"]


def test_addresses_take_turns() -> None:
    queue = Queue()
    for number in range(5):
        queue.wait(f"guess {number}", GUESSER)
    queue.wait("host-2", OTHER)
    queue.wait("host-3", "192.0.2.3")
    assert queue.run() == ["guess 0", "host-2", "host-3", "guess 1", "guess 2", "guess 3", "guess 4"]


def test_who_was_right_lately_goes_first_until_a_guess() -> None:
    queue = Queue()
    known = ("host-1", GUESSER)
    queue.lanes.judged(known, True)
    for number in range(3):
        queue.wait(f"guess {number}", GUESSER)
    queue.wait(*known)
    queue.wait(*known)  # the lane is for one check at a time
    queue.lanes.judged(("host-9", OTHER), True)
    queue.wait("host-9", GUESSER)  # right from elsewhere: no reason to believe this one
    assert queue.run() == ["host-1", "guess 0", "guess 1", "guess 2", "host-1", "host-9"]
    queue = Queue()
    queue.lanes.judged(known, True)
    queue.lanes.judged(known, False)
    queue.wait("guess", GUESSER)
    queue.wait(*known)
    assert queue.run() == ["guess", "host-1"]


def test_one_address_has_so_many_waiting_and_no_more() -> None:
    queue = Queue()
    for _ in range(auth_lanes.MAX_OF_ONE):
        queue.wait("guess", GUESSER)
    with pytest.raises(Busy, match=f"64 clients from {GUESSER} wait"):
        queue.lanes.enter(("one more", GUESSER))
    queue.wait("host-2", OTHER)
    assert queue.run()[1] == "host-2"


def test_when_all_is_full_the_longest_lane_makes_room() -> None:
    queue = Queue()
    sent_away = [queue.wait("guess", f"198.51.100.{number % 16}") for number in range(auth_lanes.MAX_WAITING)]
    came = queue.wait("host-2", OTHER)
    assert queue.lanes.waiting == auth_lanes.MAX_WAITING
    assert sum(isinstance(made.exception, Busy) for made in sent_away) == 1
    with pytest.raises(Busy, match="64 clients from"):
        queue.lanes.enter(("guess", "198.51.100.1"))
    assert queue.run().index("host-2") <= 16
    assert came.successful()


@pytest.mark.parametrize("gap", ["\0", "", "', '"])
def test_a_password_that_was_taken_away_does_not_come_back_as_part_of_another(gap: str) -> None:
    """What is remembered as right is told apart by its parts, whatever characters a password has."""
    checks, plain = auth_password_pool.Checks(), "old"
    assert checks.matches(plain, "secret", HASH, others=(HASH,))
    assert not checks.matches(plain, f"{HASH}{gap}secret", HASH)
    assert not checks.matches(f"{plain}{gap}{HASH}", "secret", HASH)


def test_a_check_leaves_the_core_to_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hashes at once would take two thirds of a core that the hub has to itself."""
    nice = []

    def matches(*_: object, **__: object) -> bool:
        nice.append(os.getpriority(os.PRIO_PROCESS, 0))  # this thread's
        return False

    monkeypatch.setattr(auth_passwords, "matches", matches)
    checks, own = auth_password_pool.Checks(), os.getpriority(os.PRIO_PROCESS, 0)
    for _ in range(2 * auth_password_pool.AT_ONCE):
        checks.matches(HASH, "guess")
    assert nice == [min(19, own + auth_password_pool.NICER)] * len(nice)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_nothing_is_checked_for_clients_that_have_gone() -> None:
    """64 guesses take two seconds: whoever comes after them must not wait for those of closed connections."""
    queue = Queue()
    gone = [queue.wait("guess", GUESSER, lambda: True) for _ in range(auth_lanes.MAX_OF_ONE)]
    queue.wait("host-1", GUESSER + "0")
    assert queue.run() == ["host-1"]
    assert {str(one.exception) for one in gone} == {"it has closed while it waited to be checked"}
    queue.lanes.enter(FIRST)  # their turns are free again


@pytest.mark.parametrize("end", [gevent.GreenletExit(), gevent.Timeout(1)], ids=["killed", "too late"])
@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "just as its turn comes"])
def test_a_turn_that_nobody_takes_is_not_lost(end: BaseException, granted: bool) -> None:
    queue = Queue()
    gone = queue.wait("gone", GUESSER)
    queue.wait("host-2", OTHER)
    gone.kill(end, block=False)
    if not granted:
        gevent.idle()
        assert queue.lanes.waiting == 1
    queue.lanes.leave(FIRST)
    gevent.idle()
    assert queue.had == ["host-2"]
    assert queue.lanes.waiting == 0
    queue.wait("host-3", OTHER)
    assert queue.had == ["host-2", "host-3"]


def test_hundreds_that_guess_do_not_keep_a_newcomer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 connections of one address, and one of another: it waits for a check or two, not for hundreds."""
    checks, order = auth_password_pool.Checks(), []
    real = auth_passwords.matches

    def counted(
        stored: str | None, password: str, dearest: str = "", *, others: tuple[str | None, ...] = ()
    ) -> bool:
        order.append(password)
        return real(stored, password, dearest, others=others)

    monkeypatch.setattr(auth_passwords, "matches", counted)

    def guess(number: int) -> bool | str:
        try:
            return checks.matches(HASH, f"guess {number}", HASH, (f"u{number}", GUESSER))
        except Busy as error:
            return str(error)

    guesses = [gevent.spawn(guess, number) for number in range(600)]
    gevent.wait(guesses, count=600 - auth_password_pool.AT_ONCE - auth_lanes.MAX_OF_ONE)
    before = len(order)
    right = checks.matches(HASH, "secret", HASH, ("host-1", OTHER))
    busy = [made.value for made in guesses if made.ready() and made.value]
    gevent.killall(guesses)
    assert checks.lanes.waiting == 0
    assert right
    behind = order.index("secret") - before
    assert behind <= 2 * auth_password_pool.AT_ONCE  # those that have their turn, and as many
    assert set(busy) == {f"64 clients from {GUESSER} wait to be checked"}
    assert len(busy) >= 500
    assert checks.matches(HASH, "wrong", HASH, ("host-1", OTHER)) is False


def test_a_killed_check_keeps_its_place_until_its_thread_is_through() -> None:
    checks = auth_password_pool.Checks()
    made = [gevent.spawn(checks.matches, HASH, f"guess {n}", HASH, ("u", GUESSER)) for n in range(2)]
    gevent.idle()
    gevent.killall(made)
    began = gevent.get_hub().loop.now()
    assert checks.matches(HASH, "secret", HASH, ("host-1", OTHER))
    assert gevent.get_hub().loop.now() > began


# --- plugins


class SlowPlugin:
    """A plugin that replies when it is let go; everybody is right."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = gevent.event.Event()

    def authenticate(self, login: Login) -> bool:
        return bool(self.endpoint(login.client, ""))

    def endpoint(self, host: str, service: str) -> str:
        self.asked.append(host)
        self.let_go.wait()
        return ids.format_uuid(NO_NAMESPACE)


Ask = tuple[SlowPlugin, Callable[[str], bool]]


@pytest.fixture(params=["auther", "ingress"])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Asks a plugin about a client, by its address and port; and the plugin."""
    plugin, watch, settings = SlowPlugin(), Direct(), PluginSettings("http://plugin.test")
    if request.param == "auther":
        monkeypatch.setattr(rule_live, "AutherPlugin", lambda settings: plugin)
        logins = rule_live.LiveLogins(AutherSettings("a", plugin=settings), watch, lambda: None)
        yield plugin, lambda peer: logins.grant(Login(peer, "", peer, "service-0")) is not None
    else:
        monkeypatch.setattr(rule_live, "IngressPlugin", lambda settings: plugin)
        rules = rule_live.LiveIngress(IngressSettings("i", plugin=settings), watch, lambda: None)
        yield plugin, lambda peer: rules.admits(peer, NO_NAMESPACE, "service-0", peer)
    watch.stop()


def test_one_address_does_not_have_all_places_of_a_plugin(ask: Ask) -> None:
    """However slow the plugin is, a client from elsewhere is asked about at once."""
    plugin, admitted = ask
    crowd = [gevent.spawn(admitted, f"{GUESSER}:{port}") for port in range(200)]
    gevent.idle()
    assert len(plugin.asked) == rule_live.ASKED_OF_ONE < rule_live.ASKED_AT_ONCE
    busy = [one for one in crowd if one.ready()]
    assert len(busy) == 200 - rule_live.ASKED_OF_ONE - auth_lanes.MAX_OF_ONE
    assert {type(one.exception) for one in busy} == {Busy}
    other = gevent.spawn(admitted, f"{OTHER}:1")
    gevent.idle()
    assert plugin.asked[-1] == f"{OTHER}:1"
    plugin.let_go.set()
    gevent.joinall([other, *crowd])
    assert other.value
    assert sum(one.value is True for one in crowd) == rule_live.ASKED_OF_ONE + auth_lanes.MAX_OF_ONE


def test_free_places_go_to_those_who_may_have_one_more() -> None:
    lanes, had = Lanes(3, 2), list[str]()

    def check(name: str, address: str, until: gevent.event.Event) -> None:
        with lanes.turn((name, address)):
            had.append(name)
            until.wait()

    first, later = gevent.event.Event(), gevent.event.Event()
    one = gevent.spawn(check, "a", GUESSER, first)
    rest = [gevent.spawn(check, name, GUESSER, later) for name in "bcd"]
    rest += [gevent.spawn(check, name, OTHER, later) for name in "ef"]
    gevent.idle()
    assert had == ["a", "b", "e"]
    first.set()
    one.join()
    gevent.idle()
    assert had == ["a", "b", "e", "c"], "places: two and one"
    later.set()
    gevent.joinall(rest)
    assert sorted(had) == list("abcdef")
    assert lanes.waiting == 0
