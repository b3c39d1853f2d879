"""A hub whose router, ingress and auther are plugins over gRPC, asked of a real gRPC server."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    NAMESPACE_1,
    OVERLAY_1,
    OVERLAY_2,
    drops,
    host,
    pings,
    start,
    start_client,
    start_hub,
    total,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

HUB = """\
services:
  - name: service-0
    addr: :8443
    handler: {type: router%s, metadata: {router: router-0%s}}
    listener: {type: tcp}
routers:
  - name: router-0
    plugin: {addr: '127.0.0.1:8001', timeout: 2s}
ingresses:
  - name: doors
    plugin: {addr: '127.0.0.1:8001', timeout: 2s}
authers:
  - name: team
    plugin: {addr: '127.0.0.1:8001', timeout: 2s}
"""
ROUTES = {"*": {OVERLAY_1: "host-1", OVERLAY_2: "host-2"}}


def start_plugin(namespace: Namespace, **script: object) -> Process:
    plugin = namespace.popen(sys.executable, "-m", "tests.support.grpc_plugin", json.dumps(script))
    plugin.wait_line("plugin ready")
    return plugin


def login(number: int, hub: str, name: str, namespace: str = "") -> tuple[str, ...]:
    router_id = f"?router.id={namespace}" if namespace else ""
    listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
    return ("-L", listen, "-F", f"router://{name}@{hub}:8443{router_id}")


def test_routes_rules_and_logins(topology: Topology, write: Write) -> None:
    logins = {"one": "1", "two": "2"}
    rules = {"host-1": NAMESPACE_1, "host-2": NAMESPACE_1}
    plugin = start_plugin(topology.hub, routes=ROUTES, rules=rules, logins=logins)
    start_hub(topology.hub, "-C", write("hub.yml", HUB % (", auther: team", ", ingress: doors")))
    start_client(topology.host_1, *login(1, HUB_TO_HOST_1, "one:1", NAMESPACE_1))
    wrong = start(topology.host_2, *login(2, HUB_TO_HOST_2, "two:1", NAMESPACE_1))
    wrong.wait_line("refused: unauthorized")
    wrong.stop()
    elsewhere = start(topology.host_2, *login(2, HUB_TO_HOST_2, "two:2"))
    elsewhere.wait_line("refused: host unreachable")
    elsewhere.stop()
    start_client(topology.host_2, *login(2, HUB_TO_HOST_2, "two:2", NAMESPACE_1))
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert f'GetRoute {{"dst": "{OVERLAY_2}", "id": "{NAMESPACE_1}"}}' in plugin.text()


def test_a_plugin_that_is_down_lets_nobody_in_and_is_asked_again(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", HUB % (", auther: team", "")))
    client = start(topology.host_1, *login(1, HUB_TO_HOST_1, "one:1"))
    client.wait_line("refused: service unavailable")
    hub.wait_line("host 'host-1' refused: auther team: grpc://127.0.0.1:8001: Connection refused")
    start_plugin(topology.hub, routes=ROUTES, logins={"one": "1"})
    client.wait_line("connected to", timeout=20)


def test_a_slow_answer_costs_only_its_own_destination(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes=ROUTES, held=["192.168.123.77"])
    hub = start_hub(topology.hub, "-C", write("hub.yml", HUB % ("", "")))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    pinging = topology.host_1.popen("ping", "-c20", "-i0.1", "-W1", "192.168.123.77")
    plugin.wait_line("asked GetRoute .*192.168.123.77")
    assert pings(topology.host_1, OVERLAY_2, 10) == 10
    pinging.wait(30)
    drops(hub, lambda counts: total(counts, "router-failed") > 0)
    assert "0 received" in pinging.text()
    plugin.send(signal.SIGUSR1)


def test_a_plugin_that_was_killed_answers_again(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes=ROUTES)
    hub = start_hub(topology.hub, "-C", write("hub.yml", HUB % ("", ", router.cache.expiration: 1s")))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    assert pings(topology.host_1, OVERLAY_2) == 5
    plugin.stop(signal.SIGKILL)
    topology.host_1.run("ping", "-c15", "-i0.1", "-W1", OVERLAY_2, check=False)
    hub.wait_line("router plugin: 192.168.123.[12]: grpc://127.0.0.1:8001")
    start_plugin(topology.hub, routes=ROUTES)
    for _ in range(5):
        if pings(topology.host_1, OVERLAY_2) == 5:
            break
    hub.wait_line("router plugin: replies again")
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_a_table_named_by_a_uuid_may_be_a_plugin(topology: Topology, write: Write) -> None:
    """It is asked first, the handler's router where it knows no route."""
    start_plugin(topology.hub, routes={NAMESPACE_1: {OVERLAY_2: "host-2"}})
    text = HUB % ("", "")
    text = text.replace(
        "plugin: {addr: '127.0.0.1:8001', timeout: 2s}", f"routes: [{{dst: {OVERLAY_1}, gateway: host-1}}]", 1
    )
    text = text.replace(
        "routers:\n", f"routers:\n  - name: {NAMESPACE_1}\n    plugin: {{addr: '127.0.0.1:8001'}}\n", 1
    )
    start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1))
    assert pings(topology.host_1, OVERLAY_2) == 5
