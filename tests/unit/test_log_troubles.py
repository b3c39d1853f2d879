"""Troubles that last: known from the first event to the end, told apart by their fields, bounded."""

from __future__ import annotations

from lib import log_setup
from lib.log_events import Entry
from lib.log_troubles import LASTING, MOST, Trouble, Troubles


def test_a_trouble_is_known_from_its_first_event_until_it_is_over() -> None:
    known = Troubles()
    known.note(Entry.POOL_LOW, {"router": "r", "left": 3}, "3 left", 10.0)
    known.note(Entry.CERTIFICATE_FAILED, {"file": "a.pem", "reason": "x"}, "a.pem: x", 11.0)
    known.note(Entry.POOL_LOW, {"router": "r", "left": 1}, "1 left", 12.0)
    assert known.all() == [
        Trouble("pool-low", "1 left", 10.0),
        Trouble("certificate-failed", "a.pem: x", 11.0),
    ]
    assert known.all()[0].row(15.0) == {"event": "pool-low", "text": "1 left", "since_s": 5.0}
    known.over(Entry.POOL_LOW, "another")
    assert len(known.all()) == 2
    known.over(Entry.POOL_LOW, "r")
    assert [one.event for one in known.all()] == ["certificate-failed"]


def test_all_of_an_event_are_over_at_once_and_those_that_begin_alike() -> None:
    known = Troubles()
    for namespace in "ab":
        for service in "st":
            fields = {"service": service, "namespace": namespace, "reason": "many"}
            known.note(Entry.NOT_TOLD, fields, f"{service} {namespace}", 1.0)
    known.over(Entry.NOT_TOLD, "s")
    assert [one.text for one in known.all()] == ["t a", "t b"]
    known.over(Entry.NOT_TOLD)
    assert known.all() == []


def test_what_is_there_no_more_has_no_troubles() -> None:
    known = Troubles()
    for name in ("one", "two"):
        known.note(Entry.NAT_FAILED, {"service": name}, f"service {name}", 1.0)
        known.note(Entry.POOL_LOW, {"router": name}, f"router {name}", 1.0)
    known.note(Entry.RELOAD_FAILED, {"service": "", "reason": "a typo"}, "of no service", 1.0)
    known.keep_only("service", {"one", "x"})
    known.keep_only("router", {"two"})
    assert {one.text for one in known.all()} == {"service one", "router two", "of no service"}


def test_they_are_bounded_and_the_first_ones_stay() -> None:
    known = Troubles()
    for number in range(3 * MOST):
        known.note(Entry.RELOAD_FAILED, {"service": "", "reason": str(number)}, str(number), float(number))
    assert [one.text for one in known.all()] == [str(number) for number in range(MOST)]


def test_fields_that_tell_them_apart_are_fields_of_the_event() -> None:
    for event, names in LASTING.items():
        assert set(names) <= set(event.fields), event


def test_the_log_notes_them_also_where_nothing_is_logged() -> None:
    log_setup.over(Entry.NAT_FAILED)
    log_setup.leave_out([Entry.NAT_FAILED])
    try:
        log_setup.say(
            Entry.NAT_FAILED, "service %s: %s", "s", "no nft", service="s", device="d", reason="no nft"
        )
    finally:
        log_setup._left_out.discard(Entry.NAT_FAILED)
    assert [one.text for one in log_setup.troubles() if one.event == "nat-failed"] == ["service s: no nft"]
    log_setup.over(Entry.NAT_FAILED, "s")
    assert not [one for one in log_setup.troubles() if one.event == "nat-failed"]
