"""Replies that pages share: made once for all who ask, at most a tick old, and never one that failed."""

from __future__ import annotations

import json

import gevent
import pytest

from lib import api_shared
from lib.api_request import Refused
from lib.api_shared import KEPT, Shared


def test_fifty_who_ask_at_once_get_one_reply() -> None:
    shared, made = Shared(), []

    def make() -> dict[str, object]:
        made.append(1)
        gevent.sleep(0.01)
        return {"rows": iter([1, 2]), "made": len(made)}

    asking = [gevent.spawn(shared.reply, "drops", make) for _ in range(50)]
    gevent.joinall(asking, raise_error=True)
    assert {one.value for one in asking} == {b'{"rows":[1,2],"made":1}'}
    assert json.loads(shared.reply("others", make))["made"] == 2


def test_a_reply_is_made_anew_after_a_tick_and_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, made = Shared(), iter(range(9))

    def ask() -> int:
        return int(json.loads(shared.reply("one", lambda: {"n": next(made)}))["n"])

    assert [ask(), ask()] == [0, 0]
    shared.forget()
    assert ask() == 1
    monkeypatch.setattr(api_shared, "TICK_SECONDS", 0.0)
    assert [ask(), ask()] == [2, 3]


def test_what_fails_is_not_kept() -> None:
    shared = Shared()

    def refuse() -> dict[str, object]:
        raise Refused(404, "nothing here")

    for _ in range(2):
        with pytest.raises(Refused):
            shared.reply("one", refuse)
    assert shared.reply("one", dict) == b"{}"


def test_no_more_replies_are_kept_than_that() -> None:
    shared = Shared()
    for number in range(KEPT + 9):
        shared.reply(number, dict)
    assert len(shared._made) == KEPT
    assert len(shared._making) == 0
