"""A user's own files and command lines, letter for letter; only server_ip is replaced."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from lib import wire_relay
from lib.ids import NO_NAMESPACE, parse_uuid
from lib.wire_relay import Request, Status
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.program import (
    NAMESPACE_1,
    NAMESPACE_2,
    OVERLAY_1,
    OVERLAY_2,
    client_example,
    example,
    pings,
    reach,
    start_client,
    start_hub,
    start_plugin,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

PLAIN = 'gost -L "tun:///host-1?net=192.168.123.1/24" -F "router://server_ip:8443"'
NAMED = (
    'gost -L "tun:///host-1?net=192.168.123.1/24" '
    '-F "router://server_ip:8443?router.id=e87f56dd-fd57-4921-9ab8-a0847662daae"'
)
"""The user's commands.txt."""


def command(line: str, hub: str) -> tuple[str, ...]:
    """The arguments of a line of commands.txt, for tunrouter."""
    words = line.replace('"', "").replace("server_ip", hub).split()
    return tuple(words[1:])


def second_host(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same for host-2."""
    swapped = (w.replace("host-1", "host-2").replace(f"{OVERLAY_1}/", f"{OVERLAY_2}/") for w in words)
    return tuple(swapped)


# --- server.yml and client.yml ------------------------------------------------------------------


def test_server_and_client_files(topology: Topology, write: Write) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    one = start_client(
        topology.host_1, "-C", write("client.yml", client_example("client.yml", 1, HUB_TO_HOST_1))
    )
    start_client(topology.host_2, "-C", write("client-2.yml", client_example("client.yml", 2, HUB_TO_HOST_2)))
    assert "chain-0" in one.text(), "which chain is used is said"
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1) == 5
    # the networks behind the hosts, by the routes of all three files
    topology.host_1.run("ip", "addr", "add", "192.168.100.7/32", "dev", "lo")
    topology.host_2.run("ip", "addr", "add", "192.168.200.7/32", "dev", "lo")
    assert pings(topology.host_1, "192.168.200.7") == 5
    assert pings(topology.host_2, "192.168.100.7") == 5
    assert pings(topology.host_1, "192.168.200.7", 5, "-I", "192.168.100.7") == 5


def test_command_lines(topology: Topology, write: Write) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    start_client(topology.host_1, *command(PLAIN, HUB_TO_HOST_1))
    start_client(topology.host_2, *second_host(command(PLAIN, HUB_TO_HOST_2)))
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1) == 5


# --- namespaces-server.yml ----------------------------------------------------------------------


@pytest.mark.parametrize("style", ["files", "command lines"])
def test_namespace_with_a_table_of_its_own(topology: Topology, write: Write, style: str) -> None:
    plugin = start_plugin(topology.hub)
    start_hub(topology.hub, "-C", write("server.yml", example("namespaces-server.yml")))
    if style == "files":
        name = "namespaces-client.yml"
        for number, namespace, hub in (
            (1, topology.host_1, HUB_TO_HOST_1),
            (2, topology.host_2, HUB_TO_HOST_2),
        ):
            start_client(namespace, "-C", write(f"client-{number}.yml", client_example(name, number, hub)))
    else:
        start_client(topology.host_1, *command(NAMED, HUB_TO_HOST_1))
        start_client(topology.host_2, *second_host(command(NAMED, HUB_TO_HOST_2)))
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1) == 5
    assert "asked" not in plugin.text(), "the named table has all these routes"


def test_plugin_is_asked_where_the_named_table_has_no_route(topology: Topology, write: Write) -> None:
    plugin = start_plugin(topology.hub, routes={NAMESPACE_1: {"192.168.200.7": "host-2"}})
    start_hub(topology.hub, "-C", write("server.yml", example("namespaces-server.yml")))
    name = "namespaces-client.yml"
    for number, namespace, hub in ((1, topology.host_1, HUB_TO_HOST_1), (2, topology.host_2, HUB_TO_HOST_2)):
        start_client(namespace, "-C", write(f"client-{number}.yml", client_example(name, number, hub)))
    topology.host_2.run("ip", "addr", "add", "192.168.200.7/32", "dev", "lo")
    assert pings(topology.host_1, "192.168.200.7") == 5
    plugin.wait_line(f"^asked 192.168.200.7 {NAMESPACE_1}$")


def test_plugin_is_asked_for_clients_without_a_namespace(topology: Topology, write: Write) -> None:
    routes = {OVERLAY_1: "host-1", OVERLAY_2: "host-2"}
    plugin = start_plugin(topology.hub, routes={"00000000-0000-0000-0000-000000000000": routes})
    start_hub(topology.hub, "-C", write("server.yml", example("namespaces-server.yml")))
    start_client(topology.host_1, *command(PLAIN, HUB_TO_HOST_1))
    start_client(topology.host_2, *second_host(command(PLAIN, HUB_TO_HOST_2)))
    assert pings(topology.host_1, OVERLAY_2) == 5
    plugin.wait_line(f"^asked {OVERLAY_2} 00000000-0000-0000-0000-000000000000$")


# --- ingress-server.yml -------------------------------------------------------------------------


def answer(hub: Namespace, request: Request) -> int:
    """The status a hub answers to a handshake over a plain socket."""
    with in_namespace(hub.name):
        client = socket.create_connection(("127.0.0.1", 8443), timeout=5)
    with client:
        client.sendall(wire_relay.encode_request(request))
        data = b""
        while (message := wire_relay.decode_response(data)) is None:
            data += client.recv(4096)
        return message[0].status


def test_ingress_file_admits_and_refuses(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("server.yml", example("ingress-server.yml")))
    one, two = parse_uuid(NAMESPACE_1), parse_uuid(NAMESPACE_2)
    cases = [
        ("host-1-ns1", one, Status.OK),
        ("host-2-ns1", one, Status.OK),
        ("host-1-ns2", two, Status.OK),
        ("host-1-ns1", two, Status.HOST_UNREACHABLE),
        ("host-1-ns2", one, Status.HOST_UNREACHABLE),
        ("host-1-ns1", NO_NAMESPACE, Status.HOST_UNREACHABLE),
        ("host-1", one, Status.HOST_UNREACHABLE),  # the gateways of this file's own routes
        ("host-1", NO_NAMESPACE, Status.OK),  # no rule: the zero UUID
        ("HOST-1-NS1", one, Status.HOST_UNREACHABLE),
        ("", one, Status.HOST_UNREACHABLE),
        ("", NO_NAMESPACE, Status.HOST_UNREACHABLE),  # GOST lets this one in
    ]
    answers = [(name, key, answer(topology.hub, Request(name, OVERLAY_1, key))) for name, key, _ in cases]
    assert answers == cases
    assert hub.returncode is None


def test_ingress_file_warns_of_each_gateway_shut_out(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("server.yml", example("ingress-server.yml")))
    warnings = [line for line in hub.text().splitlines() if "shuts gateway" in line]
    for gateway in ("host-1", "host-2"):
        for namespace in (NAMESPACE_1, NAMESPACE_2):
            (line,) = [w for w in warnings if f"gateway {gateway} out of namespace {namespace}" in w]
            assert "server.yml:" in line
    assert len(warnings) == 4


def test_admitted_hosts_of_the_ingress_file(topology: Topology, write: Write) -> None:
    """With routes that lead to the hosts the ingress admits, the same file carries packets."""
    text = example("ingress-server.yml").replace("gateway: host-1\n", "gateway: host-1-ns1\n")
    text = text.replace("gateway: host-2\n", "gateway: host-2-ns1\n")
    start_hub(topology.hub, "-C", write("server.yml", text))
    hosts = ((topology.host_1, HUB_TO_HOST_1, 1), (topology.host_2, HUB_TO_HOST_2, 2))
    for namespace, hub, number in hosts:
        url = f"tun:///host-{number}-ns1?net=192.168.123.{number}/24"
        start_client(namespace, "-L", url, "-F", f"router://{hub}:8443?router.id={NAMESPACE_1}")
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_2, OVERLAY_1) == 5
