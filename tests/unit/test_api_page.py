"""The web page as the API's server gives it: files for everybody, who looks on, nothing about the hub for strangers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import __version__, page_files
from tests.support.api import Api, process

MINE = "e87f56dd-fd57-4921-9ab8-a0847662daae"
OPEN = """\
services: [{name: s, addr: '127.0.0.1:PORT', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}]
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
api: {addr: 'unix:///tmp/g-PORT.sock'PREFIX}
"""
USERS = f""", users: [{{username: adm, password: p}}, {{username: eve, password: p, role: viewer}},
  {{username: ten, password: p, role: tenant, namespace: {MINE}}}]"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """A process whose API asks for logins."""
    with process(tmp_path / "hub.yml", OPEN.replace("PREFIX", USERS)) as made:
        yield made


def test_the_page_and_its_files_are_for_everybody(api: Api) -> None:
    page = api.ask("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    script = api.ask("GET", "/page/main.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert api.ask("HEAD", "/page/main.js").body == b""
    for path in ("/page/nothing.js", "/page/../page_files.py", "/page/uplot/LICENSE"):
        assert api.ask("GET", path).status == 404, path


def test_a_browser_gets_files_compressed_and_keeps_them(api: Api) -> None:
    small = api.ask("GET", "/page/style.css", headers={"Accept-Encoding": "gzip, br"})
    assert small.headers["content-encoding"] == "gzip"
    whole = api.ask("GET", "/page/style.css")
    assert gzip.decompress(small.body) == whole.body
    assert len(small.body) < len(whole.body) / 3
    again = api.ask("GET", "/page/style.css", headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_stranger_learns_only_that_a_login_is_wanted(api: Api) -> None:
    told = api.ask("GET", "/x/me").json
    nothing: dict[str, object] = {
        "login": True,
        "user": None,
        "role": None,
        "namespace": None,
        "may": [],
        "cluster": False,
        "software": "",
        "title": "",
    }
    assert told == nothing
    assert api.ask("GET", "/x/me", login="adm:wrong").json == nothing


@pytest.mark.parametrize(
    ("user", "role", "namespace", "may"),
    [
        ("adm", "admin", None, ["kick", "drain", "reload", "trace"]),
        ("eve", "viewer", None, ["trace"]),
        ("ten", "tenant", MINE, ["kick", "drain", "trace"]),
    ],
)
def test_who_has_logged_in_sees_what_they_may_do(
    api: Api, user: str, role: str, namespace: str | None, may: list[str]
) -> None:
    told = api.ask("GET", "/x/me", login=f"{user}:p").json
    assert (told["user"], told["role"], told["namespace"], told["may"]) == (user, role, namespace, may)
    assert told["software"] == f"tunrouter {__version__}"
    assert told["title"]


def test_without_logins_everybody_who_reaches_it_is_the_administrator(tmp_path: Path) -> None:
    with process(tmp_path / "hub.yml", OPEN.replace("PREFIX", "")) as api:
        told = api.ask("GET", "/x/me").json
    assert (told["login"], told["user"], told["role"]) == (False, None, "admin")
    assert "reload" in told["may"]


def test_below_a_prefix_the_page_is_a_folder(tmp_path: Path) -> None:
    with process(tmp_path / "hub.yml", OPEN.replace("PREFIX", ", pathPrefix: /gost")) as api:
        assert api.ask("GET", "/gost").headers["location"] == "/gost/"
        assert api.ask("GET", "/gost/").status == 200
        assert api.ask("GET", "/gost/page/main.js").status == 200
        assert api.ask("GET", "/").status == 404
    page = page_files.find("/")
    assert page is not None
    assert b'="/' not in page.body  # its addresses are relative
