"""What a reload would change is shown before, and what is applied is what was shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from gevent.lock import RLock

from lib import api_config
from lib.api_confirm import Confirmations
from lib.api_request import Refused, Request
from lib.api_x_config import MAX_PROBLEMS, ConfigPages
from lib.errors import ConfigError, HostError, Position, Problem
from lib.settings import Settings
from tests.support.api_hubs import get


class Changes:
    """A configuration whose files say `new`."""

    def __init__(self) -> None:
        self.settings = Settings(log_level="info")
        self.new: Settings | Exception = Settings(log_level="debug")
        self.version, self.files, self.config = 1, ("/etc/hub.yml",), None
        self.refuses: list[str] = []
        self.lock = RLock()

    def preview(self) -> Settings:
        if isinstance(self.new, Exception):
            raise self.new
        return self.new

    def reload(self) -> list[str]:
        if not self.refuses:
            self.settings, self.version = self.preview(), self.version + 1
        return self.refuses

    def alone(self) -> Any:
        return self.lock

    def keep(self) -> Any:
        before = self.settings

        def put_back(version: int) -> bool:
            self.settings, self.version = before, self.version + 1
            return True

        return put_back


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def pages(changes: Changes) -> ConfigPages:
    process: Any = SimpleNamespace(changes=changes, confirmations=Confirmations(lambda: changes.version))
    return ConfigPages(process)


def post(handle: Any, body: dict[str, Any], **query: str) -> Any:
    text = str(body).replace("'", '"').encode()
    return handle(Request("POST", "/x", query=query, read=lambda: text)).body


def status(handle: Any, body: dict[str, Any], **query: str) -> int:
    with pytest.raises(Refused) as found:
        post(handle, body, **query)
    return found.value.status


def shown(pages: ConfigPages) -> Any:
    return get(pages.difference).body


def test_what_differs_is_shown_and_then_applied(
    pages: ConfigPages, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = shown(pages)
    assert found["differs"]
    assert found["changes"] == [{"service": "", "kind": "changed", "lines": ["log level: info -> debug"]}]
    assert changes.settings.log_level == "info", "nothing is applied by looking"
    assert post(pages.reload, {"stamp": found["stamp"]}) == {"applied": ["log level: info -> debug"]}
    assert changes.settings.log_level == "debug"
    assert "reload the configuration: log level: info -> debug" in caplog.text
    assert shown(pages)["differs"] is False
    assert status(pages.reload, {"stamp": found["stamp"]}) == 409, "a stamp is good once"


def test_another_look_at_the_same_difference_changes_nothing(pages: ConfigPages, changes: Changes) -> None:
    """A page that looks every few seconds must not keep everybody else from a reload."""
    stamp = shown(pages)["stamp"]
    assert shown(pages)["stamp"] == stamp
    assert post(pages.reload, {"stamp": stamp}) == {"applied": ["log level: info -> debug"]}


def test_what_was_not_shown_is_not_applied(pages: ConfigPages, changes: Changes) -> None:
    assert status(pages.reload, {"stamp": ""}) == 409
    stamp = shown(pages)["stamp"]
    changes.new = Settings(log_level="warn")
    assert status(pages.reload, {"stamp": stamp}) == 409
    assert shown(pages)["stamp"] != stamp
    assert status(pages.reload, {"stamp": stamp}) == 409
    assert changes.settings.log_level == "info"


def test_problems_are_listed_and_nothing_can_be_applied(pages: ConfigPages, changes: Changes) -> None:
    stamp = shown(pages)["stamp"]
    wrong = [
        Problem(Position("hub.yml", number, 2), "wrong", "mend it") for number in range(MAX_PROBLEMS + 5)
    ]
    changes.new = ConfigError(wrong, [Problem(Position("hub.yml"), "odd")])
    found = shown(pages)
    assert (found["stamp"], found["differs"], found["changes"]) == ("", False, [])
    assert found["problems"][3] == {"where": "hub.yml:3:2", "text": "wrong", "hint": "mend it"}
    assert found["problems"][-1]["text"] == "and 5 more"
    assert found["warnings"] == [{"where": "hub.yml", "text": "odd", "hint": ""}]
    assert status(pages.reload, {"stamp": stamp}) == 422
    changes.new = HostError("hub.yml: Permission denied")
    assert shown(pages)["problems"] == [{"where": "", "text": "hub.yml: Permission denied", "hint": ""}]


def test_problems_quote_no_login(pages: ConfigPages, changes: Changes) -> None:
    quoting = Problem(Position("hub.yml"), "no address: 'htps://u:s3cret@h/l'", "not http://u:s3cret@h")
    for wrong in (ConfigError([quoting], [quoting]), HostError("http://u:s3cret@h/l is not there")):
        changes.new = wrong
        assert "s3cret" not in str(shown(pages))
        assert "***@h/l" in str(shown(pages))
    changes.new = Settings(log_level="debug", warnings=(quoting,))
    assert "s3cret" not in str(shown(pages))


def test_a_reload_that_this_host_refuses(pages: ConfigPages, changes: Changes) -> None:
    changes.refuses = ["port in use"]
    assert status(pages.reload, {"stamp": shown(pages)["stamp"]}) == 422


def test_a_reload_that_waits_to_be_confirmed(pages: ConfigPages, changes: Changes) -> None:
    stamp = shown(pages)["stamp"]
    assert status(pages.reload, {"stamp": stamp}, confirm="never") == 400
    assert changes.settings.log_level == "info", "a wrong time has changed nothing"
    number = post(pages.reload, {"stamp": stamp}, confirm="60s")["confirm"]
    assert get(pages.pending).body["pending"]["id"] == number
    assert status(pages.reload, {"stamp": shown(pages)["stamp"]}) == 409
    assert post(pages.undo, {"id": number}) == {"msg": "OK"}
    assert changes.settings.log_level == "info"
    assert get(pages.pending).body == {"pending": None}
    number = post(pages.reload, {"stamp": shown(pages)["stamp"]}, confirm="60s")["confirm"]
    post(pages.confirm, {"id": number})
    assert changes.settings.log_level == "debug"


def test_the_configuration_as_text(
    pages: ConfigPages, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_config, "as_yaml", lambda config, *_: iter([b"services:\n", b"- name: a\n"]))
    found = get(pages.config).body
    assert (found["files"], found["text"]) == (["/etc/hub.yml"], "services:\n- name: a\n")
    loaded = found["loaded"]
    assert get(pages.config).body["loaded"] == loaded
    monkeypatch.setattr("lib.api_x_config.MAX_TEXT", 4)
    assert "and so on" not in get(pages.config).body["text"], "it is made once"
    changes.version += 1
    assert "and so on" in get(pages.config).body["text"]
