"""Trie against a naive list: both families, every operation, with and without nodes."""

from __future__ import annotations

import gc
import random
from collections.abc import Generator
from typing import Any

import pytest

import lib.route_trie
from lib.route_trie import Trie

SIZES = [pytest.param(4, id="IPv4"), pytest.param(16, id="IPv6")]


@pytest.fixture(params=[pytest.param(0, id="nodes"), pytest.param(1024, id="record")])
def structure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test on a trie with nodes from the first prefix on, and on one that has none yet."""
    monkeypatch.setattr(lib.route_trie, "SMALL", request.param)


class Naive:
    """What a trie is measured by: a dict of prefixes, every question a walk through all of them."""

    def __init__(self, size: int) -> None:
        self.bits = 8 * size
        self.held: dict[tuple[bytes, int], Any] = {}

    def matches(self, address: bytes) -> list[tuple[int, Any]]:
        found = [(n, value) for (prefix, n), value in self.held.items() if self.covers(prefix, n, address)]
        return sorted(found, key=lambda match: -match[0])

    def covers(self, prefix: bytes, length: int, address: bytes) -> bool:
        shift = self.bits - length
        return int.from_bytes(prefix, "big") >> shift == int.from_bytes(address, "big") >> shift

    def items(self) -> list[tuple[bytes, int, Any]]:
        return [
            (prefix, length, value)
            for (prefix, length), value in sorted(self.held.items(), key=lambda i: i[0])
        ]


def v4(text: str) -> tuple[bytes, int]:
    address, _, length = text.partition("/")
    return bytes(map(int, address.split("."))), int(length or 32)


def pack(number: int, length: int, size: int) -> bytes:
    """The lowest `length` bits of a number as a prefix."""
    return ((number & (1 << length) - 1) << (8 * size - length)).to_bytes(size, "big")


def random_prefix(rng: random.Random, size: int) -> tuple[bytes, int]:
    """Of few enough bits that prefixes meet, nest, and cross the borders of the nodes."""
    length = rng.choice([0, 1, 7, 8, 9, 12, 15, 16, 17, 20, 23, 24, 25, 28, 8 * size - 1, 8 * size])
    octets = bytes(rng.choice((0, 10, 255)) for _ in range(size))
    return pack(int.from_bytes(octets, "big") >> (8 * size - length), length, size), length


def random_address(rng: random.Random, size: int) -> bytes:
    return bytes(rng.choice((0, 1, 10, 128, 255)) for _ in range(size))


def fresh(size: int) -> tuple[Trie[int], Naive]:
    return Trie(size), Naive(size)


# --- random operations


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("small", [0, 40, 1024])
@pytest.mark.parametrize("seed", range(6))
def test_random_operations(size: int, small: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inserts, replacements and deletions in waves, so that nodes come and go; then down to nothing."""
    monkeypatch.setattr(lib.route_trie, "SMALL", small)
    rng = random.Random(f"{size} {seed}")
    trie, naive = fresh(size)
    for step in range(1500):
        growing = step // 250 % 2 == 0
        if rng.random() < (0.8 if growing else 0.25) or not naive.held:
            prefix, length = random_prefix(rng, size)
            value = rng.randrange(3)
            assert trie.insert(prefix, length, value) == naive.held.get((prefix, length))
            naive.held[prefix, length] = value
        else:
            prefix, length = rng.choice(list(naive.held))
            assert trie.delete(prefix, length) == naive.held.pop((prefix, length))
        check_some(trie, naive, rng, size, (prefix, length))
    assert list(trie) == naive.items()
    for prefix, length in rng.sample(list(naive.held), len(naive.held)):
        assert trie.delete(prefix, length) == naive.held.pop((prefix, length))
        check_some(trie, naive, rng, size, (prefix, length))
    assert list(trie) == []


def check_some(
    trie: Trie[int], naive: Naive, rng: random.Random, size: int, touched: tuple[bytes, int]
) -> None:
    prefix, length = touched
    assert len(trie) == len(naive.held)
    assert trie.get(prefix, length) == naive.held.get((prefix, length))
    rest = 8 * size - length
    last = (int.from_bytes(prefix, "big") | (1 << rest) - 1).to_bytes(size, "big")
    for address in (prefix, last, random_address(rng, size)):
        expected = naive.matches(address)
        assert trie.matches(address) == expected
        assert trie.lookup(address) == (expected[0][1] if expected else None)


@pytest.mark.parametrize("size", SIZES)
def test_every_address_of_a_crowded_node(size: int) -> None:
    """All 256 slots of one node of each level, after random inserts and again after half are deleted."""
    rng = random.Random(size)
    for level in range(3):
        trie, naive = fresh(size)
        lead = bytes([10, 20])[:level]
        for n in range(lib.route_trie.SMALL + 200):  # enough for nodes: the rest is far away
            far = bytes([200, n >> 8, n & 255])
            trie.insert(far.ljust(size, b"\0"), 24, -1)
            naive.held[far.ljust(size, b"\0"), 24] = -1
        for value in range(120):
            length = rng.randrange(8 * level + (level > 0), 8 * level + 9)
            number = int.from_bytes(lead + bytes([rng.randrange(128)]), "big") >> (8 * level + 8 - length)
            prefix = pack(number, length, size)
            trie.insert(prefix, length, value)
            naive.held[prefix, length] = value
        addresses = [(lead + bytes([n])).ljust(size, b"\x01") for n in range(256)]
        check_all(trie, naive, addresses)
        for prefix, length in rng.sample([key for key in naive.held if naive.held[key] >= 0], 40):
            del naive.held[prefix, length]
            trie.delete(prefix, length)
        check_all(trie, naive, addresses)


def check_all(trie: Trie[int], naive: Naive, addresses: list[bytes]) -> None:
    for address in addresses:
        expected = naive.matches(address)
        assert trie.lookup(address) == (expected[0][1] if expected else None), address.hex()


# --- edges


@pytest.mark.usefixtures("structure")
@pytest.mark.parametrize("size", SIZES)
def test_the_empty_prefix_holds_every_address(size: int) -> None:
    trie: Trie[str] = Trie(size)
    assert trie.lookup(bytes(size)) is None
    assert trie.insert(bytes(size), 0, "all") is None
    assert trie.lookup(bytes(size)) == trie.lookup(b"\xff" * size) == "all"
    assert trie.delete(bytes(size), 0) == "all"
    assert trie.lookup(b"\xff" * size) is None


@pytest.mark.usefixtures("structure")
@pytest.mark.parametrize("size", SIZES)
def test_a_full_prefix_holds_one_address(size: int) -> None:
    trie: Trie[str] = Trie(size)
    address = b"\x0a" * size
    trie.insert(address, 8 * size, "one")
    assert trie.lookup(address) == "one"
    assert trie.lookup(address[:-1] + b"\x0b") is None


CHAIN = (
    "0.0.0.0/0",
    "10.0.0.0/7",
    "10.0.0.0/8",
    "10.20.0.0/15",
    "10.20.0.0/16",
    "10.20.30.0/23",
    "10.20.30.0/24",
    "10.20.30.40/31",
    "10.20.30.40/32",
)


@pytest.mark.usefixtures("structure")
@pytest.mark.parametrize("gone", CHAIN)
def test_a_deletion_restores_the_cover(gone: str) -> None:
    """The prefixes of a chain cross every border between nodes; each in turn goes and comes back."""
    trie: Trie[str] = Trie(4)
    for text in CHAIN:
        trie.insert(*v4(text), text)
    address, _ = v4("10.20.30.40")
    left = [text for text in CHAIN if text != gone]
    trie.delete(*v4(gone))
    assert [value for _, value in trie.matches(address)] == left[::-1]
    assert trie.lookup(address) == left[-1]
    trie.insert(*v4(gone), gone)
    assert trie.lookup(address) == CHAIN[-1]


@pytest.mark.usefixtures("structure")
def test_the_chain_taken_down_from_its_longest_end() -> None:
    trie: Trie[str] = Trie(4)
    for text in CHAIN:
        trie.insert(*v4(text), text)
    address, _ = v4("10.20.30.40")
    for text in reversed(CHAIN):
        assert trie.lookup(address) == text
        trie.delete(*v4(text))
    assert trie.lookup(address) is None


@pytest.mark.usefixtures("structure")
def test_a_shorter_prefix_inserted_later_hides_nothing_longer_of_the_same_value() -> None:
    trie: Trie[str] = Trie(4)
    trie.insert(*v4("10.0.0.0/8"), "a")
    trie.insert(*v4("10.16.0.0/16"), "a")
    trie.insert(*v4("10.16.0.0/12"), "b")
    assert trie.lookup(v4("10.16.1.1")[0]) == "a"
    assert trie.lookup(v4("10.17.1.1")[0]) == "b"


@pytest.mark.usefixtures("structure")
def test_false_values_are_values() -> None:
    """An empty text or 0 is found like any other, on every level and behind a stub."""
    trie: Trie[Any] = Trie(4)
    trie.insert(*v4("0.0.0.0/0"), "far")
    for text, value in (("10.0.0.0/8", 0), ("10.1.0.0/16", 0.0), ("10.1.1.0/24", ""), ("10.1.1.1/32", False)):
        trie.insert(*v4(text), value)
        assert trie.lookup(v4("10.1.1.1")[0]) is value
    assert trie.insert(*v4("10.1.1.1/32"), 7) is False
    assert trie.delete(*v4("10.1.1.0/24")) == ""


@pytest.mark.parametrize(
    ("prefix", "length"),
    [
        pytest.param(b"\x0a\0\0\1", 24, id="a host bit set"),
        pytest.param(b"\x80\0\0\0", 0, id="a bit set in /0"),
        pytest.param(b"\x0a\0\0\0", 33, id="too long"),
        pytest.param(b"\x0a\0\0\0", -1, id="negative"),
        pytest.param(b"\x0a\0\0", 8, id="three bytes"),
        pytest.param(bytes(16), 8, id="the other family"),
    ],
)
def test_what_is_no_prefix_is_refused(prefix: bytes, length: int) -> None:
    trie: Trie[str] = Trie(4)
    for call in (trie.get, trie.delete, lambda p, n: trie.insert(p, n, "x")):
        with pytest.raises(ValueError):
            call(prefix, length)
    assert len(trie) == 0


@pytest.mark.parametrize("value", [None, []])
def test_what_is_no_value_is_refused(value: Any) -> None:
    trie: Trie[Any] = Trie(4)
    with pytest.raises(ValueError):
        trie.insert(bytes(4), 0, value)


@pytest.mark.parametrize("size", [0, 3, 8])
def test_an_address_has_4_or_16_bytes(size: int) -> None:
    with pytest.raises(ValueError):
        Trie(size)


def test_deleting_what_is_not_held_raises_key_error() -> None:
    trie: Trie[str] = Trie(4)
    trie.insert(*v4("10.0.0.0/8"), "a")
    with pytest.raises(KeyError):
        trie.delete(*v4("10.0.0.0/9"))
    assert trie.lookup(v4("10.0.0.1")[0]) == "a"


# --- size


def test_a_small_table_has_no_nodes_and_a_shrunken_one_gives_them_back() -> None:
    trie: Trie[int] = Trie(4)
    prefixes = [pack(n, 24, 4) for n in range(lib.route_trie.SMALL + 1)]
    trie.insert(prefixes[0], 24, 1)
    before = lists()
    for prefix in prefixes[:-1]:
        trie.insert(prefix, 24, 1)
    assert lists() == before
    trie.insert(prefixes[-1], 24, 1)
    assert lists() == before + 2 + 5  # the root, one node for 0/8, one for each /16 in it
    kept = lib.route_trie.SMALL // 4
    for prefix in prefixes[kept:]:
        trie.delete(prefix, 24)
    assert lists() == before
    assert [trie.lookup(prefix) for prefix in prefixes] == [1] * kept + [None] * (len(prefixes) - kept)


def test_nodes_left_empty_are_freed() -> None:
    trie: Trie[int] = Trie(4)
    for n in range(lib.route_trie.SMALL + 1):
        trie.insert(pack(n, 24, 4), 24, 1)
    before = lists()
    far = [pack(0xC0000000 | n << 12, 32, 4) for n in range(500)]
    for prefix in far:
        trie.insert(prefix, 32, 2)
    assert lists() - before > 30  # 16 of them in each node of the third level
    for prefix in far:
        trie.delete(prefix, 32)
    assert lists() - before < 5


# --- copies, and the end, in steps -------------------------------------------------------------------


def drain(steps: Generator[None, None, Any]) -> Any:
    """Go through all steps; returns what they come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.mark.usefixtures("structure")
@pytest.mark.parametrize("size", SIZES)
def test_a_copy_and_its_original_go_their_own_ways(size: int) -> None:
    """Whatever is done to one of the two, the other one answers as before."""
    rng = random.Random(size)
    trie: Trie[int] = Trie(size)
    naive = Naive(size)
    for value in range(400):
        prefix = random_prefix(rng, size)
        trie.insert(*prefix, value)
        naive.held[prefix] = value
    copy: Trie[int] = drain(trie.copying())
    held = dict(naive.held)
    for side in (copy, trie):
        changed = Naive(size)
        changed.held = dict(held)
        for value in range(1000, 1300):
            prefix = random_prefix(rng, size)
            if rng.random() < 0.5 and prefix in changed.held:
                side.delete(*prefix)
                del changed.held[prefix]
            else:
                side.insert(*prefix, value)
                changed.held[prefix] = value
        other = trie if side is copy else copy
        for _ in range(500):
            address = pack(rng.getrandbits(8 * size), 8 * size, size)
            near = bytes(rng.choice((0, 10, 255)) for _ in range(size))
            for asked in (address, near):
                assert side.matches(asked) == changed.matches(asked)
                assert [side.lookup(asked)] == ([v for _, v in changed.matches(asked)] or [None])[:1]
                if side is copy:
                    assert other.matches(asked) == naive.matches(asked)
                    assert [other.lookup(asked)] == ([v for _, v in naive.matches(asked)] or [None])[:1]
        assert len(side) == len(changed.held)


def test_freeing_forgets_everything() -> None:
    trie: Trie[int] = Trie(4)
    before = lists()
    for n in range(5 * lib.route_trie.SMALL):
        trie.insert(pack(n * 4096, 32, 4), 32, n)
    drain(trie.freeing())
    assert lists() - before < 5
    assert not any(trie._record)


def lists() -> int:
    """How many lists are alive: nodes, and whatever else, which stays the same."""
    gc.collect()
    return sum(type(thing) is list for thing in gc.get_objects())


# --- a walk in steps


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [None, 1, 7, 10_000])
def test_a_walk_finds_what_lies_within_a_prefix_in_order(
    size: int, most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib.route_trie, "_STEP", 3)
    monkeypatch.setattr(lib.route_trie, "_RUNS", 4)
    rng = random.Random(size)
    trie, naive = fresh(size)
    for number in range(400):
        made = random_prefix(rng, size)
        trie.insert(*made, number)
        naive.held[made] = number
    count, found = drain(trie.walking(most=most))
    assert (count, list(found)) == (len(naive.held), naive.items()[:most])
    for prefix, length in [(bytes(size), 0), *(random_prefix(rng, size) for _ in range(40))]:
        within = [row for row in naive.items() if row[1] >= length and naive.covers(prefix, length, row[0])]
        count, found = drain(trie.walking(prefix, length, most=most))
        assert (count, list(found)) == (len(within), within[:most])


def test_a_walk_through_a_table_that_is_freed_says_so() -> None:
    trie: Trie[int] = Trie(4)
    for number in range(5000):
        trie.insert(number.to_bytes(4, "big"), 32, number)
    _, found = drain(trie.walking())
    next(found)
    drain(trie.freeing())
    with pytest.raises(RuntimeError, match="changed"):
        next(found)
