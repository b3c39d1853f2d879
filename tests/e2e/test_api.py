"""GOST's web API of a running hub: opened only where that is safe; changes reach packets at once, and the file."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.program import OVERLAY_2, example, host, pings, reach, start, start_client, start_hub

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]


def ask(
    namespace: Namespace, method: str, path: str, body: object = None, login: str = "u:p"
) -> tuple[int, Any]:
    """(status, JSON) of a request from within a namespace."""
    with in_namespace(namespace.name):
        sock = socket.create_connection(("127.0.0.1", 18080), timeout=10)
    connection = http.client.HTTPConnection("127.0.0.1")
    connection.sock = sock
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    found = json.loads(response.read())
    connection.close()
    return response.status, found


def listens(namespace: Namespace, port: int) -> bool:
    with in_namespace(namespace.name), socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_a_hub_is_changed_by_its_api_and_saved(topology: Topology, write: Write) -> None:
    """Routes of an API's change carry packets, a new hub listens, a refused one is not there; the file has it all."""
    api = "# ours\napi: {addr: '127.0.0.1:18080', auth: {username: u, password: p}}\n"
    config = write("hub.yml", example("server.yml") + api)
    hub = start_hub(topology.hub, "-C", config)
    hub.wait_line(r"web API on 127.0.0.1:18080 \(http\)")
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert ask(topology.hub, "GET", "/config", login="u:x")[0] == 401
    [router] = ask(topology.hub, "GET", "/config/routers")[1]["data"]["list"]
    some = {**router, "routes": [one for one in router["routes"] if one["gateway"] == "host-1"]}
    path = f"/config/routers/{router['name']}"
    assert ask(topology.hub, "PUT", path, some) == (200, {"msg": "OK"})
    hub.wait_line("reload: router .*")
    assert not pings(topology.host_1, OVERLAY_2, 1)
    assert ask(topology.hub, "PUT", path, router)[0] == 200
    reach(topology.host_1, OVERLAY_2)
    [service] = ask(topology.hub, "GET", "/config/services")[1]["data"]["list"]
    assert service["status"]["state"] == "ready"
    second = {**service, "name": "second", "addr": ":8555"}
    assert ask(topology.hub, "POST", "/config/services", second)[0] == 200
    assert listens(topology.hub, 8555)
    status, said = ask(topology.hub, "POST", "/config/services", {**second, "name": "third"})
    assert (status, said["code"]) == (500, 40003)
    assert said["msg"].startswith("create service third failed: ")
    assert ask(topology.hub, "GET", "/config/services/third")[1] == {"data": None}
    assert ask(topology.hub, "POST", "/config")[0] == 200
    saved = Path(config).read_text()
    assert "# ours\napi:" in saved
    assert "name: second" in saved
    assert ask(topology.hub, "POST", "/config/reload")[0] == 200
    assert listens(topology.hub, 8555)
    assert pings(topology.host_1, OVERLAY_2, 1)


def test_an_api_that_a_reload_adds_changes_and_saves_the_configuration(
    topology: Topology, write: Write
) -> None:
    """A hub that has begun without one has loaded nothing of it."""
    text = example("server.yml")
    config = Path(write("hub.yml", text))
    hub = start_hub(topology.hub, "-C", str(config))
    for _ in range(2):
        config.write_text(text + "# ours\napi: {addr: '127.0.0.1:18080', auth: {username: u, password: p}}\n")
        after = hub.line_count()
        hub.send(signal.SIGHUP)
        hub.wait_line("reload: api: off -> ", after=after)
        [router] = ask(topology.hub, "GET", "/config/routers")[1]["data"]["list"]
        path = f"/config/routers/{router['name']}"
        fewer = {**router, "routes": router["routes"][:1]}
        assert ask(topology.hub, "PUT", path, fewer) == (200, {"msg": "OK"})
        assert ask(topology.hub, "POST", "/config")[0] == 200
        assert "# ours\napi:" in config.read_text()
        config.write_text(text)
        after = hub.line_count()
        hub.send(signal.SIGHUP)
        hub.wait_line("reload: api: .* -> off", after=after)
        assert not listens(topology.hub, 18080)


def test_a_file_of_a_gost_user_runs_and_nothing_is_open_that_was_not_asked_for(
    topology: Topology, write: Write
) -> None:
    config = write("hub.yml", example("server.yml") + "api: {addr: ':18080'}\n")
    hub = start(topology.hub, "-C", config, "--control", "none")
    hub.wait_line("listening on")
    assert "the web API is not opened: :18080 is open to others, and has no login and no TLS" in hub.text()
    assert not listens(topology.hub, 18080)
