"""Registry of other hubs: gaps, restarts, leases, lists that are read again, and what nobody can forge.

The simulation plays several hubs over a transport that loses, repeats, delays and mixes up messages, with a
clock of its own and seeds that are told in a failure.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cluster_places, cluster_wire, framing
from lib.cluster_claims import BATCH, HEADER, RENEW_SECONDS, Claims, Clocks, field_of
from lib.cluster_places import MAX_HUBS_A_HOST, Place
from lib.cluster_registry import LEASE_SECONDS, MAX_SKEW_MS, Outcome, Registry
from lib.cluster_seal import Proof, SharedSeal
from lib.errors import ProtocolError

SEAL, OTHER = SharedSeal(b"k" * 32, "key"), SharedSeal(b"o" * 32, "key")
NAMESPACE = b"N" * 16
CLOCK = 1_700_000_000_000
NOW = Clocks(CLOCK, 0)


def place(number: int, namespace: bytes = NAMESPACE) -> Place:
    return namespace, f"host-{number}"


class Server:
    """What a Redis does for the registry: hashes, and a list of what was published."""

    def __init__(self) -> None:
        self.lists: dict[str, dict[bytes, bytes]] = {}
        self.published: list[bytes] = []

    def write(self, claims: Claims, clocks: Clocks) -> None:
        """Write the next batch, and the next ones as long as there are changes."""
        while True:
            batch = claims.next_batch(clocks)
            fields = self.lists.setdefault(claims.name, {})
            for name in batch.deletes:
                fields.pop(name, None)
            fields |= dict(batch.sets)
            self.published.append(batch.published)
            if not claims.is_pending:
                return

    def write_whole(self, claims: Claims, clocks: Clocks) -> None:
        header = claims.header(clocks)
        self.lists[claims.name] = {**dict(claims.whole()), HEADER: header}
        self.published.append(framing.encode(header))

    def take(self) -> Iterator[bytes]:
        yield from self.published
        self.published.clear()

    def read(self, registry: Registry, name: str) -> bool:
        fields = dict(self.lists.get(name, {}))
        snapshot = None
        try:
            snapshot = registry.begin(name, fields.pop(HEADER, b""))
            if snapshot is None:
                return False
            for entry in fields.values():
                snapshot.add(entry)
        except ProtocolError:
            if snapshot is not None:
                registry.drop(snapshot)
            return False
        return registry.use(snapshot)


def clear(registry: Registry) -> set[Place]:
    """Have a registry tidy up; returns the places that have changed."""
    found: set[Place] = set()
    while registry.places.is_busy:
        registry.places.tidy()
        found.update(registry.places.take_changed())
    return found


class Pair:
    """A hub that tells, and another one that hears all of it; `now` is played."""

    def __init__(self) -> None:
        self.server = Server()
        self.teller = Claims("hub-1", "192.0.2.1:8444", 1000, SEAL.sign)
        self.hearer = Registry("hub-2", 2000, SEAL)
        self.now = 0.0
        self.echo()

    def tell(self) -> list[Outcome]:
        self.server.write(self.teller, NOW)
        return self.hear()

    def hear(self) -> list[Outcome]:
        return [one for data in self.server.take() for one in self.hearer.hear(data, self.now, CLOCK)]

    def echo(self) -> None:
        own = Claims("hub-2", "192.0.2.2:8444", 2000, SEAL.sign)
        own.beat = int(self.now * 1000)
        assert self.hearer.hear(framing.encode(own.header(NOW)), self.now, CLOCK) == [Outcome.OWN]

    def at(self, number: int) -> list[str]:
        return [hub.name for hub in self.hearer.where(place(number))]


def test_a_host_that_joins_and_leaves_is_followed() -> None:
    pair = Pair()
    assert pair.tell() == [Outcome.TAKEN]
    assert pair.hearer.hubs["hub-1"].address == "192.0.2.1:8444"
    pair.teller.join(place(1), 5, b"i" * 16)
    assert pair.tell() == [Outcome.TAKEN, Outcome.TAKEN]
    assert pair.at(1) == ["hub-1"]
    assert pair.hearer.instance(pair.hearer.hubs["hub-1"], place(1)) == b"i" * 16
    assert clear(pair.hearer) == {place(1)}
    pair.teller.leave(place(1))
    pair.tell()
    assert pair.at(1) == []
    assert clear(pair.hearer) == {place(1)}
    assert pair.hearer.size == 0


def test_a_message_that_comes_twice_changes_nothing() -> None:
    pair = Pair()
    pair.tell()
    pair.teller.join(place(1), 5, b"")
    pair.server.write(pair.teller, NOW)
    sent = list(pair.server.published)
    pair.hear()
    pair.server.published = sent
    assert set(pair.hear()) == {Outcome.OLD}
    assert pair.at(1) == ["hub-1"]


def test_a_change_that_nobody_vouches_for_is_nothing() -> None:
    """Alone it may be years old, or somebody else's."""
    pair = Pair()
    pair.tell()
    pair.teller.join(place(1), 5, b"")
    pair.server.write(pair.teller, NOW)
    (whole,) = pair.server.take()
    (join,), head, _ = cluster_wire.opened(whole)
    pair.teller.join(place(2), 5, b"")
    pair.server.write(pair.teller, NOW)
    (later,) = pair.server.take()
    (other,), _, _ = cluster_wire.opened(later)
    for data in (
        framing.encode(join),
        framing.encode(head),
        framing.encode(other) + framing.encode(head),
        framing.encode(head) + framing.encode(join),
        framing.encode(join) + whole,
        whole + b"\0",
        b"",
    ):
        assert pair.hearer.hear(data, 0.0, CLOCK) == [Outcome.FOREIGN], data
    assert pair.at(1) == []
    assert pair.hearer.hear(whole, 0.0, CLOCK) == [Outcome.TAKEN, Outcome.TAKEN]
    assert pair.at(1) == ["hub-1"]


def test_a_message_of_another_registry_with_the_same_secret_is_not_believed() -> None:
    """As somebody copies it who has both."""
    pair = Pair()
    elsewhere = Claims("hub-1", "192.0.2.1:8444", 1000, SharedSeal(b"k" * 32, "another key").sign)
    pair.server.write(elsewhere, NOW)
    assert pair.hear() == [Outcome.FOREIGN]


def test_a_gap_means_that_the_list_is_read_and_what_is_known_goes_on() -> None:
    pair = Pair()
    pair.tell()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    pair.teller.join(place(2), 5, b"")
    pair.server.write(pair.teller, NOW)
    pair.server.published.clear()
    pair.teller.join(place(3), 5, b"")
    pair.teller.leave(place(1))
    assert Outcome.GAP in pair.tell()
    assert pair.hearer.wanted() == ["hub-1"]
    assert (pair.at(1), pair.at(2), pair.at(3)) == (["hub-1"], [], [])
    assert pair.server.read(pair.hearer, "hub-1")
    assert pair.hearer.wanted() == []
    assert (pair.at(1), pair.at(2), pair.at(3)) == ([], ["hub-1"], ["hub-1"])
    pair.teller.join(place(4), 5, b"")
    assert pair.tell() == [Outcome.TAKEN, Outcome.TAKEN]


def test_a_list_that_is_older_than_what_is_known_is_not_used() -> None:
    pair = Pair()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    old = {name: dict(fields) for name, fields in pair.server.lists.items()}
    pair.server.read(pair.hearer, "hub-1")
    pair.teller.leave(place(1))
    pair.tell()
    pair.server.lists = old
    assert not pair.server.read(pair.hearer, "hub-1")
    assert pair.at(1) == []


def tamper_remove(fields: dict[bytes, bytes], before: dict[bytes, bytes]) -> None:
    fields.pop(field_of(place(2)))


def tamper_swap(fields: dict[bytes, bytes], before: dict[bytes, bytes]) -> None:
    """The number of entries stays as it was signed."""
    fields.pop(field_of(place(2)))
    fields[field_of(place(1))] = before[field_of(place(1))]


def tamper_return(fields: dict[bytes, bytes], before: dict[bytes, bytes]) -> None:
    fields[field_of(place(1))] = before[field_of(place(1))]


def tamper_twice(fields: dict[bytes, bytes], before: dict[bytes, bytes]) -> None:
    fields[b"another field"] = fields[field_of(place(2))]


def tamper_forge(fields: dict[bytes, bytes], before: dict[bytes, bytes]) -> None:
    forger = Claims("hub-1", "", 1000, OTHER.sign)
    forger.join(place(1), 5, b"")
    fields |= dict(forger.next_batch(NOW).sets[:1])


def tamper_header(fields: dict[bytes, bytes], before: dict[bytes, bytes]) -> None:
    fields[HEADER] = before[HEADER]


def tamper_other_hub(fields: dict[bytes, bytes], before: dict[bytes, bytes]) -> None:
    other = Claims("hub-3", "192.0.2.3:8444", 1000, SEAL.sign)
    other.join(place(1), 5, b"")
    fields |= dict(other.next_batch(NOW).sets[:1])


TAMPERED = (
    tamper_remove,
    tamper_swap,
    tamper_return,
    tamper_twice,
    tamper_forge,
    tamper_header,
    tamper_other_hub,
)


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda one: one.__name__)
def test_who_writes_to_redis_moves_no_host(tamper: object) -> None:
    """Host 1 has left and host 2 has come; an entry is taken out, put back, forged or of another hub."""
    pair = Pair()
    pair.tell()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    before = dict(pair.server.lists["hub-1"])
    pair.teller.leave(place(1))
    pair.teller.join(place(2), 6, b"")
    pair.server.write(pair.teller, NOW)
    pair.server.published.clear()
    pair.teller.join(place(3), 7, b"")
    pair.tell()
    assert pair.hearer.wanted() == ["hub-1"]
    whole = dict(pair.server.lists["hub-1"])
    tamper(pair.server.lists["hub-1"], before)  # type: ignore[operator]
    assert not pair.server.read(pair.hearer, "hub-1")
    assert pair.at(2) == []
    pair.server.lists["hub-1"] = whole
    assert pair.server.read(pair.hearer, "hub-1")
    assert (pair.at(1), pair.at(2), pair.at(3)) == ([], ["hub-1"], ["hub-1"])


def test_messages_of_another_secret_are_refused() -> None:
    pair = Pair()
    forger = Claims("hub-1", "192.0.2.66:8444", 5000, OTHER.sign)
    forger.join(place(1), 5, b"")
    pair.server.write(forger, NOW)
    assert pair.hear() == [Outcome.FOREIGN]
    assert pair.hearer.hubs == {}
    assert pair.hearer.outcomes[Outcome.FOREIGN] == 1


def test_a_restarted_hub_has_none_of_its_hosts_until_they_come_back() -> None:
    pair = Pair()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    pair.server.read(pair.hearer, "hub-1")
    old = pair.teller
    pair.teller = Claims("hub-1", "192.0.2.9:8444", 1001, SEAL.sign)
    pair.tell()
    assert pair.at(1) == []
    assert pair.hearer.hubs["hub-1"].address == "192.0.2.9:8444"
    old.join(place(2), 6, b"")
    pair.server.write(old, NOW)
    assert set(pair.hear()) == {Outcome.OLD}, "a message of the run before"
    pair.teller.join(place(1), 7, b"")
    assert pair.tell() == [Outcome.TAKEN, Outcome.TAKEN]
    assert pair.at(1) == ["hub-1"]


def test_a_hub_that_says_goodbye_is_gone_at_once_and_for_good() -> None:
    pair = Pair()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    pair.server.read(pair.hearer, "hub-1")
    later = framing.encode(pair.teller.header(NOW))
    pair.server.published.append(framing.encode(pair.teller.bye(NOW)))
    assert pair.hear() == [Outcome.TAKEN]
    assert pair.at(1) == []
    assert pair.hearer.hear(later, 0.0, CLOCK) == [Outcome.OLD], "this run has ended"


def test_the_hosts_of_a_dead_hub_are_gone_after_its_lease_and_come_back_with_it() -> None:
    pair = Pair()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    pair.server.read(pair.hearer, "hub-1")
    clear(pair.hearer)
    for second in range(1, 6):
        pair.now = float(second)
        pair.echo()
        assert pair.hearer.expire(pair.now) == []
        assert pair.at(1) == ["hub-1"]
    pair.now = LEASE_SECONDS + 0.1
    assert pair.hearer.expire(pair.now) == ["hub-1"]
    assert pair.at(1) == []
    assert clear(pair.hearer) == {place(1)}
    pair.tell()
    assert pair.at(1) == ["hub-1"], "nothing has to be read: no change was missed"
    assert pair.hearer.wanted() == []


def test_a_long_dead_hub_is_forgotten_and_read_when_it_comes_back() -> None:
    pair = Pair()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    pair.server.read(pair.hearer, "hub-1")
    for second in range(1, 80):
        pair.now = float(second)
        pair.echo()
        pair.hearer.expire(pair.now)
    assert pair.hearer.size == 0
    assert pair.tell() == [Outcome.GAP]
    assert pair.hearer.wanted() == ["hub-1"]
    assert pair.server.read(pair.hearer, "hub-1")
    assert pair.at(1) == ["hub-1"]


def test_no_lease_ends_while_we_hear_nobody_and_each_begins_anew_after_that() -> None:
    pair = Pair()
    pair.teller.join(place(1), 5, b"")
    pair.echo()
    pair.tell()
    pair.server.read(pair.hearer, "hub-1")
    pair.now = 60.0
    assert pair.hearer.expire(pair.now) == []
    assert pair.at(1) == ["hub-1"]
    pair.echo()
    assert pair.hearer.expire(pair.now) == []
    pair.now = 61.0
    pair.echo()
    assert pair.hearer.expire(pair.now) == []
    for second in range(62, 67):
        pair.now = float(second)
        pair.echo()
    assert pair.hearer.expire(pair.now) == ["hub-1"]


def test_a_sign_of_life_by_a_link_renews_a_lease_and_revives_nobody() -> None:
    pair = Pair()
    pair.tell()
    for second in range(1, 10):
        pair.now = float(second)
        pair.echo()
        pair.hearer.alive("hub-1", pair.now)
        assert pair.hearer.expire(pair.now) == []
    pair.now = 9.0 + LEASE_SECONDS + 0.1
    pair.hearer.echoed_at = pair.now
    assert pair.hearer.expire(pair.now) == ["hub-1"]
    pair.hearer.alive("hub-1", pair.now)
    pair.hearer.alive("hub-99", pair.now)
    assert not pair.hearer.hubs["hub-1"].live


@pytest.mark.parametrize(("skew", "outcome"), [(MAX_SKEW_MS, Outcome.TAKEN), (MAX_SKEW_MS + 1, Outcome.SKEW)])
def test_a_message_that_was_kept_back_for_long_is_not_believed(skew: int, outcome: Outcome) -> None:
    for clock in (CLOCK - skew, CLOCK + skew):
        pair = Pair()
        pair.server.write(pair.teller, Clocks(clock, 0))
        assert pair.hear() == [outcome]


def test_another_process_with_our_name_is_noticed() -> None:
    pair = Pair()
    for epoch, outcome in ((1999, Outcome.OLD), (2000, Outcome.OWN), (2001, Outcome.TWIN)):
        twin = Claims("hub-2", "", epoch, SEAL.sign)
        assert pair.hearer.hear(framing.encode(twin.header(NOW)), 0.0, CLOCK) == [outcome]
    assert pair.hearer.hubs == {}


def test_a_host_on_several_hubs_is_where_it_came_last_and_few_are_looked_at() -> None:
    registry, server = Registry("hub-0", 1, SEAL), Server()
    for number in range(1, MAX_HUBS_A_HOST + 3):
        claims = Claims(f"hub-{number}", "192.0.2.1:1", 1000, SEAL.sign)
        server.write(claims, NOW)
        claims.join(place(1), 1000 - number % 3, b"")
        server.write(claims, NOW)
    for data in server.take():
        registry.hear(data, 0.0, CLOCK)
    found = [hub.name for hub in registry.where(place(1))]
    assert found == ["hub-3", "hub-6", "hub-1", "hub-4"]
    assert len(found) == MAX_HUBS_A_HOST


def test_more_hosts_and_hubs_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.cluster_places.MAX_CLAIMS", 3)
    monkeypatch.setattr("lib.cluster_registry.MAX_HUBS", 1)
    pair = Pair()
    pair.tell()
    for number in range(5):
        pair.teller.join(place(number), 5, b"")
    assert pair.tell().count(Outcome.FULL) == 2
    assert pair.hearer.size == 3
    other = Claims("hub-3", "", 1000, SEAL.sign)
    assert pair.hearer.hear(framing.encode(other.header(NOW)), 0.0, CLOCK) == [Outcome.FULL]
    for second in range(1, 7):
        pair.now = float(second)
        pair.echo()
    assert pair.hearer.expire(pair.now) == ["hub-1"]
    header = framing.encode(other.header(NOW))
    assert pair.hearer.hear(header, pair.now, CLOCK) == [Outcome.TAKEN], "a dead hub makes room"
    assert pair.hearer.size == 0


def test_a_list_in_batches_and_what_comes_and_goes_between_two_is_never_told() -> None:
    claims = Claims("hub-1", "", 1, SEAL.sign)
    for number in range(BATCH + 1):
        claims.join(place(number), 5, b"")
    claims.join(place(999), 5, b"")
    claims.leave(place(999))
    found = [(len(claims.next_batch(NOW).sets), claims.is_pending) for _ in range(2)]
    assert found == [(BATCH + 1, True), (2, False)]
    assert len(claims) == BATCH + 1
    assert claims.sequence == BATCH + 1
    third = claims.next_batch(NOW)
    assert [name for name, _ in third.sets] == [HEADER], "only that the hub lives"


def test_a_later_epoch_tells_all_hosts_anew() -> None:
    pair = Pair()
    pair.tell()
    for number in (1, 2, 3):
        pair.teller.join(place(number), 5, b"")
    pair.tell()
    pair.teller.leave(place(2))
    pair.teller.restart(1005)
    pair.server.write_whole(pair.teller, NOW)
    pair.hear()
    assert pair.at(1) == []
    assert set(pair.tell()) == {Outcome.TAKEN}
    assert (pair.at(1), pair.at(2), pair.at(3)) == (["hub-1"], [], ["hub-1"])


CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40)


@given(CHANGES, st.lists(st.booleans(), min_size=40, max_size=40))
def test_whatever_is_lost_a_list_that_was_read_is_right(
    changes: list[tuple[bool, int]], heard: list[bool]
) -> None:
    pair, here = Pair(), set()
    for (joins, number), is_heard in zip(changes, heard, strict=False):
        if joins:
            pair.teller.join(place(number), 5, b"")
            here.add(number)
        else:
            pair.teller.leave(place(number))
            here.discard(number)
        pair.server.write(pair.teller, NOW)
        if not is_heard:
            pair.server.published.clear()
        pair.hear()
    pair.tell()
    for name in pair.hearer.wanted():
        assert pair.server.read(pair.hearer, name)
    assert {number for number in range(6) if pair.at(number)} == here
    assert pair.hearer.size == len(here)
    assert len(pair.teller) == len(here)


def test_hosts_that_had_no_room_are_known_once_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told of them again: the list is read."""
    monkeypatch.setattr("lib.cluster_places.MAX_CLAIMS", 20)
    pair = Pair()
    pair.tell()
    for number in range(22):
        pair.teller.join(place(number), 5, b"")
    assert pair.tell().count(Outcome.FULL) == 2
    assert pair.hearer.wanted() == [], "it would be read for nothing"
    for number in range(10):
        pair.teller.leave(place(number))
    pair.tell()
    assert pair.hearer.wanted() == ["hub-1"]
    assert pair.server.read(pair.hearer, "hub-1")
    assert pair.hearer.wanted() == []
    assert [number for number in range(22) if pair.at(number)] == list(range(10, 22))
    for number in range(30, 45):
        pair.teller.join(place(number), 5, b"")
    pair.tell()
    other = Pair()
    other.server, other.teller = pair.server, pair.teller
    other.tell()
    assert other.server.read(other.hearer, "hub-1")
    assert (other.hearer.size, other.hearer.hubs["hub-1"].is_cut) == (20, True), (
        "as many as there is room for"
    )


def test_a_long_list_goes_from_sight_at_once_and_is_cleared_away_in_pieces() -> None:
    pair, many = Pair(), 1000
    for number in range(many):
        pair.teller.join(place(number), 5, b"")
    pair.tell()
    assert (pair.hearer.size, clear(pair.hearer)) == (many, {place(number) for number in range(many)})
    again = pair.teller = Claims("hub-1", "192.0.2.1:8444", 1001, SEAL.sign)
    again.join(place(7), 6, b"")
    pair.tell()
    assert (pair.at(7), pair.at(8), pair.hearer.size) == (["hub-1"], [], 1)
    places = pair.hearer.places
    places.tidy()
    assert len(places.take_changed()) <= cluster_places.PIECE
    assert places.is_busy
    assert place(8) in clear(pair.hearer)
    assert set(places._names) == {place(7)}, "nothing is left of what has gone"
    assert pair.at(7) == ["hub-1"]


class Work:
    """How often places are hashed and freed: what long lists of them cost."""

    done = 0

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        work = self

        class Counted(tuple[bytes, str]):
            __slots__ = ()

            def __hash__(self) -> int:
                work.done += 1
                return tuple.__hash__(self)

            def __del__(self) -> None:
                work.done += 1

        made = property(lambda message: Counted((message.namespace, message.host)))
        patch.setattr(cluster_wire.Message, "place", made)

    def step(self, do: Callable[[], object]) -> object:
        """Do something that has to be one short step, however long a hub's list is."""
        before = self.done
        found = do()
        assert self.done - before <= 10 * cluster_places.PIECE, do
        return found


def test_no_step_takes_a_whole_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that ends, a hub that is back, has ended or begins anew: right at once, the rest in pieces."""
    pair, work, many = Pair(), Work(monkeypatch), 20 * cluster_places.PIECE
    for number in range(many):
        pair.teller.join(place(number), 5, b"i" * 16)
    pair.tell()
    registry, places = pair.hearer, pair.hearer.places

    def deal() -> set[Place]:
        found: set[Place] = set()
        while places.is_busy:
            work.step(places.tidy)
            some = work.step(places.take_changed)
            assert isinstance(some, list)
            assert len(some) <= cluster_places.PIECE
            found.update(some)
        return found

    every = {place(number) for number in range(many)}
    assert deal() == every
    pair.now += LEASE_SECONDS + 1
    pair.hearer.echoed_at = pair.now
    assert work.step(lambda: registry.expire(pair.now)) == ["hub-1"]
    assert pair.at(1) == [], "gone at once"
    assert deal() == every, "and whoever knew it is told"
    pair.server.write(pair.teller, NOW)
    work.step(pair.hear)
    assert pair.at(1) == ["hub-1"], "back at once"
    for _ in range(3):  # while nobody has looked yet what is different
        work.step(lambda: registry.places.note_all(registry.hubs["hub-1"]))
    assert deal() == every
    work.step(lambda: pair.teller.restart(1005))
    work.step(lambda: pair.server.write_whole(pair.teller, NOW))
    work.step(pair.hear)
    assert (pair.at(1), registry.size, len(pair.teller)) == ([], 0, 0), "a new list, and still an empty one"
    batches = 0
    while pair.teller.is_pending:
        work.step(lambda: pair.teller.next_batch(NOW))
        batches += 1
    assert (batches, len(pair.teller)) == (many // BATCH + bool(many % BATCH), many)
    pair.server.write_whole(pair.teller, NOW)
    pair.hear()
    fields = dict(pair.server.lists["hub-1"])
    snapshot = registry.begin("hub-1", fields.pop(HEADER))
    assert snapshot is not None
    for entry in fields.values():
        snapshot.add(entry)
    assert work.step(lambda: registry.use(snapshot))
    assert (pair.at(1), registry.size) == (["hub-1"], many)
    assert deal() == every
    work.step(lambda: registry.hear(framing.encode(pair.teller.bye(NOW)), pair.now, CLOCK))
    assert (pair.at(1), registry.size) == ([], 0)
    assert deal() == every


def test_hosts_are_nothing_for_the_collector() -> None:
    """200,000 of them would stop the process for 20 ms at each of its full passes."""
    pair = Pair()
    pair.tell()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(2000):
        pair.teller.join(place(number), 5, b"i" * 16)
    pair.tell()
    clear(pair.hearer)
    gc.collect()
    assert (len(pair.teller), pair.hearer.size) == (2000, 2000)
    assert len(gc.get_objects()) - before < 200


def test_a_host_that_leaves_while_an_epoch_begins_is_told_of_to_nobody() -> None:
    pair = Pair()
    for number in range(2 * BATCH):
        pair.teller.join(place(number), 5, b"")
    pair.tell()
    pair.teller.leave(place(0))  # before
    pair.teller.restart(1005)
    pair.teller.leave(place(1))  # after it
    pair.server.write_whole(pair.teller, NOW)
    pair.hear()
    assert (len(pair.teller), dict(pair.teller.whole())) == (0, {})
    batch = pair.teller.next_batch(NOW)
    pair.teller.leave(place(2))  # it has been told, or it is still to be told
    pair.teller.leave(place(2 * BATCH - 1))
    pair.teller.restart(1010)
    assert not pair.teller.is_in_list(*batch.sets[5]), "that is over"
    while pair.teller.is_pending:
        batch = pair.teller.next_batch(NOW)
        assert batch.deletes == [], "nobody has been told that they were here"
        pair.server.lists["hub-1"] |= dict(batch.sets)
        pair.server.published.append(batch.published)
    assert set(pair.hear()) == {Outcome.TAKEN}
    assert len(pair.teller) == pair.hearer.size == 2 * BATCH - 4
    assert [pair.at(number) for number in (0, 1, 2, 3, 2 * BATCH - 1)] == [[], [], [], ["hub-1"], []]
    assert pair.teller.is_in_list(*batch.sets[0])


def test_a_list_that_is_read_while_an_older_one_is_cleared_away_is_whole() -> None:
    pair = Pair()
    for number in range(50):
        pair.teller.join(place(number), 5, b"")
    pair.tell()
    pair.teller.restart(1001)
    pair.server.write_whole(pair.teller, NOW)
    pair.hear()
    pair.server.write(pair.teller, NOW)
    pair.server.published.clear()
    assert pair.tell() == [Outcome.GAP]
    fields = dict(pair.server.lists["hub-1"])
    snapshot = pair.hearer.begin("hub-1", fields.pop(HEADER))
    assert snapshot is not None
    for entry in fields.values():
        snapshot.add(entry)
        pair.hearer.places.tidy(2)
    assert pair.at(3) == []
    assert pair.hearer.use(snapshot)
    clear(pair.hearer)
    assert all(pair.at(number) == ["hub-1"] for number in range(50))


def test_a_list_that_was_begun_and_is_of_no_use_leaves_nothing_behind() -> None:
    pair = Pair()
    pair.teller.join(place(1), 5, b"")
    pair.tell()
    clear(pair.hearer)
    pair.teller.join(place(2), 5, b"")
    pair.server.write(pair.teller, NOW)
    pair.server.published.clear()
    pair.tell()
    pair.server.lists["hub-1"][b"another field"] = b"nonsense"
    assert not pair.server.read(pair.hearer, "hub-1")
    clear(pair.hearer)
    assert (pair.at(1), pair.at(2)) == (["hub-1"], [])
    assert set(pair.hearer.places._names) == {place(1)}


# --- clocks ---------------------------------------------------------------------------------------------


class Clocked(Pair):
    """Both clocks of both hubs run; each wall clock may be wrong by some milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong = {"teller": 0, "hearer": 0}

    def tell(self) -> list[Outcome]:
        wall = CLOCK + int(self.now * 1000)
        self.server.write(self.teller, Clocks(wall + self.wrong["teller"], int(self.now * 1000) + 77))
        return [
            one
            for data in self.server.take()
            for one in self.hearer.hear(data, self.now, wall + self.wrong["hearer"])
        ]


HOUR = 3_600_000


@pytest.mark.parametrize("whose", ["teller", "hearer"])
@pytest.mark.parametrize("wrong", [HOUR, -HOUR])
def test_a_clock_that_is_set_while_hubs_run_ends_nothing(whose: str, wrong: int) -> None:
    pair = Clocked()
    assert pair.tell() == [Outcome.TAKEN]
    for second in range(1, 20):
        pair.now = float(second)
        pair.wrong[whose] = wrong if 5 <= second < 15 else 0  # and later it is mended
        pair.teller.join(place(second), 5, b"")
        assert pair.tell() == [Outcome.TAKEN, Outcome.TAKEN], second
    assert pair.at(19) == ["hub-1"]


@pytest.mark.parametrize("whose", ["teller", "hearer"])
def test_a_clock_that_was_wrong_from_the_beginning_and_is_mended(whose: str) -> None:
    pair = Clocked()
    pair.wrong[whose] = HOUR
    pair.teller.epoch += HOUR if whose == "teller" else 0
    assert pair.tell() == [Outcome.SKEW]
    pair.wrong[whose] = 0
    pair.now = 1.0
    assert pair.tell() == [Outcome.TAKEN]


def test_news_that_were_kept_back_are_not_believed_whatever_the_clocks_say() -> None:
    pair = Clocked()
    pair.tell()
    pair.server.write(pair.teller, Clocks(CLOCK, 77))
    (kept,) = pair.server.take()
    late = MAX_SKEW_MS / 1000 + 1
    assert pair.hearer.hear(kept, late, CLOCK + int(late * 1000)) == [Outcome.SKEW]
    assert pair.hearer.hear(kept, late - 2, CLOCK - HOUR) == [Outcome.TAKEN], "our clock was set meanwhile"


def test_a_hub_whose_epochs_go_back_is_believed_once_its_last_run_is_over() -> None:
    """Its clock was minutes ahead at its last start, and nothing is left of that in Redis."""
    pair = Clocked()
    pair.teller = Claims("hub-1", "192.0.2.1:8444", 9000, SEAL.sign)
    pair.wrong["teller"] = 200_000
    pair.tell()
    pair.server.write(pair.teller, Clocks(CLOCK + 200_000, 77))
    (replayed,) = pair.server.take()
    pair.teller = Claims("hub-1", "192.0.2.1:8444", 8000, SEAL.sign)
    pair.wrong["teller"] = 0
    assert pair.tell() == [Outcome.OLD], "the last run may be there still"
    pair.hearer.echoed_at = pair.now = LEASE_SECONDS + 1
    pair.hearer.expire(pair.now)
    assert pair.tell() == [Outcome.OLD], "it may be a message of an earlier run"
    pair.now = 201.0
    assert pair.tell() == [Outcome.TAKEN]
    pair.hearer.hubs["hub-1"].live = False
    assert pair.hearer.hear(replayed, pair.now, CLOCK + 201_000) == [Outcome.TAKEN]


# --- trust ----------------------------------------------------------------------------------------------


class Granting(SharedSeal):
    """Hubs have a secret, but may claim one namespace alone."""

    def check(self, name: str, data: bytes, signature: bytes) -> Proof:
        if name == "hub-9":
            return Proof.STRANGER
        return Proof.UNREAD if name == "hub-8" else super().check(name, data, signature)

    def grants(self, name: str, namespace: bytes) -> bool:
        return namespace == NAMESPACE


def test_a_hub_is_believed_for_the_namespaces_that_it_is_granted() -> None:
    pair = Pair()
    pair.hearer = Registry("hub-2", 2000, Granting(b"k" * 32, "key"))
    pair.tell()
    other = place(1, b"M" * 16)
    pair.teller.join(place(1), 5, b"")
    pair.teller.join(other, 5, b"")
    assert pair.tell() == [Outcome.TAKEN, Outcome.UNTRUSTED, Outcome.TAKEN]
    assert (pair.at(1), pair.hearer.where(other), pair.hearer.size) == (["hub-1"], [], 1)
    pair.teller.join(place(2), 5, b"")
    pair.server.write(pair.teller, NOW)
    pair.server.published.clear()
    pair.tell()
    assert pair.server.read(pair.hearer, "hub-1"), "its list is whole, with what is not believed"
    assert (pair.at(2), pair.hearer.where(other), pair.hearer.size) == (["hub-1"], [], 2)
    pair.teller.leave(other)
    assert pair.tell() == [Outcome.TAKEN, Outcome.TAKEN]
    assert pair.hearer.wanted() == []


@pytest.mark.parametrize(("name", "outcome"), [("hub-9", Outcome.STRANGER), ("hub-8", Outcome.UNREAD)])
def test_who_is_not_trusted_or_not_known_yet_is_not_believed(name: str, outcome: Outcome) -> None:
    registry, server = Registry("hub-2", 2000, Granting(b"k" * 32, "key")), Server()
    server.write(Claims(name, "192.0.2.1:1", 1, SEAL.sign), NOW)
    assert [registry.hear(data, 0.0, CLOCK) for data in server.take()] == [[outcome]]
    assert registry.hubs == {}
    assert list(registry.unread) == ["hub-8"] * (name == "hub-8")


# --- a simulation of several hubs -----------------------------------------------------------------------


class Hub:
    """A hub of the simulation: what it says, what it has heard, and when it does something next."""

    def __init__(self, name: str, now: float, epoch: int) -> None:
        self.name = name
        self.claims = Claims(name, f"{name}:8444", epoch, SEAL.sign)
        self.registry = Registry(name, epoch, SEAL)
        self.renew_at = now
        self.read_at = now
        self.hosts: set[int] = set()


class World:
    """Hubs, a server, and a transport that loses, repeats, delays and mixes up what is published."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = Server()
        self.now = 0.0
        self.epochs = 1000
        self.hubs = {f"hub-{number}": self.born(f"hub-{number}") for number in range(4)}
        self.on_way: list[tuple[float, str, bytes]] = []
        self.loss = self.twice = 0.0
        self.died: dict[str, float] = {}
        self.away_until = 0.0

    def born(self, name: str) -> Hub:
        self.epochs += 1
        made = Hub(name, self.now, self.epochs)
        self.server.write_whole(made.claims, self.clocks)  # whatever its run before has left there
        return made

    @property
    def clocks(self) -> Clocks:
        return Clocks(CLOCK + int(self.now * 1000), int(self.now * 1000))

    def publish(self) -> None:
        for data in list(self.server.published):
            for name in self.hubs:
                for _ in range(1 + (self.random.random() < self.twice)):
                    if self.random.random() >= self.loss:
                        delay = self.random.random() * (0.5 if self.loss else 0.01)
                        self.on_way.append((self.now + delay, name, data))
        self.server.published.clear()

    def step(self, seconds: float = 0.05) -> None:
        self.now += seconds
        due = sorted(one for one in self.on_way if one[0] <= self.now)
        self.on_way = [one for one in self.on_way if one[0] > self.now]
        if self.loss:
            self.random.shuffle(due)
        for _, name, data in due:
            if name in self.hubs:
                self.hubs[name].registry.hear(data, self.now, self.clocks.wall)
        for hub in self.hubs.values():
            hub.registry.places.tidy(3)
            hub.registry.expire(self.now)
            if self.now < self.away_until:
                continue
            if hub.claims.is_pending or self.now >= hub.renew_at:
                self.server.write(hub.claims, self.clocks)
                hub.renew_at = self.now + RENEW_SECONDS * self.random.uniform(0.9, 1.1)
            if self.now >= hub.read_at:
                hub.read_at = self.now + 0.5
                for name in hub.registry.wanted():
                    self.server.read(hub.registry, name)
        self.publish()

    def move(self) -> None:
        """A host comes, goes or moves; now and then a hub dies, is born again, or the server loses all."""
        number, name = self.random.randrange(12), self.random.choice(list(self.hubs))
        for hub in self.hubs.values():
            if number in hub.hosts and (hub.name != name or self.random.random() < 0.3):
                hub.hosts.discard(number)
                hub.claims.leave(place(number))
        if self.random.random() < 0.8:
            self.hubs[name].hosts.add(number)
            self.hubs[name].claims.join(place(number), self.clocks.wall, b"")
        chance = self.random.random()
        if chance < 0.02 and len(self.hubs) > 2:
            del self.hubs[name]
            self.died[name] = self.now
        elif chance < 0.04 and self.died:
            name = self.random.choice(list(self.died))
            del self.died[name]
            self.hubs[name] = self.born(name)
        elif chance < 0.05:
            self.away_until = self.now + self.random.random() * 8
        elif chance < 0.06:
            self.server.lists.clear()
            for hub in self.hubs.values():
                self.server.write_whole(hub.claims, self.clocks)

    def check_always(self, ever: set[tuple[str, int]]) -> None:
        """Nobody is believed to have what it never had, nor is a dead hub after its lease."""
        for hub in self.hubs.values():
            is_deaf = self.now - hub.registry.echoed_at > LEASE_SECONDS / 2
            for number in range(12):
                for other in hub.registry.where(place(number)):
                    assert (other.name, number) in ever, "a foreign claim"
                    died = self.died.get(other.name)
                    longest = LEASE_SECONDS + 1.5 + max(0.0, self.away_until - (died or 0.0)) + LEASE_SECONDS
                    assert died is None or is_deaf or self.now - died < longest, f"{other.name} is dead"

    def check_right(self) -> None:
        for hub in self.hubs.values():
            for number in range(12):
                found = {other.name for other in hub.registry.where(place(number))}
                assert found == {
                    other.name for other in self.hubs.values() if number in other.hosts and other is not hub
                }


@pytest.mark.parametrize("seed", range(12))
def test_hubs_agree_once_the_transport_is_good_again(seed: int) -> None:
    world = World(seed)
    ever: set[tuple[str, int]] = set()
    for round_number in range(6):
        world.loss, world.twice = (0.3, 0.2) if round_number % 2 == 0 else (0.0, 0.0)
        for _ in range(100):
            if world.random.random() < 0.3:
                world.move()
            ever |= {(hub.name, number) for hub in world.hubs.values() for number in hub.hosts}
            world.step()
            world.check_always(ever)
        world.loss = world.twice = 0.0
        world.away_until = 0.0
        for _ in range(int((2 * LEASE_SECONDS + 3) / 0.1)):
            world.step(0.1)
        world.check_right()
