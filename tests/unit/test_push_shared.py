"""The list of a shared pool: no two hosts have one address, whatever the hubs knew, and nothing known is lost."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import push_shared
from lib.addresses import packed_prefix
from lib.push_pool import Key, Pool
from lib.push_shared import Lease, SharedList, Wishes

LIFE, NEW = "a" * 16, "b" * 16


def packed(last: int) -> bytes:
    return ip_address(f"10.20.0.{last}").packed


def listed(number: int, life: str = LIFE, settled: bool = True, **hosts: int) -> SharedList:
    """A list in which each host has 10.20.0.NUMBER, and was seen in the order in which they stand here."""
    leases = {(host, 4): Lease(packed(last), place) for place, (host, last) in enumerate(hosts.items())}
    return SharedList(number, life, settled, {}, leases)


def hosts_of(shared: SharedList) -> dict[str, int]:
    return {host: lease.address[-1] for (host, _), lease in shared.leases.items()}


@pytest.mark.parametrize(
    ("found", "mine", "number", "life", "is_settled", "hosts"),
    [
        pytest.param(listed(3, a=1), listed(2, a=1, b=2), 3, LIFE, True, {"a": 1}, id="it has gone on"),
        pytest.param(listed(3, a=1), listed(3, a=1), 3, LIFE, True, {"a": 1}, id="nothing has changed"),
        pytest.param(None, listed(3, a=1), 4, NEW, False, {"a": 1}, id="Redis was emptied"),
        pytest.param(None, SharedList(), 1, NEW, False, {}, id="there was none yet"),
        pytest.param(
            listed(2, a=1, c=2), listed(3, a=1, b=2), 4, NEW, False, {"a": 1, "b": 2}, id="an old one is back"
        ),
        pytest.param(
            listed(3, a=1, c=2, d=4),
            listed(3, a=1, b=2),
            4,
            NEW,
            False,
            {"a": 1, "c": 2, "d": 4},
            id="an old one has gone on without us",
        ),
        pytest.param(
            listed(9, NEW, False, a=1, c=2),
            listed(3, a=7, b=2, d=4),
            10,
            NEW,
            False,
            {"a": 1, "c": 2, "d": 4},
            id="another hub has begun a new life",
        ),
        pytest.param(
            listed(2, NEW, a=1), listed(7, a=1), 8, NEW, True, {"a": 1}, id="its number grows, come what may"
        ),
        pytest.param(
            listed(5, a=1), listed(0, "", b=2), 6, LIFE, True, {"a": 1, "b": 2}, id="a hub that stood alone"
        ),
    ],
)
def test_how_a_list_goes_on(
    found: SharedList | None,
    mine: SharedList,
    number: int,
    life: str,
    is_settled: bool,
    hosts: dict[str, int],
) -> None:
    made = push_shared.caught_up(found, mine, NEW)
    assert (made.number, made.life, made.settled, hosts_of(made)) == (number, life, is_settled, hosts)


def wishes(*wanted: str, hub: str = "hub-1", own: tuple[int, ...] = (), **more: object) -> Wishes:
    return Wishes(hub, tuple(map(packed, own)), [(host, 4) for host in wanted], (), **more)  # type: ignore[arg-type]


def nobody(key: Key, lease: Lease) -> bool:
    return False


def everybody(key: Key, lease: Lease) -> bool:
    return True


def settle(
    base: SharedList,
    wanted: Wishes,
    is_kept: Callable[[Key, Lease], bool] = everybody,
    length: int = 29,
    taken: tuple[int, ...] = (),
) -> SharedList:
    others = set(map(packed, taken))
    pool = Pool([packed_prefix(f"10.20.0.0/{length}")], lambda address: address not in others)
    return push_shared.settled(base, push_shared.in_order(base), wanted, pool, is_kept)


FULL = listed(9, a=1, b=2, c=3, d=4, e=5, f=6)


def test_a_new_host_gets_an_address_and_keeps_it() -> None:
    first = settle(listed(1), wishes("a"))
    assert (first.number, set(hosts_of(first))) == (2, {"a"})
    again = settle(first, wishes("a", hub="hub-2"))
    assert hosts_of(again) == hosts_of(first)
    assert again.leases["a", 4].seen == 3, "it is noted that it was seen"
    assert settle(again, wishes()) is again, "nothing is wanted"


def test_a_full_pool_gives_what_was_not_used_for_longest() -> None:
    new = settle(FULL, wishes("g"), lambda key, lease: key[0] == "a")
    assert hosts_of(new) == {"a": 1, "g": 2, "c": 3, "d": 4, "e": 5, "f": 6}
    assert settle(FULL, wishes("g"), everybody) is FULL, "everybody keeps his"


def test_of_two_new_hosts_one_does_not_take_the_other_s() -> None:
    new = settle(FULL, wishes("g", "h"), lambda key, lease: key[0] != "a")
    assert hosts_of(new) == {"g": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}


def test_before_it_is_settled_nobody_gets_a_new_address() -> None:
    base = listed(1, settled=False, a=3)
    new = settle(base, wishes("a", "b"))
    assert (hosts_of(new), new.settled) == ({"a": 3}, False)
    new = settle(base, wishes("a", "b", may_settle=True))
    assert (set(hosts_of(new)), new.settled) == ({"a", "b"}, True)


def test_addresses_of_other_hubs_are_no_host_s() -> None:
    first = settle(listed(1, a=2, b=3), wishes(own=(3,)))
    assert (hosts_of(first), first.hubs) == ({"a": 2}, {"hub-1": (packed(3),)})
    second = settle(first, wishes("b", "c", "d", "e", "f", hub="hub-2", own=(1,)))
    assert sorted(hosts_of(second).values()) == [2, 4, 5, 6], "neither 1 nor 3"
    moved = settle(second, wishes("g", hub="hub-1", own=(4,)), nobody)
    assert moved.hubs == {"hub-2": (packed(1),), "hub-1": (packed(4),)}


def test_an_address_that_cannot_be_used_here_is_exchanged_when_its_host_is_here() -> None:
    base = listed(1, a=3, b=200)
    assert settle(base, wishes("c"), taken=(3,)).leases["a", 4] == base.leases["a", 4]
    new = settle(base, wishes("a", "b"), taken=(3,))
    assert not {3, 200} & set(hosts_of(new).values())


def test_leases_of_another_pool_go_when_their_room_is_wanted() -> None:
    base = listed(9, old=200, a=1, b=2, c=3, d=4, e=5, f=6)
    assert set(hosts_of(settle(base, wishes("g"), nobody))) == {"g", "b", "c", "d", "e", "f"}


KEY = b"k" * 32


def sign(body: bytes) -> bytes:
    return hmac.digest(KEY, body, hashlib.sha256)


def is_signed(body: bytes, signature: bytes) -> bool:
    return hmac.compare_digest(sign(body), signature)


leases_made = st.dictionaries(
    st.tuples(st.text(max_size=6), st.just(4)), st.tuples(st.integers(1, 14), st.integers(0, 9)), max_size=8
)


@st.composite
def lists(draw: st.DrawFn) -> SharedList:
    """Any list that a hub may have known or found."""
    made = {key: Lease(packed(last), seen) for key, (last, seen) in draw(leases_made).items()}
    unique = {lease.address: key for key, lease in made.items()}
    leases = {key: made[key] for key in made if unique[made[key].address] == key}
    number, life = draw(st.integers(0, 9)), draw(st.sampled_from(["", LIFE, NEW]))
    hubs = draw(st.dictionaries(st.sampled_from(["hub-1", "hub-2"]), st.just((packed(15),))))
    return SharedList(number, life, draw(st.booleans()), hubs, leases)


@given(lists())
def test_a_text_is_read_as_it_was_written(shared: SharedList) -> None:
    assert push_shared.parse(push_shared.dump(shared, sign), is_signed) == shared


@given(st.lists(lists(), min_size=1, max_size=4), st.none() | lists())
def test_hubs_that_knew_different_things_agree(known: list[SharedList], found: SharedList | None) -> None:
    """Each takes its turn, twice; then all know one list, in which every lease was somebody's."""
    there, number = found, found.number if found is not None else 0
    for turn in range(2 * len(known)):
        mine = known[turn % len(known)]
        made = push_shared.caught_up(there, mine, f"{turn:016x}")
        assert made.number >= max(number, mine.number), "it only grows"
        addresses = [lease.address for lease in made.leases.values()]
        assert len(addresses) == len(set(addresses))
        sources = [mine, *([there] if there is not None else [])]
        for key, lease in made.leases.items():
            assert any(one.leases.get(key, lease)[0] == lease.address for one in sources if key in one.leases)
        for one in sources:
            taken = set(addresses)
            lost = [
                key for key in one.leases.keys() - made.leases.keys() if one.leases[key].address not in taken
            ]
            assert not lost or (one.life == made.life and one.number < made.number)
        there = known[turn % len(known)] = made
        number = made.number
    assert there is not None
    for one in known:
        assert push_shared.caught_up(there, one, "c" * 16).leases == there.leases


@given(
    lists(),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.just(4)), max_size=6),
    st.sets(st.sampled_from("abcdefgh")),
    st.booleans(),
)
def test_whatever_is_wanted_no_two_hosts_have_one_address(
    base: SharedList, wanted: list[Key], kept: set[str], may_settle: bool
) -> None:
    pool = Pool([packed_prefix("10.20.0.0/28")])
    wanted_here = Wishes("hub-1", (packed(2),), wanted, (), may_settle)
    made = push_shared.settled(
        base, push_shared.in_order(base), wanted_here, pool, lambda key, lease: key[0] in kept
    )
    addresses = [lease.address for lease in made.leases.values()]
    reserved = {own for hub, all_own in made.hubs.items() for own in all_own}
    assert len(addresses) == len(set(addresses))
    assert not reserved & set(addresses)
    for key, lease in base.leases.items():
        if key[0] in kept and lease.address not in reserved and key not in wanted:
            assert made.leases[key].address == lease.address


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: b"", "not signed"),
        (lambda text: text.replace(b"10.20.0.1", b"10.20.0.2"), "not signed"),
        (lambda text: text[65:], "not signed"),
        (lambda text: b"\xff" + text, "not signed"),
        (lambda text: b"x" * (push_shared.MAX_BYTES + 1), "too long"),
    ],
)
def test_a_text_that_nobody_has_signed_is_none(change: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        push_shared.parse(change(push_shared.dump(listed(1, a=1), sign)), is_signed)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"number": 1, "life": "", "settled": true, "hubs": {}}\n[1]',
        b'{"number": 1, "life": "", "settled": true, "hubs": {}}\n["x", "a", 1]',
        b'{"number": 1, "life": "", "settled": true, "hubs": []}',
        b'{"number": 1, "life": "", "settled": true, "hubs": {}}\n["10.0.0.1", "a", 1]\n["10.0.0.1", "b", 1]',
        b'{"number": 1, "life": "", "settled": true, "hubs": {}}\n["10.0.0.1", "a", 1]\n["10.0.0.2", "a", 1]',
        b"[" * 100_000,
    ],
)
def test_a_signed_text_that_is_no_list_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="list"):
        push_shared.parse(sign(body).hex().encode() + b"\n" + body, is_signed)


def test_what_a_file_kept_is_older_than_the_list_that_it_was() -> None:
    kept = push_shared.remembered([("a", packed(1)), ("b", packed(2))], 9, LIFE)
    now = listed(9, a=1, b=2)
    assert push_shared.caught_up(now, kept, NEW) is now
    assert push_shared.caught_up(listed(7, a=1), kept, NEW).life == NEW, "the list is an old one"
