"""Who may only read, and who sees one namespace only, at a real hub: on the page, and by addresses that they type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.chromium import Tab
from tests.support.page_stage import ADMIN, TENANT, URL, VIEWER, Stage, row
from tests.support.program import NAMESPACE_2

pytestmark = pytest.mark.needs_root

CHANGING = "[...document.querySelectorAll('main button')].map((one) => one.textContent).filter((word) => /Kick|Drain|Apply|Keep|Undo/.test(word))"
NAMES = "[...document.querySelectorAll('.rows .name')].map((one) => one.textContent)"


def _id(tab: Tab, name: str) -> str:
    """The number of a host, from its link in the list."""
    tab.wait(row(name))
    return str(tab.run(f"{row(name)}.querySelector('a').getAttribute('href')")).rpartition("/")[2]


def _post(tab: Tab, path: str) -> Any:
    """[status, reply] of a change that is asked for as the page does."""
    head = "{'Content-Type': 'application/json', 'X-Tunrouter': '1'}"
    script = f"fetch('{path}', {{method: 'POST', headers: {head}, body: '{{}}'}}).then(async (one) => [one.status, await one.json()])"
    return tab.run(script)


def _typed(tab: Tab, path: str) -> Any:
    """What the browser shows for an address of the API that somebody types."""
    tab.go(URL + path)
    tab.wait(f"document.readyState === 'complete' && location.href === {json.dumps(URL + path)}")
    return json.loads(tab.run("document.querySelector('pre').textContent"))


def test_a_viewer_sees_all_and_changes_nothing(stage: Stage) -> None:
    tab = stage.open("hosts", VIEWER)
    one = _id(tab, "host-1")
    assert {"host-1", "host-2", "mine", "theirs"} <= set(tab.run(NAMES))
    for name, title in (("mine", "Bakery"), ("theirs", "Shipyard")):
        assert title in tab.run(f"{row(name)}.textContent")
    right = stage.config.read_text()
    stage.config.write_text(right.replace("192.168.127.0/24", "192.168.128.0/24"))
    try:
        for view, there in (
            (f"host/{one}", "document.querySelector('#history')"),
            ("map", "document.querySelector('.picture .node')"),
            ("routes", "document.querySelector('.rows .tr')"),
            ("drops", "document.querySelector('.all-drops section')"),
            ("trace", "document.querySelector('[name=filter]')"),
            ("config", "document.querySelector('pre.text')"),
        ):
            tab.go(f"{URL}#/{view}")
            tab.wait(there)
            assert tab.run(CHANGING) == [], view
        tab.click("button", "Compare")
        tab.says("routes +1 -1")
        assert tab.run(CHANGING) == []
    finally:
        stage.config.write_text(right)
    status, told = _post(tab, f"x/hosts/{one}/kick")
    assert (status, "may only read" in told["msg"]) == (403, True)
    status, told = _post(tab, "x/config/reload")
    assert (status, "may only read" in told["msg"]) == (403, True)
    tab.close()
    tab = stage.open(f"host/{one}", ADMIN)
    tab.wait(f"{CHANGING}.length === 2")  # who may, has them
    tab.close()


def test_a_tenant_sees_its_namespace_and_is_refused_the_rest(stage: Stage) -> None:
    tab = stage.open("hosts", ADMIN)
    other = _id(tab, "theirs")
    tab.close()

    tab = stage.open("hosts", TENANT)
    own = _id(tab, "mine")
    assert tab.run(NAMES) == ["mine"]
    assert tab.run("document.querySelector('.of-up b').textContent") == "1"
    assert "Config" not in tab.run("document.getElementById('nav').textContent")
    tab.go(URL + "#/map")
    tab.wait("document.querySelectorAll('.picture .node').length === 1")
    tab.go(URL + "#/routes")
    tab.wait("document.querySelectorAll('.rows .tr').length === 1")
    assert "192.168.126.1" in tab.run("document.querySelector('.rows').textContent")
    tab.go(f"{URL}#/map?ns={NAMESPACE_2}")
    tab.says("No host fits.")
    tab.go(URL + "#/config")
    tab.says("Config is not for the role tenant")
    tab.wait(row("mine"))
    tab.go(f"{URL}#/host/{other}")
    tab.says("The hub knows no such host")
    assert _post(tab, f"x/hosts/{other}/kick")[0] == 404

    for path in ("x/config", "x/status", "x/config/difference", "x/confirm"):
        assert "tenant" in _typed(tab, path)["msg"], path
    for path in ("x/drops", "x/sessions", "x/routes"):
        assert "its own namespace only" in _typed(tab, f"{path}?ns={NAMESPACE_2}")["msg"], path
    assert "no such host" in _typed(tab, f"x/hosts/{other}")["msg"]
    assert [one["host"] for one in _typed(tab, "x/sessions")["sessions"]] == ["mine"]
    assert "192.168.127" not in json.dumps(_typed(tab, "x/routes"))
    for path in ("x/hosts", "config", "x/drops"):
        told = json.dumps(_typed(tab, path))
        assert not [name for name in ("theirs", NAMESPACE_2, "host-1") if name in told], path

    tab.go(f"{URL}#/host/{own}")
    tab.wait("document.querySelector('h1')?.textContent === 'mine'")
    tab.click("button", "Kick")  # its own it may change
    tab.click("dialog button", "Kick")
    tab.says("1 session of mine")
    tab.close()
