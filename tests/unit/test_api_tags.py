"""Entity tags: of two people who change one object the second one notices it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.api_tags import Tags
from lib.config_schema import Router
from tests.support.api import Api, process

TEXT = """\
services: [{name: s, addr: '127.0.0.1:PORT', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}]
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}, {name: t}]
api: {addr: 'unix:///tmp/e-PORT.sock'}
"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with process(tmp_path / "gost.yml", TEXT) as made:
        yield made


def tag(api: Api, path: str) -> str:
    return api.ask("GET", path).headers["etag"]


def put(api: Api, name: str, gateway: str, match: str | None = None) -> int:
    body = {"routes": [{"dst": "10.0.0.0/8", "gateway": gateway}]}
    headers = {} if match is None else {"If-Match": match}
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
    headers = {"If-Match": version}
    assert api.ask("POST", "/config/limiters", {"name": "l"}, headers=headers).status == 200
    assert api.ask("POST", "/config/limiters", {"name": "m"}, headers=headers).status == 412
    assert put(api, "r", "g", version) == 412


def test_a_tag_tells_nothing_of_a_secret_without_the_key() -> None:
    assert Tags(b"1").of_object(Router(name="r")) != Tags(b"2").of_object(Router(name="r"))
