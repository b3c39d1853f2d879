"""The list of enrolled hosts: who gets in by an invitation, once, and what is left of it as text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import enrol_book, enrol_token, ids
from lib.enrol_book import KEPT, SLACK, Book, Enrolled, Invitation, hashed
from lib.wire_enrol import Answer, Ask
from tests.support.texts import from_json

NOW = 1_900_000_000.0
NS = bytes(range(16))
SECRET, PASSWORD, OTHER = b"s" * 16, hashed(b"one"), hashed(b"two")
LAN = (bytes([192, 168, 7, 0]), 24)
INVITATION = Invitation(
    *(b"i" * 8, hashed(SECRET), "host-7", NS, NOW, NOW + 3600.0, (LAN,)),
)
BOOK = enrol_book.invited(Book(b"b" * 8), INVITATION, NOW)
ASK = Ask(BOOK.id, INVITATION.id, SECRET, PASSWORD)


def joined(book: Book = BOOK, ask: Ask = ASK, now: float = NOW + 1) -> tuple[Book, Answer]:
    new, answer, _ = enrol_book.joined(book, ask, now)
    return new, answer


def test_a_host_joins() -> None:
    book, answer = joined()
    assert answer is Answer.WELCOME
    row = book.hosts[NS, "host-7"]
    assert (row.since, row.gateways, row.seen) == (NOW + 1, (LAN,), 0.0)
    assert enrol_book.has_password(row, "one")
    assert not enrol_book.has_password(row, "two")
    assert not enrol_book.has_password(row, "")


def test_an_invitation_is_good_once() -> None:
    book, _ = joined()
    again, answer = joined(book, replace(ASK, password=OTHER), NOW + 2)
    assert answer is Answer.USED
    assert again is book
    assert enrol_book.joined(book, replace(ASK, password=OTHER), NOW + 2)[2] == NOW + 1, "when it was used"


def test_the_same_host_may_ask_again_as_its_answer_may_have_been_lost() -> None:
    book, _ = joined()
    assert joined(book) == (book, Answer.WELCOME)
    gone = enrol_book.revoked(book, (NS, "host-7"), NOW + 3)
    assert joined(gone)[1] is Answer.USED, "but not once it is revoked"


WRONG = [
    (BOOK, replace(ASK, secret=b"t" * 16), NOW + 1, Answer.UNKNOWN),
    (BOOK, replace(ASK, invitation=b"j" * 8), NOW + 1, Answer.UNKNOWN),
    (BOOK, replace(ASK, store=b"c" * 8), NOW + 1, Answer.OTHER_HUB),
    (BOOK, ASK, NOW + 3600, Answer.EXPIRED),
    (BOOK, ASK, NOW - SLACK - 1, Answer.CLOCK),
    (enrol_book.revoked(BOOK, (NS, "host-7"), NOW), ASK, NOW + 1, Answer.WITHDRAWN),
    (joined()[0], replace(ASK, password=OTHER), NOW + 1, Answer.USED),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[3].name.lower())
def test_each_mistake_has_an_answer_of_its_own(case: tuple[Book, Ask, float, Answer]) -> None:
    book, ask, now, expected = case
    new, answer = joined(book, ask, now)
    assert answer is expected
    assert new is book


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[3].name.lower())
def test_who_does_not_know_the_secret_learns_nothing_of_an_invitation(
    case: tuple[Book, Ask, float, Answer],
) -> None:
    book, ask, now, expected = case
    assert joined(book, replace(ask, secret=b"?" * 16), now)[1] in (Answer.UNKNOWN, Answer.OTHER_HUB)
    assert expected in Answer


def test_a_clock_that_is_a_little_slow_is_none_that_is_wrong() -> None:
    assert joined(now=NOW - SLACK + 1)[1] is Answer.WELCOME


def test_a_newer_invitation_withdraws_the_older_one() -> None:
    newer = replace(INVITATION, id=b"n" * 8, secret=hashed(b"n" * 16))
    book = enrol_book.invited(BOOK, newer, NOW + 5)
    assert joined(book, ASK, NOW + 6)[1] is Answer.WITHDRAWN
    assert joined(book, replace(ASK, invitation=b"n" * 8, secret=b"n" * 16), NOW + 6)[1] is Answer.WELCOME
    elsewhere = replace(newer, namespace=bytes(16))
    assert joined(enrol_book.invited(BOOK, elsewhere, NOW), ASK)[1] is Answer.WELCOME


def test_who_is_revoked_is_gone_for_good() -> None:
    book, _ = joined()
    gone = enrol_book.revoked(book, (NS, "host-7"), NOW + 3)
    assert not gone.hosts
    assert enrol_book.changed(book, gone) == {(NS, "host-7")}
    assert joined(gone, replace(ASK, password=OTHER))[1] is Answer.USED
    assert enrol_book.changed(gone, gone) == set()


def test_another_password_is_another_host() -> None:
    book, _ = joined()
    row = replace(book.hosts[NS, "host-7"], password=OTHER)
    assert enrol_book.changed(book, replace(book, hosts={row.place: row})) == {row.place}


def test_when_hosts_were_seen() -> None:
    book, _ = joined()
    place = (NS, "host-7")
    seen = enrol_book.met(book, {place: NOW + 9, (NS, "nobody"): NOW})
    assert seen.hosts[place].seen == NOW + 9
    assert enrol_book.met(seen, {place: NOW + 1}).hosts[place].seen == NOW + 9, "it never goes back"
    assert enrol_book.changed(book, seen) == set()


def test_old_invitations_are_forgotten_and_open_ones_never(monkeypatch: pytest.MonkeyPatch) -> None:
    def book_at(now: float) -> Book:
        new = replace(INVITATION, id=b"z" * 8, host="z", made=now, expires=now + 60)
        return enrol_book.invited(BOOK, new, now)

    assert INVITATION.id in book_at(INVITATION.expires + KEPT - 1).invitations
    assert INVITATION.id not in book_at(INVITATION.expires + KEPT + 1).invitations
    monkeypatch.setattr(enrol_book, "MAX_INVITATIONS", 2)
    book = joined()[0]
    for number in range(4):
        one = replace(INVITATION, id=bytes([number] * 8), host=f"h{number}")
        book = enrol_book.invited(book, one, NOW + 2)
    assert len(book.invitations) == 4, "the used one has gone, none that is open"
    assert INVITATION.id not in book.invitations


def test_only_hashes_are_kept() -> None:
    text = enrol_book.dump(joined()[0])
    for secret in (SECRET, b"one"):
        assert secret not in text
        assert secret.hex().encode() not in text
    assert PASSWORD.hex().encode() in text


HOSTS: st.SearchStrategy[str] = from_json(20).filter(lambda text: enrol_token.is_invitable(text))
TIMES = st.floats(0, 2e9)
PREFIXES = st.tuples(st.binary(min_size=4, max_size=4), st.just(32))
ROWS = st.builds(
    Enrolled,
    *(HOSTS, st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), TIMES),
    *(st.lists(PREFIXES, max_size=3).map(tuple), TIMES, st.binary(max_size=8)),
)


@given(st.lists(ROWS, max_size=5), st.sampled_from([BOOK, joined()[0]]))
def test_the_text_of_a_list_is_the_list(rows: list[Enrolled], book: Book) -> None:
    book = replace(book, hosts={row.place: row for row in rows})
    assert enrol_book.parse(enrol_book.dump(book)) == book


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["kind", "version", "id", "hosts", "invitations", "host", "namespace"]), inner, max_size=6
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_what_is_no_list_is_refused_in_words(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        enrol_book.parse(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "of version 2, and this tunrouter knows 1"),
        ({"kind": "routes"}, "no list of enrolled hosts"),
        ({"hosts": [{}]}, "no list of enrolled hosts: '.*' is missing"),
        ({"hosts": 7}, "no list of enrolled hosts: something in it is of another kind"),
        ({"id": "00"}, "1 bytes, where 8 belong"),
        ({"hosts": [{"host": "a b"}]}, "no name of a host"),
    ],
)
def test_what_is_wrong_with_a_list(change: dict[str, object], words: str) -> None:
    whole = json.loads(enrol_book.dump(BOOK)) | change
    with pytest.raises(ValueError, match=words):
        enrol_book.parse(json.dumps(whole).encode())


def test_a_list_says_what_it_is_to_people() -> None:
    row = json.loads(enrol_book.dump(joined()[0]))["hosts"][0]
    assert (row["host"], row["namespace"], row["gateways"]) == (
        "host-7",
        ids.format_uuid(NS),
        ["192.168.7.0/24"],
    )
