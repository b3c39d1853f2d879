"""Reads of GOST's web API: what a real GOST has answered (tests/data/web_api.json), and hidden secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import yaml

from lib import service_scheduling
from lib.api_config import KINDS
from tests.support.api import Api, process
from tests.support.netns import ROOT
from tests.support.opcodes import counted

RECORDED: list[dict[str, Any]] = json.loads((ROOT / "tests/data/web_api.json").read_text())
READS = [call for call in RECORDED[:8] if call["method"] == "GET"]

GOST = json.dumps({key: value for key, value in RECORDED[0]["json"].items() if key != "metrics"})
"""The configuration that the real GOST had."""

SECRETS = """\
services:
- {name: s, addr: '127.0.0.1:PORT', handler: {type: router, auther: a, metadata: {router: r}},
   listener: {type: tcp}, metadata: {postUp: ['/bin/true s3cret-h']}}
authers: [{name: a, auths: [{username: u, password: s3cret-1}, {username: v, passwords: [s3cret-2, s3cret-3]}]}]
routers:
- {name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}
- {name: h, reload: 90s, http: {url: 'http://x:s3cret-4@127.0.0.1:1/?token=s3cret-5'}}
- {name: p, plugin: {type: http, addr: 'http://127.0.0.1:1', token: s3cret-6}}
notify: [{url: 'http://127.0.0.1:1/s3cret-9', headers: {Authorization: s3cret-7}}]
api: {addr: 'unix:///tmp/e-PORT.sock', auth: {username: admin, password: s3cret-8}}
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, str]]:
    """The process, and the port that its hub has instead of 18444."""
    config = json.loads(GOST)
    del config["services"][0]["status"]
    config["api"]["addr"] = f"unix://{tmp_path_factory.mktemp('api')}/api.sock"
    text = json.dumps(config).replace("18444", "PORT")
    with process(tmp_path_factory.mktemp("config") / "gost.json", text) as api:
        port = api.parts.settings.hubs[0].port
        yield api, str(port)


def same(found: Any, port: str) -> Any:
    """What differs from run to run made the same."""
    text = json.dumps(found).replace(port, "18444")
    found = json.loads(text)
    for place in (found, found.get("data") or {}):
        place.pop("metrics", None)
        place.pop("api", None)
        for service in place.get("services") or place.get("list") or []:
            status = service.get("status", {})
            for timed in (status, *status.get("events", ())):
                for key in {"createTime", "time"} & set(timed):
                    timed[key] = 0
    return found


@pytest.mark.parametrize("call", READS, ids=lambda call: str(call["path"]))
def test_a_read_is_answered_as_by_a_real_gost(call: dict[str, Any], recorded: tuple[Api, str]) -> None:
    api, port = recorded
    answer = api.ask(call["method"], call["path"])
    assert answer.status == call["status"]
    assert answer.headers["content-type"] == call["content_type"]
    if "json" in call:
        assert same(answer.json, port) == same(call["json"], "18444")
    else:
        assert same(yaml.safe_load(answer.body), port) == same(yaml.safe_load(call["text"]), "18444")


def test_what_is_not_there(recorded: tuple[Api, str]) -> None:
    api, _ = recorded
    [nope] = [call for call in RECORDED if call["path"] == "/nope"]
    answer = api.ask("GET", "/nope")
    assert (answer.status, answer.headers["content-type"]) == (nope["status"], nope["content_type"])
    assert answer.body.decode() == nope["text"]
    assert api.ask("GET", "/config/nope").status == 404
    assert api.ask("GET", "/config?format=xml").json["code"] == 40001
    head = api.ask("HEAD", "/config")
    assert (head.status, head.body) == (200, b"")


def test_every_answer_has_the_headers_that_keep_a_browser_safe(recorded: tuple[Api, str]) -> None:
    api, _ = recorded
    for path in ("/config", "/nope"):
        headers = api.ask("GET", path).headers
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    assert api.ask("GET", "/config", headers={"Host": "evil.example"}).status == 403


@pytest.fixture(scope="module")
def secretive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with process(tmp_path_factory.mktemp("config") / "gost.yml", SECRETS) as api:
        # What the log says of sources that cannot be read is said here, and not in the middle of another test.
        with gevent.Timeout(10):
            while any(live.feed.untried for _, live in api.parts.tables.all()):
                gevent.sleep(0.01)
        yield api


def test_no_read_tells_a_secret(secretive: Api) -> None:
    paths = ["/config", "/config?format=yaml"]
    paths += [f"/config/{kind}" for kind in KINDS]
    paths += [
        f"/config/{kind}/{name}" for kind, name in (("authers", "a"), ("routers", "h"), ("services", "s"))
    ]
    for path in paths:
        answer = secretive.ask("GET", path, login="admin:s3cret-8")
        assert answer.status == 200
        assert b"s3cret" not in answer.body, path
    shown = secretive.ask("GET", "/config/authers/a", login="admin:s3cret-8").json["data"]["auths"]
    assert shown[0] == {"username": "u", "password": "***"}


def test_durations_are_nanoseconds_in_json_and_go_s_in_yaml(secretive: Api) -> None:
    login = "admin:s3cret-8"
    assert secretive.ask("GET", "/config/routers/h", login=login).json["data"]["reload"] == 90_000_000_000
    written = yaml.safe_load(secretive.ask("GET", "/config?format=yaml", login=login).body)
    assert written["routers"][1]["reload"] == "1m30s"


@pytest.mark.parametrize("login", ["", "admin:", "admin:s3cret-9", "u:s3cret-1"])
def test_a_wrong_login_reads_nothing(secretive: Api, login: str) -> None:
    answer = secretive.ask("GET", "/config", login=login)
    assert answer.status == 401
    assert answer.json == {"code": 401, "msg": "Unauthorized"}
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert secretive.ask("GET", "/nope", login=login).status == 401


def test_a_list_costs_each_service_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is known: some instructions for its state, and for its tag. A thousand of them take 0.01 s."""
    monkeypatch.setattr(service_scheduling, "WORK_SECONDS", float("inf"))  # pauses come by the clock

    def cost(count: int) -> int:
        hub = "- {name: s%d, addr: '127.0.0.1:0', handler: {type: router}, listener: {type: tcp}}"
        text = "services:\n" + "\n".join(hub % number for number in range(count))
        text += "\nlog: {level: error}\napi: {addr: 'unix:///tmp/l-PORT.sock'}\n"
        with process(tmp_path / f"{count}.yml", text) as api:
            return min(counted(lambda: api.ask("GET", "/config/services")) for _ in range(4))

    few, many = cost(10), cost(30)
    assert (many - few) / 20 < 1000


def test_a_slash_too_much_leads_to_the_path(secretive: Api) -> None:
    """As in GOST: 301 for a read, 307 for all else; who has no login is told of no path."""
    login = "admin:s3cret-8"
    for method, status in (("GET", 301), ("PUT", 307), ("DELETE", 307)):
        answer = secretive.ask(method, "/config/routers/r%20x/?a=b", login=login)
        assert (answer.status, answer.headers["location"]) == (status, "/config/routers/r%20x?a=b")
    assert secretive.ask("GET", "/config///", login=login).headers["location"] == "/config"
    assert secretive.ask("GET", "/nope/", login=login).status == 404
    assert secretive.ask("GET", "/x/hosts/", login=login).status == 404, (
        "as the document of our own paths says"
    )
    assert secretive.ask("GET", "/%2Fevil.example/", login=login).status == 404
    assert secretive.ask("PUT", "/config/", login=login).status == 404
    assert secretive.ask("GET", "/config/").status == 401


def test_a_big_router_is_read_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every other answer, and no printer has more of it at once than some dozens of values."""
    routes = [{"dst": f"10.{n >> 8}.{n & 255}.0/24", "gateway": "g"} for n in range(2000)]
    text = json.dumps({"routers": [{"name": "r", "routes": routes}], "api": {"addr": f"unix://{tmp_path}/a"}})
    with process(tmp_path / "gost.json", text) as api:
        biggest: list[int] = []

        def dump(*values: Any, **options: Any) -> Any:
            biggest.append(len(repr(values[0])))
            return printer(*values, **options)

        printer = yaml.dump
        monkeypatch.setattr(yaml, "dump", dump)
        written = yaml.safe_load(api.ask("GET", "/config?format=yaml").body)
        assert written["routers"][0]["routes"] == routes
        assert len(biggest) > 20
        assert max(biggest) < 5000
        single = api.ask("GET", "/config/routers/r")
        assert single.headers["content-type"].startswith("application/json")
        assert single.json == {"data": {"name": "r", "routes": routes}}
        assert api.ask("GET", "/config/routers").json["data"]["list"] == [single.json["data"]]
        assert api.ask("GET", "/config").json["routers"] == [single.json["data"]]
        headers = {"If-Match": single.headers["etag"]}
        for status in (200, 412):
            body = {"routes": routes[1:]}
            assert api.ask("PUT", "/config/routers/r", body, headers=headers).status == status
