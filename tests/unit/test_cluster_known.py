"""What a hub that begins waits for: all others, as far as they live and their registry tells."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from lib import cluster_known
from lib.cluster_claims import Claims, Clocks
from lib.cluster_known import ALL_SECONDS, DEAF_SECONDS, KNOW_SECONDS, FirstLook
from lib.cluster_redis_talk import Talk
from lib.cluster_registry import Registry
from lib.cluster_seal import SharedSeal
from tests.support.redis_local import free_port, serving
from tests.support.redis_server import needs_redis
from tests.support.registry_nodes import NAMESPACE, Node, wait_for
from tests.support.routes import table

SEAL = SharedSeal(b"k" * 32, "key")
ROUTES = table(("10.0.0.1/32", "host-1"), ("10.0.0.2/32", "host-2"))
CLOCK = 1_700_000_000_000


class Others:
    """What hub-1 hears of some others."""

    def __init__(self) -> None:
        self.registry = Registry("hub-1", 1, SEAL)
        self.look = FirstLook(self.registry)
        self._claims: dict[str, Claims] = {}

    def say(self, name: str, host: str = "") -> None:
        """A hub lives; with a host that it had before, so its list has to be read."""
        claims = self._claims.setdefault(name, Claims(name, f"{name}:1", 1, SEAL.sign))
        if host:
            claims.join((NAMESPACE, host), 5, b"")
            claims.next_batch(Clocks(CLOCK, 0))
        self.registry.hear(claims.next_batch(Clocks(CLOCK, 0)).published, 0.0, CLOCK)

    def read(self, name: str) -> None:
        """Its list is read."""
        claims = self._claims[name]
        snapshot = self.registry.begin(name, claims.header(Clocks(CLOCK, 0)))
        assert snapshot is not None
        for _, entry in claims.whole():
            snapshot.add(entry)
        assert self.registry.use(snapshot)


def test_as_many_as_hear_beside_it_are_waited_for_and_their_lists() -> None:
    others = Others()
    others.look.hears(0.0)
    others.look.count(3)
    assert not others.look.is_over(0.0)
    others.say("hub-2")
    assert not others.look.is_over(0.0), "hub-3 lives too"
    others.say("hub-3", "host-3")
    assert not others.look.is_over(0.0), "its list has not been read"
    others.read("hub-3")
    assert others.look.is_over(0.0)
    others.say("hub-2", "host-2")
    others.look.hears_nothing()
    assert others.look.is_over(0.0), "it is the first look alone"


def test_nobody_is_waited_for_where_nobody_else_hears() -> None:
    others = Others()
    others.look.hears(0.0)
    others.look.count(1)
    assert others.look.is_over(0.0)


@pytest.mark.parametrize("said", [None, 0, -1, b"1", "1"])
def test_of_whom_nothing_is_known_all_have_spoken_after_a_while(said: object) -> None:
    others = Others()
    others.look.hears(7.0)
    others.look.count(said)
    assert not others.look.is_over(7.0 + ALL_SECONDS)
    assert others.look.is_over(8.0 + ALL_SECONDS)


def test_a_certificate_is_waited_for() -> None:
    others = Others()
    others.look.hears(0.0)
    others.registry.unread["hub-2"] = b""
    assert not others.look.is_over(9.0)
    others.registry.unread.clear()
    assert others.look.is_over(9.0)


def test_it_begins_anew_with_each_connection_and_has_an_end() -> None:
    others = Others()
    assert not others.look.is_over(math.inf)
    others.look.count(1)
    assert not others.look.is_over(0.0), "it hears nothing yet, so others may come and go"
    assert [others.look.is_worth(at) for at in (0.0, DEAF_SECONDS - 0.1, DEAF_SECONDS)] == [True, True, False]
    others.look.hears(0.0)
    assert [others.look.is_worth(at) for at in (DEAF_SECONDS, KNOW_SECONDS - 0.1, KNOW_SECONDS)] == [
        *(True, True, False)
    ]
    others.look.hears_nothing()
    assert not others.look.is_over(9.0)
    others.look.hears(8.9)
    assert not others.look.is_over(9.0)


# --- with a real Redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with serving(tmp_path, "--port", str(port)):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def hubs(redis: str) -> Iterator[list[Node]]:
    """hub-1, hub-2 and hub-3, none of which has begun."""
    made = [Node(f"hub-{number}", redis, ROUTES) for number in (1, 2, 3)]
    yield made
    for one in made:
        one.stop()


def known(hub: Node) -> float:
    """Have a hub begin; the seconds until it knows all others, as it says."""
    began = time.monotonic()
    hub.start()
    hub.cluster.wait_known()
    return time.monotonic() - began


@needs_redis
def test_a_hub_that_begins_knows_all_hosts_as_soon_as_it_says_so(
    hubs: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others say HUB because it begins: their next ones would come within a second."""
    one, two, three = hubs
    for name in ("ALL_SECONDS", "KNOW_SECONDS", "DEAF_SECONDS"):  # it is over by what Redis says alone
        monkeypatch.setattr(cluster_known, name, 600.0)
    assert known(one) < 60, "there is nobody else, which Redis says"
    known(two)
    two.join("host-2")
    one.join("host-1")
    wait_for(lambda: one.where("host-2") and two.where("host-1"))
    gevent.sleep(1.0)  # who has greeted one hub greets the next one a second later
    known(three)
    assert (three.where("host-1"), three.where("host-2")) == (["hub-1"], ["hub-2"])
    assert three.cluster.redis.first_look.is_over(0.0), "and not because it would wait no longer"


@needs_redis
def test_all_are_known_where_redis_does_not_say_how_many_hear(
    hubs: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, _ = hubs
    monkeypatch.setattr(Talk, "hearers", lambda *_: None)
    one.start()
    one.join("host-1")
    assert known(two) >= ALL_SECONDS
    assert two.where("host-1") == ["hub-1"]


@needs_redis
def test_a_redis_that_does_not_allow_to_ask_for_it_is_used_as_well(redis: str) -> None:
    hub = Node("hub-1", redis, ROUTES)
    with hub.cluster.redis._talk.open() as connection:
        talk = hub.cluster.redis._talk
        talk.ask(connection, [("ACL", "SETUSER", "default", "-pubsub")])
        assert talk.hearers(connection, "cluster:changes") is None
        assert talk.ask(connection, [("PING",)]) == [b"PONG"], "the connection is still of use"
        talk.ask(connection, [("ACL", "SETUSER", "default", "+@all")])
        assert talk.hearers(connection, "cluster:changes") == 0
    hub.cluster.stop()


def test_a_registry_that_is_away_is_waited_for_with_a_bound() -> None:
    hub = Node("hub-1", f"127.0.0.1:{free_port()}", ROUTES)
    try:
        assert DEAF_SECONDS <= known(hub) < KNOW_SECONDS
    finally:
        hub.stop()
