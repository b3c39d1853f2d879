"""Bodies of requests to the web API: what is held of them at once, and who waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import api_bodies
from lib.api_bodies import OTHERS, SMALL, Bodies, Body
from lib.api_request import Refused, Who
from lib.settings_api import TENANT

MB = 1 << 20
ADMIN = Who("ada", has_login=True)


def tenant(name: str) -> Who:
    return Who(name, TENANT, b"n" * 16, True)


class Input:
    """A body that comes as it is asked for, and then waits at `until`."""

    def __init__(self, size: int, until: Callable[[], object] = lambda: None) -> None:
        self.left, self._until = size, until

    def read(self, size: int) -> bytes:
        took = min(size, self.left)
        self.left -= took
        if not took:
            self._until()
        return bytes(took)


def body(bodies: Bodies, who: Who, size: int, until: Callable[[], object] = lambda: None) -> Body:
    environ: dict[str, Any] = {"wsgi.input": Input(size, until)}
    return bodies.of(who, "192.0.2.1:1", environ, MB)


def refused(one: Body) -> int:
    with pytest.raises(Refused) as caught:
        one.read()
    return caught.value.status


def test_it_is_read_once_and_given_back() -> None:
    bodies = Bodies()
    one = body(bodies, tenant("a"), 10_000)
    assert one.read() is one.read()
    assert len(one.read()) == 10_000
    assert bodies._others.used == 10_000
    one.close()
    assert (bodies._others.used, dict(bodies._others.by)) == (0, {})
    assert bodies._others.turn.counter == 1


@pytest.mark.parametrize(("size", "length"), [(MB + 1, ""), (5, str(MB + 1))])
def test_a_body_that_is_too_long_holds_nothing(size: int, length: str) -> None:
    bodies = Bodies()
    one = body(bodies, tenant("a"), size)
    one._environ["CONTENT_LENGTH"] = length
    assert refused(one) == 413
    one.close()
    assert bodies._others.used == 0


def test_bodies_of_tenants_have_a_bound_and_leave_room_for_other_tenants_and_administrators() -> None:
    bodies, forever = Bodies(), Event()
    greedy = [body(bodies, tenant("greedy"), MB - 1, forever.wait) for _ in range(64)]
    reading = [gevent.spawn(refused, one) for one in greedy]
    gevent.sleep(0.01)
    stuck = [one for one, greenlet in zip(greedy, reading, strict=True) if not greenlet.dead]
    assert 0 < sum(one._held for one in stuck) <= OTHERS // 2
    assert all(greenlet.get() == 503 for greenlet in reading if greenlet.dead)
    for one, greenlet in zip(greedy, reading, strict=True):
        if greenlet.dead:
            one.close()
    other = body(bodies, tenant("other"), MB // 2)
    assert len(other.read()) == MB // 2
    admin = body(bodies, ADMIN, MB)
    assert len(admin.read()) == MB
    gevent.killall(reading)


def test_a_big_body_waits_for_its_turn_and_a_small_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_bodies, "BODY_SECONDS", 0.05)
    bodies = Bodies()
    first, second = body(bodies, tenant("a"), SMALL + 1), body(bodies, tenant("b"), SMALL + 1)
    first.read()
    assert refused(second) == 408
    second.close()
    assert len(body(bodies, tenant("b"), SMALL).read()) == SMALL
    assert len(body(bodies, ADMIN, SMALL + 1).read()) == SMALL + 1
    third = body(bodies, tenant("b"), SMALL + 1)
    waiting = gevent.spawn(third.read)
    gevent.sleep(0.01)
    first.close()
    assert len(waiting.get(timeout=5)) == SMALL + 1
