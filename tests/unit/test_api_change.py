"""Changes by GOST's web API: what a real GOST has answered (tests/data/web_api.json), and where ours is stricter."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lib import api_change, api_config, config_read, config_resolve, doctor_redact
from lib.api_request import Refused
from lib.config_schema import Config, Plugin, Router
from lib.errors import ConfigError
from tests.support.api import Api, free_port, process
from tests.support.netns import ROOT

RECORDED: list[dict[str, Any]] = json.loads((ROOT / "tests/data/web_api.json").read_text())
CHANGES = RECORDED[8:]

BASE = """\
services:
- {name: s, addr: '127.0.0.1:PORT', handler: {type: router, auther: a, metadata: {router: r, ingress: i}},
   listener: {type: tcp}}
authers: [{name: a, auths: [{username: u, password: s3cret-1}, {username: v, password: s3cret-2}]}]
ingresses: [{name: i, rules: [{hostname: h, endpoint: e87f56dd-fd57-4921-9ab8-a0847662daae}]}]
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
api: {addr: 'unix:///tmp/e-PORT.sock', auth: {username: admin, password: p}}
"""
LOGIN = "admin:p"
ROUTER = {"name": "r1", "routes": [{"dst": "10.0.0.0/8", "gateway": "g"}]}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with process(tmp_path / "gost.yml", BASE) as made:
        yield made


def ask(api: Api, method: str, path: str, body: object = None, status: int = 200) -> Any:
    """What is answered to an administrator, as JSON."""
    answer = api.ask(method, path, body, login=LOGIN)
    assert answer.status == status, answer.body
    return answer.json


def hub(name: str, port: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "addr": f"127.0.0.1:{port}",
        "handler": {"type": "router", "metadata": {"router": "r"}, **more},
        "listener": {"type": "tcp"},
    }


OURS = {
    "create service s9 failed: unknown handler: bogus": "create service s9 failed: unknown handler type 'bogus'",
    "router name is required": "the body is not JSON",
}
"""GOST's message -> ours, where it says more."""


def test_changes_are_answered_as_by_a_real_gost_in_order(api: Api) -> None:
    """Where GOST has leaked the port of a service that it could not make, ours is held by somebody else."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for call in CHANGES:
            body = call["body"]
            if isinstance(body, dict) and "addr" in body:
                metadata = {"metadata": {"router": "r"}} if body["handler"]["type"] == "router" else {}
                body = {**body, "addr": f"127.0.0.1:{port}", "handler": {**body["handler"], **metadata}}
            answer = api.ask(call["method"], call["path"], body, login=LOGIN)
            said = (call["method"], call["path"], answer.body)
            assert answer.status == call["status"], said
            assert answer.headers["content-type"] == call["content_type"]
            if "text" in call:
                assert answer.body.decode() == call["text"]
                continue
            expected = call["json"]
            assert answer.json.get("code") == expected.get("code"), said
            if "address already in use" in expected.get("msg", ""):
                assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in answer.json["msg"]
            elif call["body"] == "{bad" or "bogus" in expected.get("msg", ""):
                assert OURS[expected["msg"]] in answer.json["msg"]
            else:
                assert answer.json == expected, said


def test_a_service_is_there_at_once_and_gone_at_once(api: Api) -> None:
    port = free_port()
    ask(api, "POST", "/config/services", hub("t", port))
    socket.create_connection(("127.0.0.1", port), 5).close()
    status = ask(api, "GET", "/config/services/t")["data"]["status"]
    assert status["state"] == "ready"
    assert status["events"][-1]["msg"] == f"service t is listening on 127.0.0.1:{port}"
    ask(api, "DELETE", "/config/services/t")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    assert [service.name for service in api.changes.config.services] == ["s"]


def test_a_service_with_stats_tells_them(api: Api) -> None:
    port = free_port()
    ask(api, "POST", "/config/services", {**hub("t", port), "metadata": {"enableStats": True}})
    assert "stats" not in ask(api, "GET", "/config/services/s")["data"]["status"]
    assert ask(api, "GET", "/config/services/t")["data"]["status"]["stats"] == {
        "totalConns": 0,
        "currentConns": 0,
        "totalErrs": 0,
        "inputBytes": 0,
        "outputBytes": 0,
    }


def test_an_sd_comes_and_goes_by_the_api(api: Api) -> None:
    assert ask(api, "GET", "/config/sds") == {"data": {"count": 0, "list": None}}
    sd = {"name": "x", "plugin": {"addr": "127.0.0.1:1", "token": "geheim"}}
    assert ask(api, "POST", "/config/sds", sd) == {"msg": "OK"}
    shown = ask(api, "GET", "/config/sds/x")["data"]
    assert shown["plugin"]["addr"] == "127.0.0.1:1"
    assert "geheim" not in json.dumps(shown)
    said = ask(api, "POST", "/config/sds", {"name": "y"}, 500)
    assert (
        "create sd y failed: sd y has no plugin and no redis: nobody would know where hosts are"
        in said["msg"]
    )
    assert ask(api, "DELETE", "/config/sds/x") == {"msg": "OK"}


@pytest.mark.parametrize(
    ("method", "path", "body", "why"),
    [
        ("PUT", "/config/services/s", {"addr": "127.0.0.1", "handler": {"type": "router"}}, "'addr'"),
        ("PUT", "/config/services/s", hub("s", 1, auther="b"), "there is no auther 'b'"),
        ("PUT", "/config/services/s", hub("s", 0, authr="a"), "unknown key 'authr'"),
        (
            "POST",
            "/config/routers",
            {"name": "x", "routes": [{"dst": "10.0.0.0/33", "gateway": "g"}]},
            "10.0.0.0/33",
        ),
        ("PUT", "/config/routers/r", {"reload": "soon"}, "'reload'"),
        ("PUT", "/config/routers/r", [1], "no object"),
    ],
)
def test_what_is_wrong_changes_nothing_and_is_told(
    api: Api, method: str, path: str, body: object, why: str
) -> None:
    """GOST closes a service before it reads what comes in its place."""
    before, hubs = api.changes.config, dict(api.parts.hubs)
    said = api.ask(method, path, body, login=LOGIN)
    assert said.status in (400, 500)
    assert why in said.json["msg"]
    assert api.changes.config is before
    assert api.parts.hubs == hubs
    assert api.parts.hubs["s"].listens


def test_a_change_that_this_host_does_not_allow_is_taken_back(api: Api) -> None:
    port = api.parts.hubs["s"].settings.port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = ask(api, "PUT", "/config/services/s", hub("s", taken.getsockname()[1]), 500)
    assert said["code"] == 40003
    assert "Address already in use" in said["msg"]
    assert api.parts.hubs["s"].settings.port == port
    socket.create_connection(("127.0.0.1", port), 5).close()


@pytest.mark.parametrize(("seconds", "written"), [(90, 90_000_000_000), (90, "1m30s")])
def test_a_duration_is_a_number_of_nanoseconds_or_a_text(api: Api, seconds: int, written: object) -> None:
    """GOST reads a text as 0, without a word."""
    ask(api, "PUT", "/config/routers/r", {"reload": written})
    [table] = api.parts.settings.tables
    assert table.more.reload == seconds
    assert ask(api, "GET", "/config/routers/r")["data"]["reload"] == seconds * 10**9


@pytest.mark.parametrize(
    ("kind", "noun", "name", "user"),
    [
        ("routers", "router", "r", "service s"),
        ("authers", "auther", "a", "service s"),
        ("ingresses", "ingress", "i", "service s"),
    ],
)
def test_what_another_object_names_is_not_deleted(
    api: Api, kind: str, noun: str, name: str, user: str
) -> None:
    said = ask(api, "DELETE", f"/config/{kind}/{name}", status=400)
    assert said["code"] == 40001
    assert f"{noun} {name} is used by {user}: take it out there first" in said["msg"]
    assert "GOST deletes it all the same" in said["msg"]


def test_what_was_read_may_be_sent_back_without_its_hidden_secrets(api: Api) -> None:
    read = ask(api, "GET", "/config/authers/a")["data"]
    assert read["auths"][0]["password"] == "***"
    read["auths"].reverse()
    read["auths"].append({"username": "w", "password": "new"})
    ask(api, "PUT", "/config/authers/a", read)
    [auther] = api.changes.config.authers
    assert {login.username: login.password for login in auther.auths} == {
        "u": "s3cret-1",
        "v": "s3cret-2",
        "w": "new",
    }
    said = ask(api, "PUT", "/config/authers/a", {"auths": [{"username": "x", "password": "***"}]}, 400)
    assert "*** hides a value" in said["msg"]


def test_a_service_is_sent_back_with_its_status(api: Api) -> None:
    read = ask(api, "GET", "/config/services/s")["data"]
    assert "status" in read
    ask(api, "PUT", "/config/services/s", read)
    assert ask(api, "GET", "/config/services/s")["data"]["handler"] == read["handler"]


def test_the_files_count_again_when_they_are_read_again(api: Api) -> None:
    ask(api, "POST", "/config/routers", ROUTER)
    version = api.changes.version
    api.changes.reload(timed=True)  # -R, while the files are what they were
    assert ask(api, "GET", "/config/routers/r1")["data"]
    assert api.changes.version == version
    ask(api, "POST", "/config/reload")
    assert ask(api, "GET", "/config/routers/r1") == {"data": None}
    assert api.changes.version == version + 1


def test_a_file_with_a_mistake_changes_nothing(api: Api, tmp_path: Path) -> None:
    (tmp_path / "gost.yml").write_text("services: 7\n")
    said = ask(api, "POST", "/config/reload", status=500)
    assert said["code"] == 40003
    assert "nothing was changed" in said["msg"]
    assert ask(api, "GET", "/config/services/s")["data"]


def test_the_api_itself_is_changed_by_its_files_alone(api: Api, tmp_path: Path) -> None:
    """A reload with other logins counts for the next request."""
    text = (tmp_path / "gost.yml").read_text()
    (tmp_path / "gost.yml").write_text(text.replace("password: p}", "password: q}"))
    ask(api, "POST", "/config/reload")
    assert api.ask("GET", "/config", login=LOGIN).status == 401
    assert api.ask("GET", "/config", login="admin:q").status == 200


def test_references_keep_the_form_in_which_they_were_written(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret-9")
    body = {"name": "b", "auths": [{"username": "u", "password": "${env:SECRET}"}]}
    ask(api, "POST", "/config/authers", body)
    ask(api, "POST", "/config/routers", ROUTER)
    assert api.changes.config.authers[1].auths[0].password == "${env:SECRET}"


def revealed(new: object, old: object) -> object:
    return api_change.revealed(new, old, doctor_redact.tree(old))


def test_a_hidden_value_is_the_one_of_the_same_name() -> None:
    old = {
        "token": "t",
        "url": "http://u:p@h/",
        "auths": [{"username": "u", "password": "1"}, {"username": "v", "passwords": ["2", "3"]}],
    }
    assert revealed(doctor_redact.tree(old), old) == old
    assert revealed({"Token": "***"}, old) == {"Token": "t"}
    assert revealed({"auths": [{"username": "v", "passwords": ["***", "***", "4"]}]}, old) == {
        "auths": [{"username": "v", "passwords": ["2", "3", "4"]}]
    }
    for wrong in (
        {"password": "***"},
        {"auths": [{"username": "w", "password": "***"}]},
        {"url": "http://***@other/"},
        {"more": "a***"},
    ):
        with pytest.raises(Refused, match="none is known here"):
            revealed(wrong, old)


@pytest.mark.parametrize(
    "kept", [["***"], ["***", "4"], ["4", "***"], ["***", "***", "***"], ["4", "5", "***"]], ids=str
)
def test_of_two_hidden_passwords_none_is_guessed(kept: list[str]) -> None:
    """Who takes the first one out and adds another sends what somebody does who replaces the second one."""
    with pytest.raises(Refused, match="none is known here for certain"):
        revealed({"passwords": kept}, {"passwords": ["1", "2"]})


def test_items_without_a_name_are_known_by_how_they_look() -> None:
    old: dict[str, Any] = {
        "nodes": [{"addr": "a", "token": "1"}, {"addr": "b", "token": "2"}],
        "header": {"X": 77},
    }
    a, b = {"addr": "a", "token": "***"}, {"addr": "b", "token": "***"}
    assert revealed({"nodes": [b]}, old) == {"nodes": [old["nodes"][1]]}
    assert revealed({"nodes": [b, {"addr": "c"}, a]}, old) == {
        "nodes": [{"addr": "b", "token": "2"}, {"addr": "c"}, {"addr": "a", "token": "1"}]
    }
    assert revealed({"nodes": [{**a, "addr": "c"}, b]}, old) == {
        "nodes": [{"addr": "c", "token": "1"}, {"addr": "b", "token": "2"}]
    }
    assert revealed({"header": {"X": "***"}}, old) == {"header": {"X": 77}}
    with pytest.raises(Refused):
        revealed({"nodes": [{**b, "addr": "c"}]}, old)


def test_of_two_items_with_one_name_none_is_guessed() -> None:
    old = {"auths": [{"username": "u", "password": "1"}, {"username": "u", "password": "2"}]}
    assert revealed(doctor_redact.tree(old), old) == old
    with pytest.raises(Refused):
        revealed({"auths": [{"username": "u", "password": "***"}]}, old)


@pytest.mark.parametrize("url", ["htps://u:s3cret@h/l", "u:s3cret@h", f"http://u:{'s3cret' * 20}@h/#x"])
def test_what_is_told_of_a_wrong_url_holds_no_login(url: str) -> None:
    text = json.dumps({"routers": [{"name": "x", "http": {"url": url}}]})
    with pytest.raises(ConfigError) as found:
        config_resolve.resolve(config_read.read([("x.json", text)]), lambda kind, name: "")
    for told in (api_change.told(found.value.problems), str(found.value)):
        assert "s3cret" not in told
        assert "***@h" in told


def test_a_big_router_is_read_in_steps() -> None:
    """However long it is: a step after each little piece, of every part of the work."""
    steps: list[None] = []
    routes = [{"dst": f"10.0.{number}.0/24", "gateway": "g"} for number in range(200)]
    body = {"name": "r", "routes": routes}
    _, section = api_change.added(Config(), api_config.KINDS["routers"], body, partial(steps.append, None))
    assert isinstance(section, Router)
    first = len(steps)
    assert first > 200 * 7, "a route and its two texts twice, and once more"
    section.plugin = Plugin(type="http", addr="http://h", token="t")
    hiding = {**body, "plugin": {"type": "http", "addr": "http://h", "token": "***"}}
    _, section = api_change.replaced(
        Config(routers=[section]), api_config.KINDS["routers"], "r", hiding, partial(steps.append, None)
    )
    assert isinstance(section, Router)
    assert section.plugin is not None
    assert section.plugin.token == "t"
    assert len(steps) - first > 200 * 10, "and what it was before"


def test_a_body_is_nested_no_deeper_than_a_file() -> None:
    deep: Any = "x"
    for _ in range(50):
        deep = [deep]
    with pytest.raises(Refused, match="nested deeper than 40"):
        api_change.tree_of(deep, "x")


@pytest.mark.parametrize(("before", "after"), [('{"a":', "}"), ("[", "]")])
@pytest.mark.parametrize("depth", [41, 600])
def test_a_body_that_is_nested_deep_is_refused_before_it_is_looked_into(
    before: str, after: str, depth: int
) -> None:
    """Deeper than Python itself would descend."""
    body = json.loads(f'{{"name": "r", "more": {before * depth}1{after * depth}}}')
    read = config_read.read([("x.json", '{"routers": [{"name": "r"}]}')])
    with pytest.raises(Refused, match="nested deeper than 40"):
        api_change.replaced(read, api_config.KINDS["routers"], "r", body)
