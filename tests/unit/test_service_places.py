"""Who has to go when all places are taken."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from lib.service_places import Places


class Room:
    """Places, and greenlets that hold one until they are killed."""

    def __init__(self, most: int) -> None:
        self.places = Places(most)
        self.there: list[str] = []
        self.turned_away: list[str] = []

    def come(self, name: str, address: str = "", busy: bool = False) -> gevent.Greenlet:
        def hold() -> None:
            with self.places.hold(address) as held:
                if not held:
                    self.turned_away.append(name)
                    return
                self.there.append(name)
                try:
                    if busy:
                        with self.places.busy():
                            Event().wait()
                    Event().wait()
                finally:
                    self.there.remove(name)

        made = gevent.spawn(hold)
        gevent.sleep(0)
        gevent.sleep(0)
        return made


@pytest.mark.parametrize(
    ("taken", "newcomer", "goes"),
    [
        pytest.param(["a1", "a2", "a3"], "a4", "a1", id="the oldest of one address"),
        pytest.param(["a1!", "a2", "a3"], "a4", "a2", id="not one that is served"),
        pytest.param(["b1", "a1", "a2"], "c1", "a1", id="of the address with most"),
        pytest.param(["b1", "a1!", "a2!"], "c1", "a1", id="one that is served, of an address with more"),
        pytest.param(["b1", "a1!", "c1!"], "d1", "b1", id="somebody idle before one that is served"),
        pytest.param(["a1!", "a2!", "a3!"], "b1", "a1", id="one that is served, of an address with far more"),
        pytest.param(["a1!", "a2!", "a3!"], "a4", None, id="not for one's own address"),
        pytest.param(["a1!", "b1!", "c1!"], "d1", None, id="nobody, where each has one"),
    ],
)
def test_who_makes_room(taken: list[str], newcomer: str, goes: str | None) -> None:
    room = Room(3)
    greenlets = [room.come(name.rstrip("!"), name[0], name.endswith("!")) for name in taken]
    came = room.come(newcomer, newcomer[0])
    gevent.sleep(0)
    names = [name.rstrip("!") for name in taken]
    if goes is None:
        assert (room.there, room.turned_away) == (names, [newcomer])
    else:
        assert sorted(room.there) == sorted([*(set(names) - {goes}), newcomer])
    assert len(room.places) == 3
    gevent.killall([*greenlets, came])
    assert len(room.places) == 0


def test_who_has_been_served_is_idle_again() -> None:
    room = Room(1)
    served, done = Event(), Event()

    def hold() -> None:
        with room.places.hold():
            with room.places.busy():
                served.wait()
            done.set()
            Event().wait()

    made = gevent.spawn(hold)
    gevent.sleep(0)
    room.come("early")
    served.set()
    done.wait()
    late = room.come("late")
    assert (room.turned_away, room.there) == (["early"], ["late"])
    gevent.killall([made, late])


def test_busy_without_a_place_is_nothing() -> None:
    with Places(1).busy():
        pass


def test_the_oldest_idle_one_makes_room_for_whoever_has_no_descriptor() -> None:
    room = Room(10)
    room.come("served", busy=True)
    room.come("first")
    room.come("second")
    assert room.places.make_room()
    gevent.sleep(0)
    assert (room.there, len(room.places)) == (["served", "second"], 2)
    assert room.places.make_room()
    assert not room.places.make_room(), "nobody who is served goes"
    gevent.sleep(0)
    assert room.there == ["served"]
