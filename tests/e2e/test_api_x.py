"""tunrouter's own web API of a running hub: hosts that come and go, live; packets, routes and changes."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.program import OVERLAY_2, example, host, pings, reach, start_client, start_hub

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
LOGINS = """
authers: [{name: api, auths: [{username: ada, password: s3cret}]}]
api: {addr: '127.0.0.1:18080', auther: api}
"""


class Api:
    """The API of a hub, asked from within its namespace, with a login."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._head = {
            "Authorization": "Basic " + base64.b64encode(b"ada:s3cret").decode(),
            "X-Tunrouter": "1",
        }

    def open(
        self, method: str, path: str, body: object = None, login: bool = True
    ) -> http.client.HTTPResponse:
        with in_namespace(self._namespace.name):
            sock = socket.create_connection(("127.0.0.1", 18080), timeout=10)
        connection = http.client.HTTPConnection("127.0.0.1", 18080)
        connection.sock = sock
        head = {**self._head, "Content-Type": "application/json"} if login else {}
        text = json.dumps(body) if body is not None else None
        connection.request(method, path, text, head)
        return connection.getresponse()

    def ask(self, path: str, method: str = "GET", body: object = None) -> Any:
        response = self.open(method, path, body)
        text = response.read()
        assert response.status == 200, (path, response.status, text)
        return json.loads(text)

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """(event, data) of a stream, which has begun when this returns."""
        response = self.open("GET", path)
        kind = response.headers["Content-Type"].partition(";")[0]
        assert (response.status, kind) == (200, "text/event-stream")
        assert response.readline() == b": \n"
        return self._read(response)

    @staticmethod
    def _read(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
        event = ""
        for line in response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            if name == "data":
                yield event, json.loads(value)


@pytest.mark.parametrize("workers", ["", "workers: 2\n"], ids=["alone", "workers"])
def test_hosts_packets_routes_and_a_kick(topology: Topology, write: Write, workers: str) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", workers + example("server.yml") + LOGINS))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    second = start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    api = Api(topology.hub)
    assert api.open("GET", "/x/hosts", login=False).status == 401
    whole = api.ask("/x/hosts")
    while len(whole["rows"]) < 2:  # it is made each two seconds
        next(api.events(f"/x/events?since={whole['seq']}"))
        whole = api.ask("/x/hosts")
    hosts = {
        row["host"]: row for row in (dict(zip(whole["columns"], row, strict=True)) for row in whole["rows"])
    }
    assert {name: row["state"] for name, row in hosts.items()} == {"host-1": "up", "host-2": "up"}
    one, two = hosts["host-1"]["id"], hosts["host-2"]["id"]

    # a trace sees a ping, and a host's page says what it has lost
    trace = api.events("/x/trace?filter=icmp")
    pings(topology.host_1, OVERLAY_2, 2)
    event, data = next(trace)
    assert (event, data["packets"][0][1]) == ("packets", "forwarded")
    assert "icmp 192.168.123.1 > 192.168.123.2" in data["packets"][0][6]
    pings(topology.host_1, "192.168.123.77", 1)
    shown = api.ask(f"/x/hosts/{one}")
    assert "no-route" in [row["reason"] for row in shown["drops"]]
    assert shown["sessions"][0]["host"] == "host-1"
    assert api.ask(f"/x/hosts/{one}/curves")["step_s"] == 10
    assert "no-route" in [row["reason"] for row in api.ask("/x/drops")["drops"]]
    assert [row["prefix"] for row in api.ask("/x/routes?q=host-2")["rows"]]
    assert {row["host"] for row in api.ask("/x/gateways")["gateways"]} == {"host-1", "host-2"}
    assert api.ask(f"/x/explain?from=host-1&to={OVERLAY_2}")["delivered"] is True
    assert len(api.ask("/x/sessions")["sessions"]) == 2
    assert "/x/hosts/{id}/kick" in api.ask("/x/openapi.json")["paths"]

    # who leaves, and who is kicked, is seen by whoever looks
    live = api.events(f"/x/events?since={whole['seq']}")
    assert api.ask(f"/x/hosts/{one}/kick", "POST", {}) == {"sessions": 1}
    hub.wait_line("web API: ada .*kick host host-1")
    second.stop()
    away: set[int] = set()
    state = whole["columns"].index("state")
    for event, data in live:
        assert event == "hosts"
        for key, *cells in data["rows"]:
            if dict(zip(cells[::2], cells[1::2], strict=True)).get(state) == "away":
                away.add(key)
        if two in away:
            break
    refused = api.open("POST", f"/x/hosts/{two}/kick", {})
    assert (refused.status, json.loads(refused.read())["msg"]) == (409, "host host-2 is not connected")
    assert "s3cret" not in hub.text()
