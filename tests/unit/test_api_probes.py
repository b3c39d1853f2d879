"""`/healthz` and `/readyz` at the web API's address: an answer for everybody, what is wrong for who may read all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.api import Api, process

MINE = "e87f56dd-fd57-4921-9ab8-a0847662daae"
HUB = """\
services: [{name: s, addr: '127.0.0.1:PORT', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}]
routers: [{name: r, file: {path: MISSING}, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
api: {addr: 'unix:///tmp/p-PORT.sock'USERS}
"""
USERS = f""", users: [{{username: adm, password: p}}, {{username: eve, password: p, role: viewer}},
  {{username: ten, password: p, role: tenant, namespace: {MINE}}}]"""


def text(tmp_path: Path, users: str = USERS) -> str:
    return HUB.replace("MISSING", str(tmp_path / "missing")).replace("USERS", users)


def probe(api: Api, path: str, login: str = "") -> tuple[int, list[str]]:
    found = api.ask("GET", path, login=login)
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    assert found.headers["cache-control"] == "no-store"
    return found.status, found.body.decode().splitlines()


def test_what_is_wrong_is_told_to_who_may_read_all(tmp_path: Path) -> None:
    with process(tmp_path / "c.yml", text(tmp_path)) as api:
        assert probe(api, "/healthz") == (200, ["ok"])
        for login in ("", "adm:wrong", "ten:p"):
            assert probe(api, "/readyz", login) == (503, ["not ok"]), login
        for login in ("adm:p", "eve:p"):
            status, lines = probe(api, "/readyz", login)
            assert status == 503
            assert f"router r: {tmp_path}/missing has not been read yet" in lines[0]
        assert api.ask("POST", "/healthz").status == 401
        (tmp_path / "missing").touch()
        api.parts.tables.refresh()
        assert api.parts.tables.wait_loaded(5)
        assert probe(api, "/readyz") == (200, ["ok"])
        api.parts.ends_cleanly = True
        assert probe(api, "/readyz") == (503, ["not ok"])


@pytest.mark.parametrize(("prefix", "status"), [("", 200), (", pathPrefix: /api", 404)])
def test_below_a_prefix_as_all_of_the_api(tmp_path: Path, prefix: str, status: int) -> None:
    with process(tmp_path / "c.yml", text(tmp_path, prefix)) as api:
        assert api.ask("GET", "/healthz").status == status
        if prefix:
            assert probe(api, "/api/healthz") == (200, ["ok"])
        assert api.ask("HEAD", f"{prefix and '/api'}/healthz").body == b""
