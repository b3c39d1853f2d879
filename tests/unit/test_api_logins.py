"""Users of the web API: basic auth, a browser's session, limits on guesses, and what each role may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib import api_sessions, log_setup
from lib.api_app import TENANT_BODY
from lib.api_logins import LOGIN_BYTES
from lib.api_request import INVALID, Who
from lib.api_sessions import IDLE_SECONDS, MOST_SECONDS, TRIES, TRY_SECONDS, Sessions, Tries
from lib.settings_api import TENANT
from tests.support.api import Answer, Api, process

MINE, OTHER = "e87f56dd-fd57-4921-9ab8-a0847662daae", "ef502590-c5f4-437e-a81f-fe4083505075"
TEXT = f"""\
services: [{{name: s, addr: '127.0.0.1:PORT', handler: {{type: router, auther: hosts, metadata: {{router: r}}}},
  listener: {{type: tcp}}}}]
routers:
- {{name: r, routes: [{{dst: 10.0.0.0/8, gateway: g}}]}}
- {{name: {MINE.upper()}, routes: [{{dst: 10.1.0.0/16, gateway: g}}]}}
- {{name: {OTHER}, routes: [{{dst: 10.2.0.0/16, gateway: g}}]}}
authers:
- {{name: hosts, auths: [{{username: h, password: p, hosts: [h]}}]}}
- {{name: staff, auths: [{{username: staff, password: p}}, {{username: bound, password: p, namespaces: [{MINE}]}}]}}
api:
  addr: 'unix:///tmp/e-PORT.sock'
  auther: staff
  users:
  - {{username: eve, password: p, role: viewer}}
  - {{username: ten, password: p, role: tenant, namespace: {MINE}}}
  - {{username: adm, password: p}}
"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with process(tmp_path / "gost.yml", TEXT) as made:
        yield made


def log_in(api: Api, user: str, password: str = "p", **headers: str) -> Answer:
    body = {"username": user, "password": password}
    return api.ask("POST", "/x/session", body, headers=headers)


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_browser_has_a_session(api: Api) -> None:
    answer = log_in(api, "adm", Sec_Fetch_Site="same-origin")
    assert answer.json == {"data": {"name": "adm", "role": "admin", "namespace": None, "login": True}}
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    own = {"Cookie": f"other=1; {cookie_of(answer)}"}
    assert api.ask("GET", "/config", headers=own).status == 200
    assert api.ask("GET", "/x/session", headers=own).json["data"]["name"] == "adm"
    assert api.ask("POST", "/config/reload", headers=own).status == 403  # nobody says that it is our own page
    origin = {"Origin": "http://127.0.0.1"}
    assert api.ask("POST", "/config/reload", headers={**own, **origin}).status == 200
    assert api.ask("POST", "/config/reload", headers={**own, "Origin": "http://evil"}).status == 403
    gone = api.ask("DELETE", "/x/session", headers={**own, **origin})
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert api.ask("GET", "/config", headers=own).status == 401


@pytest.mark.parametrize("cookie", ["tunrouter=", "tunrouter=guess", "tunrouter"])
def test_a_guessed_cookie_is_none(api: Api, cookie: str) -> None:
    assert api.ask("GET", "/config", headers={"Cookie": cookie}).status == 401


def test_a_page_of_another_site_logs_nobody_in(api: Api) -> None:
    assert log_in(api, "adm", Sec_Fetch_Site="cross-site").status == 403


@pytest.mark.parametrize(
    "body", [None, [], {"username": 1}, {"username": "adm"}, {"username": "h", "password": "p"}]
)
def test_what_is_no_login(api: Api, body: object) -> None:
    assert api.ask("POST", "/x/session", body).status == 401


@pytest.mark.parametrize("key", ["username", "password"])
def test_half_a_character_is_no_login(api: Api, key: str) -> None:
    said = api.ask("POST", "/x/session", {"username": "adm", "password": "p", key: "\ud800"})
    assert (said.status, said.json["code"]) == (400, INVALID)


def test_of_a_stranger_s_body_little_is_read(api: Api) -> None:
    body = {"username": "adm", "password": "p", "more": "x" * LOGIN_BYTES}
    said = api.ask("POST", "/x/session", body)
    assert said.status == 413
    assert str(LOGIN_BYTES) in said.json["msg"]


def test_who_has_guessed_too_often_is_not_even_listened_to(api: Api) -> None:
    for _ in range(TRIES):
        assert log_in(api, "adm", "x").status == 401
    assert api.ask("POST", "/x/session", b"{bad").status == 429


def test_a_page_is_asked_for_no_login_by_the_browser_itself(api: Api) -> None:
    assert "www-authenticate" in api.ask("GET", "/config").headers
    assert "www-authenticate" not in api.ask("GET", "/config", headers={"Sec-Fetch-Mode": "cors"}).headers


def test_a_session_ends_when_logins_change(api: Api, tmp_path: Path) -> None:
    own = {"Cookie": cookie_of(log_in(api, "staff"))}
    assert api.ask("GET", "/config", headers=own).status == 200
    (tmp_path / "gost.yml").write_text(
        (tmp_path / "gost.yml").read_text().replace("staff, password: p", "staff, password: q")
    )
    assert api.changes.reload() == []
    assert api.ask("GET", "/config", headers=own).status == 401


def test_a_login_that_is_bound_to_a_namespace_or_a_host_is_no_administrator(api: Api) -> None:
    """A host's login in the same auther would else be one."""
    assert api.ask("GET", "/config", login="staff:p").status == 200
    assert api.ask("GET", "/config", login="bound:p").status == 401
    assert api.ask("GET", "/config", login="h:p").status == 401


def test_guesses_from_one_address_are_limited(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("lib.api_logins.time.monotonic", lambda: now[0])
    for _ in range(TRIES):
        assert api.ask("GET", "/config", login="adm:x").status == 401
    for login in ("adm:x", "adm:p"):  # a right one tells nothing either
        late = api.ask("GET", "/config", login=login)
        assert late.status == 429
        assert int(late.headers["retry-after"]) == TRY_SECONDS
    assert log_in(api, "adm").status == 429
    assert api.ask("GET", "/config", login="adm:p", remote="127.0.0.2").status == 200
    now[0] += TRY_SECONDS
    assert api.ask("GET", "/config", login="adm:p").status == 200


def test_wrong_logins_are_in_the_log_once_for_each_address(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """And how many there were; what was tried is in no line, for it may be a password in the wrong field."""
    for number in range(TRIES + 3):
        api.ask("GET", "/config", login=f"s3cret{number}:x")
    log_in(api, "s3cret", "x")
    api.ask("GET", "/config", login="adm:s3cret", remote="192.0.2.7")
    api.ask("GET", "/config")  # no login at all is no wrong one
    log_setup.finish()
    first, many, other, *counts = caplog.messages
    assert first.startswith("web API: a wrong login from 127.0.0.1:")
    assert many.startswith("web API: too many wrong logins from 127.0.0.1:")
    assert other.startswith("web API: a wrong login from 192.0.2.7:")
    assert len(counts) == 1
    assert f"{TRIES + 4 - 2} more" in counts[0]
    assert "s3cret" not in caplog.text


def test_a_right_login_and_a_page_s_session_are_in_no_line(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"Cookie": cookie_of(log_in(api, "adm"))}
    assert api.ask("GET", "/config", headers=own).status == 200
    assert api.ask("GET", "/config", login="eve:p").status == 200
    assert caplog.messages == []


def test_guesses_are_limited_while_an_auther_has_not_been_read(tmp_path: Path) -> None:
    """Our own users are checked before the others, and a right one is let in."""
    auths = TEXT[TEXT.index("auths: [{username: staff") :].partition("\n")[0]
    text = TEXT.replace(auths, f"file: {{path: {tmp_path}/missing}}}}")
    with process(tmp_path / "gost.yml", text) as api:
        for _ in range(TRIES):
            assert api.ask("GET", "/config", login="adm:p").status == 200
            assert log_in(api, "adm", "x").status == 503
        assert api.ask("GET", "/config", login="adm:x").status == 429


def test_a_viewer_reads_everything_and_changes_nothing(api: Api) -> None:
    assert api.ask("GET", "/config", login="eve:p").json["services"]
    assert api.ask("GET", "/config/authers/staff", login="eve:p").status == 200
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/config", None),
        ("POST", "/config/reload", None),
        ("POST", "/config/routers", {"name": "x"}),
        ("PUT", "/config/routers/r", {}),
        ("DELETE", "/config/routers/r", None),
    ]
    for method, path, body in changes:
        answer = api.ask(method, path, body, login="eve:p")
        assert answer.status == 403, path
        assert "may only read" in answer.json["msg"]


def test_a_tenant_sees_and_changes_one_namespace(api: Api) -> None:
    login = "ten:p"
    assert api.ask("GET", "/x/session", login=login).json["data"]["namespace"] == MINE
    whole = api.ask("GET", "/config", login=login).json
    assert list(whole) == ["routers"]
    assert [one["name"] for one in whole["routers"]] == [MINE.upper()]
    assert api.ask("GET", "/config/routers", login=login).json["data"]["count"] == 1
    assert api.ask("GET", f"/config/routers/{OTHER}", login=login).json == {"data": None}
    routes = {"routes": [{"dst": "10.7.0.0/16", "gateway": "g"}]}
    assert api.ask("PUT", f"/config/routers/{MINE.upper()}", routes, login=login).status == 200
    assert str(api.parts.settings.tables[1].routes[0]) == "10.7.0.0/16"
    changes: list[tuple[str, str, Any]] = [
        ("PUT", "/config/routers/r", routes),
        ("PUT", f"/config/routers/{OTHER}", routes),
        ("DELETE", f"/config/routers/{OTHER}", None),
        ("POST", "/config/routers", {"name": "x"}),
        ("PUT", f"/config/routers/{MINE.upper()}", {"file": {"path": "/etc/shadow"}}),
        ("GET", "/config/services", None),
        ("POST", "/config/services", {"name": "x"}),
        ("POST", "/config", None),
        ("POST", "/config/reload", None),
    ]
    for method, path, body in changes:
        assert api.ask(method, path, body, login=login).status == 403, path


def test_a_tenant_s_body_is_shorter_than_an_administrator_s(api: Api) -> None:
    body = b" " * TENANT_BODY + b"{}"
    path = f"/config/routers/{MINE.upper()}"
    assert api.ask("PUT", path, body, login="ten:p").status == 413
    assert api.ask("PUT", path, body, login="adm:p").status == 200


def test_sessions_end_when_they_are_idle_and_in_any_case() -> None:
    sessions, mark = Sessions(), object()
    who = Who("u", TENANT, b"\0" * 16, True)
    sessions.begin("t", who, mark, 0)
    assert sessions.find("t", mark, IDLE_SECONDS) == who
    assert sessions.find("t", mark, 2 * IDLE_SECONDS + 1) is None
    sessions.begin("t", who, mark, 0)
    now = 0.0
    while now < MOST_SECONDS:
        assert sessions.find("t", mark, now) == who
        now += IDLE_SECONDS
    assert sessions.find("t", mark, MOST_SECONDS + 1) is None
    sessions.begin("t", who, mark, 0)
    assert sessions.find("t", object(), 0) is None
    assert sessions.find("t", mark, 0) is None
    assert sessions.find("", mark, 0) is None


def test_the_number_of_sessions_and_addresses_is_bounded() -> None:
    sessions, tries = Sessions(), Tries()
    for number in range(api_sessions.MAX_ADDRESSES + 1):
        sessions.begin(str(number), Who(), None, 0)
        tries.failed(str(number), 0)
    assert len(sessions._known) == api_sessions.MAX_SESSIONS
    assert len(tries._left) == api_sessions.MAX_ADDRESSES


def test_a_cookie_over_tls_is_sent_by_tls_alone() -> None:
    assert "Secure" in api_sessions.cookie("t", "/api", True)[1].split("; ")
    assert "Secure" not in api_sessions.cookie("t", "/api", False)[1].split("; ")
    assert "Path=/api" in api_sessions.cookie("t", "/api", False)[1].split("; ")
