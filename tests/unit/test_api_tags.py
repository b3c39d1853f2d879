"""Entity tags: of two people who change one object the second one notices it."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import observe_stats
from lib.api_request import NOT_FOUND
from lib.api_status import States
from lib.api_tags import Tags, tags_in
from lib.config_schema import Router
from lib.observe_stats import Stats
from tests.support.api import Api, process
from tests.support.api_hubs import own_hubs

TEXT = """\
services: [{name: s, metadata: {enableStats: true}, addr: '127.0.0.1:PORT', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}]
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}, {name: t}]
api: {addr: 'unix:///tmp/e-PORT.sock'}
"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with process(tmp_path / "gost.yml", TEXT) as made:
        yield made


def tag(api: Api, path: str) -> str:
    return api.ask("GET", path).headers["etag"]


def put(api: Api, name: str, gateway: str, match: str | None = None, none_match: str = "") -> int:
    body = {"routes": [{"dst": "10.0.0.0/8", "gateway": gateway}]}
    headers = {} if match is None else {"If-Match": match}
    headers |= {"If-None-Match": none_match} if none_match else {}
    return api.ask("PUT", f"/config/routers/{name}", body, headers=headers).status


def test_a_change_of_what_has_been_changed_meanwhile_is_refused(api: Api) -> None:
    first = tag(api, "/config/routers/r")
    assert put(api, "t", "other") == 200
    assert tag(api, "/config/routers/r") == first
    assert put(api, "r", "mine", f'"x", {first}') == 200
    assert put(api, "r", "yours", first) == 412
    assert api.ask("DELETE", "/config/routers/t", headers={"If-Match": first}).status == 412
    assert put(api, "r", "anybody", "*") == 200
    assert put(api, "r", "anybody") == 200


def test_the_version_of_the_whole_fits_until_anything_changes(api: Api) -> None:
    version = tag(api, "/config")
    assert tag(api, "/config?format=yaml") == tag(api, "/config/services") == version
    assert version.startswith(tag(api, "/config/routers")[:-1])
    headers = {"If-Match": version}
    assert api.ask("POST", "/config/limiters", {"name": "l"}, headers=headers).status == 200
    assert api.ask("POST", "/config/limiters", {"name": "m"}, headers=headers).status == 412
    assert put(api, "r", "g", version) == 412
    assert api.ask("POST", "/config", headers=headers).status == 412
    assert api.ask("POST", "/config/reload", headers=headers).status == 412
    now = {"If-Match": tag(api, "/config")}
    assert api.ask("POST", "/config/reload", headers=now).status == 200


READS = ("/config", "/config?format=yaml", "/config/routers", "/config/routers/r", "/config/services/s")


@pytest.mark.parametrize("path", READS)
def test_who_has_what_they_read_already_is_told_so(api: Api, path: str) -> None:
    """RFC 9110, 13.1.2: tags are compared weakly, as a proxy that compresses makes them weak."""
    own = tag(api, path)
    for known in (own, f"W/{own}", f'"other",{own}', "*"):
        answer = api.ask("GET", path, headers={"If-None-Match": known})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", own), known
    for other in ('"other"', own.strip('"'), "", "other, W/"):
        assert api.ask("GET", path, headers={"If-None-Match": other}).status == 200, other
    assert api.ask("HEAD", path, headers={"If-None-Match": own}).status == 304
    assert api.ask("GET", path, headers={"If-Match": own}).status == 200
    assert api.ask("GET", path, headers={"If-Match": '"other"'}).status == 412
    routes = [{"dst": "10.0.0.0/8", "gateway": "other"}]
    assert api.ask("PUT", "/config/routers/r", {"routes": routes}).status == 200
    changed = api.ask("GET", path, headers={"If-None-Match": own})
    assert changed.status == (304 if path == "/config/services/s" else 200)


def test_what_nobody_has_is_not_known(api: Api) -> None:
    answer = api.ask("GET", "/config/routers/none", headers={"If-None-Match": "*"})
    assert (answer.status, answer.json) == (200, {"data": None})


@pytest.mark.parametrize("path", ["/config", "/config/services", "/config/services/s"])
def test_a_service_that_does_something_is_another_answer_and_no_other_object(
    api: Api, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tag(api, path)
    held = Stats(total_conns=1)
    monkeypatch.setattr(observe_stats, "of_hub", lambda hub: held)
    answer = api.ask("GET", path, headers={"If-None-Match": before})
    assert answer.status == 200
    assert answer.headers["etag"] != before
    assert b'"totalConns":1' in answer.body
    body = api.ask("GET", "/config/services/s").json["data"]
    assert api.ask("PUT", "/config/services/s", body, headers={"If-Match": before}).status == 200


def test_what_thousands_of_services_do_gives_the_collector_nothing_to_look_at() -> None:
    """As dicts they made it look at everything in one step of 60 ms, in which no packet passed."""
    hubs = own_hubs()
    gc.collect()
    before = len(gc.get_objects())
    states = States(hubs, map(str, range(2000)), lambda: None)
    assert len(gc.get_objects()) - before < 100
    assert json.loads(states.of("7") or b"")["state"] == "failed"


@pytest.mark.parametrize("known", ["*", "TAG", "W/TAG"])
def test_a_change_of_what_shall_not_be_there_is_refused(api: Api, known: str) -> None:
    """RFC 9110, 13.1.2: what is there is not replaced; where there is nothing GOST's answer stays."""
    requests: list[tuple[str, str, Any, str]] = [
        ("PUT", "/config/routers/r", {"routes": []}, "/config/routers/r"),
        ("DELETE", "/config/routers/t", None, "/config/routers/t"),
        ("POST", "/config/routers", {"name": "u"}, "/config/routers"),
        ("POST", "/config", None, "/config"),
        ("POST", "/config/reload", None, "/config"),
    ]
    before = api.ask("GET", "/config/routers").body
    for method, path, body, of in requests:
        headers = {"If-None-Match": known.replace("TAG", tag(api, of))}
        answer = api.ask(method, path, body, headers=headers)
        assert answer.status == 412, path
        assert "If-None-Match" in answer.json["msg"]
        assert api.ask("PUT", "/config/routers/none", {}, headers=headers).json["code"] == NOT_FOUND
    assert api.ask("GET", "/config/routers").body == before
    assert put(api, "r", "g", None, none_match='"other"') == 200


def test_a_weak_tag_changes_nothing(api: Api) -> None:
    """RFC 9110, 13.1.1: If-Match compares strongly."""
    assert put(api, "r", "g", f"W/{tag(api, '/config/routers/r')}") == 412


def test_lists_fit_any(api: Api) -> None:
    """A list is there, also where nothing is in it."""
    assert api.ask("POST", "/config/limiters", {"name": "l"}, headers={"If-Match": "*"}).status == 200


@given(st.text(alphabet='W/"*, a\\.é', max_size=60))
def test_any_header_is_read(header: str) -> None:
    strong, weak = tags_in(header, weak=False), tags_in(header, weak=True)
    assert strong <= weak
    assert all(one == "*" or one[0] == one[-1] == '"' for one in weak)


def test_a_long_header_is_read_in_one_pass() -> None:
    """Each letter is looked at once or twice: so a header as long as the server takes costs no time."""
    header = " " * 32_000 + "W/" * 8000 + '"a"'
    assert tags_in(header, weak=True) == {'"a"'}


def test_a_tag_tells_nothing_of_a_secret_without_the_key() -> None:
    assert Tags(b"1").of_object(Router(name="r")) != Tags(b"2").of_object(Router(name="r"))
