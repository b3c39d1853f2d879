"""The endpoints below /x/ and the changes of GOST's API in a whole process: roles, the log, confirmations, saves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from lib import api_server, service_reload
from tests.support.api import Answer, Api, process
from tests.support.netns import ROOT

NS = "e87f56dd-fd57-4921-9ab8-a0847662daae"
TEXT = f"""
services:
- name: hub
  addr: 127.0.0.1:PORT
  handler: {{type: router, metadata: {{router: r, enrol: ENROL}}}}
  listener: {{type: tls, tls: {{certFile: TLS/cert.pem, keyFile: TLS/key.pem}}}}
routers:
- name: r
  routes: [{{dst: 10.0.0.0/24, gateway: a}}]
- name: {NS}
  routes: [{{dst: 10.0.7.0/24, gateway: t}}]
api:
  addr: unix://SOCK
  users:
  - {{username: ada, password: s3cret}}
  - {{username: eve, password: s3cret, role: viewer}}
  - {{username: ten, password: s3cret, role: tenant, namespace: {NS}}}
"""
ADA, EVE, TEN = "ada:s3cret", "eve:s3cret", "ten:s3cret"
HEAD = {"X-Tunrouter": "1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hub.yml"


def text_of(place: Path) -> str:
    """The configuration, with what it writes in a directory."""
    text = TEXT.replace("SOCK", f"{place}/api.sock").replace("ENROL", f"{place}/hosts.json")
    return text.replace("TLS", f"{ROOT}/tests/data/tls")


@pytest.fixture
def api(file: Path, tmp_path: Path) -> Iterator[Api]:
    with process(file, text_of(tmp_path)) as made:
        yield made


def ask(api: Api, path: str, login: str = ADA, method: str = "GET", body: Any = None, **head: str) -> Answer:
    return api.ask(method, path, body, login, {**HEAD, **head})


def post(api: Api, path: str, body: Any, login: str = ADA) -> Answer:
    return ask(api, path, login, "POST", body)


def routes(api: Api) -> list[str]:
    return [row["prefix"] for row in ask(api, "/x/routes").json["rows"]]


ROUTER = {"name": "r", "routes": [{"dst": "10.0.9.0/24", "gateway": "b"}]}


def test_every_role_gets_what_is_its_own(api: Api) -> None:
    assert ask(api, "/x/hosts", "").status == 401
    assert [ask(api, "/x/status", login).status for login in (ADA, EVE, TEN)] == [200, 200, 403]
    assert [ask(api, "/x/config", login).status for login in (ADA, EVE, TEN)] == [200, 200, 403]
    assert [ask(api, "/x/routes", login).json["total"] for login in (ADA, EVE, TEN)] == [2, 2, 1]
    assert ask(api, "/x/routes?ns=00000000-0000-0000-0000-000000000000", TEN).status == 403
    assert [post(api, "/x/hosts/1/kick", {}, login).status for login in (ADA, EVE, TEN)] == [404, 403, 404]
    assert "s3cret" not in ask(api, "/x/config").json["text"]
    assert ask(api, "/x/openapi.json", EVE).json["openapi"] == "3.1.0"


def test_a_change_without_the_header_of_ours_is_refused(api: Api) -> None:
    answer = api.ask("POST", "/x/revoke", {"host": "a"}, ADA)
    assert (answer.status, "X-Tunrouter" in answer.json["msg"]) == (403, True)


def test_what_cannot_be_read_is_said(api: Api) -> None:
    wrong = ask(api, "/x/trace?filter=hots")
    assert (wrong.status, set(wrong.json)) == (400, {"code", "msg", "hint"})
    assert ask(api, "/x/explain?from=a").json["msg"].startswith("to is missing")
    assert ask(api, "/x/routes?limit=0").status == 400
    assert post(api, "/x/revoke", {"host": "a", "al": True}).status == 400
    assert post(api, "/x/revoke", []).status == 400


def test_hosts_join_and_go_by_the_api_and_the_log_has_it(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    asked = {"host": "new", "address": "192.0.2.1:8443"}
    assert post(api, "/x/invite", asked, EVE).status == 403
    answer = post(api, "/x/invite", asked)
    assert (answer.status, answer.json.get("host")) == (200, "new"), answer.body
    line = answer.json["line"]
    assert post(api, "/x/invite", {**asked, "ns": NS}, TEN).json["namespace"] == NS
    assert post(api, "/x/invite", {**asked, "ns": "00000000-0000-0000-0000-000000000000"}, TEN).status == 403
    assert [len(ask(api, "/x/enrolled", login).json["invitations"]) for login in (ADA, TEN)] == [2, 1]
    assert post(api, "/x/revoke", {"host": "nobody"}).status == 409
    assert post(api, "/x/revoke", {"host": "new"}, TEN).json["hosts"] == 1
    assert [len(ask(api, "/x/enrolled", login).json["invitations"]) for login in (ADA, TEN)] == [1, 0]
    told = [text for text in caplog.messages if text.startswith("web API: ")]
    assert [text.split()[2] for text in told] == ["ada", "ten", "ten"]
    assert "invite host new" in told[0]
    assert line.split()[-1] not in caplog.text, "an invitation is a secret"


def test_without_a_login_no_login_is_made_or_taken_away(file: Path, tmp_path: Path) -> None:
    text = text_of(tmp_path).partition("  users:")[0]
    with process(file, text) as api:
        for path in ("/x/invite", "/x/revoke"):
            said = post(api, path, {"host": "a"}, "")
            assert said.status == 403
            assert "this API asks for none" in said.json["msg"]


def test_what_a_reload_would_change_and_the_reload(api: Api, file: Path) -> None:
    file.write_text(file.read_text().replace("10.0.0.0/24", "10.0.1.0/24"))
    found = ask(api, "/x/config/difference").json
    assert found["changes"] == [{"service": "", "kind": "changed", "lines": ["router r: routes +1 -1"]}]
    assert "10.0.0.0/24" in routes(api)
    assert post(api, "/x/config/reload", {"stamp": found["stamp"]}).json == {
        "applied": ["router r: routes +1 -1"]
    }
    assert "10.0.1.0/24" in routes(api)
    file.write_text(file.read_text().replace("type: router", "type: ruoter"))
    wrong = ask(api, "/x/config/difference").json
    assert wrong["problems"][0]["where"].startswith(f"{file}:")
    assert "10.0.1.0/24" in routes(api)


def test_to_look_at_a_difference_is_not_to_have_read_the_files(api: Api, file: Path) -> None:
    """A save compares with what the files had when they were used."""
    filed = api.changes.filed
    file.write_text(file.read_text().replace("10.0.7.0/24", "10.0.8.0/24"))
    assert ask(api, "/x/config/difference").json["differs"]
    assert api.changes.filed is filed


def test_a_change_that_nobody_confirms_is_undone(
    api: Api, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = file.read_text()
    answer = ask(api, "/config/routers/r?confirm=60s", method="PUT", body=ROUTER)
    assert (answer.status, answer.json["msg"]) == (200, "OK")
    assert "10.0.9.0/24" in routes(api)
    assert ask(api, "/x/confirm", EVE).json["pending"]["id"] == answer.json["confirm"]
    assert ask(api, "/config", method="POST").status == 409, "nothing is saved that nobody has confirmed"
    assert ask(api, "/config/routers/r", method="PUT", body=ROUTER).status == 409
    assert api.parts._confirmations is not None
    api.parts._confirmations._undo()  # what its clock does
    assert "10.0.0.0/24" in routes(api)
    assert ask(api, "/x/confirm").json == {"pending": None}
    assert "nobody has confirmed it" in caplog.text
    assert ask(api, "/config", method="POST").status == 200
    assert file.read_text() == before


def test_a_change_that_is_confirmed_stays(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert ask(api, "/config/routers/r?confirm=x", method="PUT", body=ROUTER).status == 400
    assert "10.0.0.0/24" in routes(api), "a wrong time has changed nothing"
    number = ask(api, "/config/routers/r?confirm=60s", method="PUT", body=ROUTER).json["confirm"]
    assert post(api, "/x/confirm", {"id": number}, EVE).status == 403
    assert post(api, "/x/confirm", {"id": number}).json == {"msg": "OK"}
    assert post(api, "/x/undo", {"id": number}).status == 409
    assert "10.0.9.0/24" in routes(api)
    told = [text for text in caplog.messages if "web API: ada (admin)" in text]
    assert "replace router r: router r: routes +1 -1" in told[0]


def test_one_who_has_moved_the_api_away_gets_it_back(api: Api, tmp_path: Path) -> None:
    """The clock runs on where the server that was asked is gone."""
    old = api.parts.settings
    number = ask(api, "/config/services/hub?confirm=60s", method="DELETE").json["confirm"]
    assert api.parts.hubs == {}
    server = api.parts.api
    assert server is not None
    server.stop()
    confirmations = api.parts._confirmations
    assert confirmations is not None
    pending = confirmations.pending
    assert pending is not None
    assert pending["id"] == number
    pending_one = confirmations._pending
    assert pending_one is not None
    confirmations.undo(pending_one.request, number)
    assert list(api.parts.hubs) == ["hub"]
    assert api.parts.settings is old


def test_a_change_that_moves_the_api_is_made_whole(
    api: Api, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The greenlet that is asked belongs to the server that goes, and what is changed takes longer than it has."""
    apply = service_reload._apply_services

    def slow(*about: Any) -> Any:
        gevent.sleep(0.15)
        return apply(*about)

    monkeypatch.setattr(api_server, "LAST_SECONDS", 0.05)
    monkeypatch.setattr(service_reload, "_apply_services", slow)
    file.write_text(file.read_text().replace("/api.sock", "/b.sock").replace("10.0.0.0/24", "10.0.1.0/24"))
    server = api.parts.api
    assert server is not None
    asked = server._server.pool.spawn(ask, api, "/config/reload?confirm=60s", method="POST")
    answer = asked.get(timeout=5)
    assert (answer.status, answer.json["msg"]) == (200, "OK")
    assert api.parts.api is not server
    assert "10.0.1.0/24" in routes(api)
    assert post(api, "/x/undo", {"id": answer.json["confirm"]}).status == 200
    assert api.parts.api is not None
    assert api.parts.api.settings.socket == f"{tmp_path}/api.sock"
    assert "10.0.0.0/24" in routes(api)


def test_of_two_changes_at_once_one_sees_that_the_other_one_waits(api: Api) -> None:
    asked = [
        gevent.spawn(ask, api, f"/config/routers/r?confirm={seconds}s", method="PUT", body=ROUTER)
        for seconds in (60, 50)
    ]
    gevent.joinall(asked, timeout=5)
    first, second = sorted((one.value for one in asked), key=lambda answer: answer.status)
    assert (first.status, second.status) == (200, 409)
    assert ask(api, "/x/confirm").json["pending"]["id"] == first.json["confirm"]
    assert ask(api, "/config/reload", method="POST").status == 409


def test_an_undo_that_has_waited_for_a_reload_puts_nothing_over_it(api: Api, file: Path) -> None:
    number = ask(api, "/config/routers/r?confirm=60s", method="PUT", body=ROUTER).json["confirm"]
    with api.changes.alone():
        undoing = gevent.spawn(post, api, "/x/undo", {"id": number})
        gevent.sleep(0.01)
        file.write_text(file.read_text().replace("10.0.0.0/24", "10.0.1.0/24"))
        assert api.changes.reload() == []  # as SIGHUP does
    answer = undoing.get(timeout=5)
    assert answer.status == 409
    assert "nothing to undo" in answer.json["msg"]
    assert "10.0.1.0/24" in routes(api)


def test_a_stream_of_hosts_over_the_server(api: Api) -> None:
    seq = ask(api, "/x/hosts").json["seq"]
    assert api.parts.api is not None
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/x/events",
        "QUERY_STRING": f"since={seq}",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_AUTHORIZATION": "Basic YWRhOnMzY3JldA==",
        "wsgi.url_scheme": "http",
        "tunrouter.local": "127.0.0.1",
    }
    begun: list[Any] = []
    events: Any = api.parts.api.app(environ, lambda status, headers: begun.append((status, dict(headers))))
    assert (begun[0][0], begun[0][1]["Content-Type"]) == ("200 OK", "text/event-stream")
    iterator = iter(events)
    assert next(iterator) == b": \n\n"
    with gevent.Timeout(5):
        event = next(iterator).decode()
    assert json.loads(event.splitlines()[2].removeprefix("data: "))["seq"] == seq + 1
    events.close()
