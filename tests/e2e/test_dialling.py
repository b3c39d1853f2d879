"""Hubs whose name has several addresses, some of them dead; and hubs at link-local addresses."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology
from tests.support.program import (
    GOST,
    OVERLAY_2,
    example,
    host,
    pings,
    reach,
    run,
    start,
    start_client,
    start_gost,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
HUB_6, HOST_6 = "2001:db8:77::1", "2001:db8:77::2"
ALL = ",fd00::1/64&route=0.0.0.0/1,128.0.0.0/1,::/0"
"""After `net=…` of a client: everything goes into the tunnel, but the way to the hub."""
SILENT = "10.77.1.130"
ACCEPTS = "import socket, time; s = socket.create_server(('{}', 8443)); print('ready'); time.sleep(600)"

NAME_SERVER = f"""
import socket
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 53))
print("ready")
while True:
    asked, client = sock.recvfrom(512)
    end = asked.index(b"\\0", 12) + 5
    if asked[end - 4 : end - 2] == b"\\0\\1":  # A; nothing else is ever answered
        reply = b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + asked[12:end] + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4"
        sock.sendto(asked[:2] + reply + socket.inet_aton("{HUB_TO_HOST_1}"), client)
"""


def drop(namespace: Namespace, family: str, address: str) -> None:
    """Drop each SYN to the hub's port at an address, as a filter on the way does: no answer at all."""
    rule = f"add rule inet lost here {family} daddr {address} tcp dport 8443 drop"
    begin = "add table inet lost; add chain inet lost here { type filter hook input priority 0; }"
    namespace.run("nft", f"{begin}; flush chain inet lost here; {rule}")


def test_a_dead_ipv6_address_beside_one_that_works_costs_a_moment(
    topology: Topology, write: Write, hosts_file: Path
) -> None:
    """And the winner is tried first when the hub comes back; where it is dead, the other one is found again."""
    topology.hub.run("ip", "addr", "add", f"{HUB_6}/64", "dev", "to-host-1", "nodad")
    topology.host_1.run("ip", "addr", "add", f"{HOST_6}/64", "dev", "uplink", "nodad")
    hosts_file.write_text(f"{HUB_6} the-hub.test\n{HUB_TO_HOST_1} the-hub.test\n")
    drop(topology.hub, "ip6", HUB_6)
    config = write("server.yml", example("server.yml"))
    hub = start_hub(topology.hub, "-C", config)
    client = start(topology.host_1, *host(1, "the-hub.test", extra=ALL))
    client.wait_line("device tun0")
    began = time.monotonic()
    client.wait_line(f"connected to {HUB_TO_HOST_1}:8443")
    assert time.monotonic() - began < 6, "250 ms, on a slow machine; it was 10 s, at each connect"
    drop(topology.hub, "ip", HUB_TO_HOST_1)
    seen = client.line_count()
    hub.stop(signal.SIGKILL)
    start_hub(topology.hub, "-C", config)
    client.wait_line(re.escape(f"connected to [{HUB_6}]:8443"), after=seen)


def test_a_name_server_that_never_answers_for_ipv6_costs_a_second(
    topology: Topology, write: Write, hosts_file: Path
) -> None:
    """The C library waits for that answer as long as a whole connect may take."""
    topology.host_1.run(
        "ip", "addr", "add", f"{HOST_6}/64", "dev", "uplink", "nodad"
    )  # else none is asked for
    hosts_file.with_name("resolv.conf").write_text("nameserver 127.0.0.1\n")
    topology.host_1.popen(sys.executable, "-c", NAME_SERVER).wait_line("ready")
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    client = start(topology.host_1, *host(1, "the-hub.test"))
    client.wait_line("device tun0")
    began = time.monotonic()
    client.wait_line(f"connected to {HUB_TO_HOST_1}:8443")
    assert time.monotonic() - began < 8


def test_no_address_answers_and_the_deadline_holds(
    topology: Topology, write: Write, hosts_file: Path
) -> None:
    """The first drops SYNs, the second accepts and says nothing: this was a client that hung for ever."""
    topology.hub.run("ip", "addr", "add", f"{SILENT}/32", "dev", "to-host-1")
    drop(topology.hub, "ip", HUB_TO_HOST_1)
    silent = topology.hub.popen(sys.executable, "-c", ACCEPTS.format(SILENT))
    silent.wait_line("ready")
    hosts_file.write_text(f"{HUB_TO_HOST_1} the-hub.test\n{SILENT} the-hub.test\n")
    text = example("server.yml").replace(":8443", f"{HUB_TO_HOST_1}:8443").replace("type: tcp", "type: tls")
    start_hub(topology.hub, "-C", write("server.yml", text))
    url = "router+tls://the-hub.test:8443?connectTimeout=3s"
    client = start(topology.host_1, "-L", "tun:///host-1?net=192.168.123.1/24", "-F", url)
    client.wait_line("device tun0")
    began = time.monotonic()
    client.wait_line(
        rf"hub the-hub.test:8443: no connection within 3 s: no reply to the TLS handshake from {SILENT}:8443"
    )
    assert 2 < time.monotonic() - began < 8
    topology.hub.run("nft", "delete", "table", "inet", "lost")
    client.wait_line(f"connected to {HUB_TO_HOST_1}:8443")


def test_a_hub_at_a_link_local_address(topology: Topology, write: Write, tmp_path: Path) -> None:
    """In YAML, in -F as Go's URLs have it and as people write it, in the log, in status, past our own ::/0."""
    topology.hub.run("ip", "addr", "add", "fe80::1/64", "dev", "to-host-1", "nodad")
    topology.host_1.run("ip", "addr", "add", "fe80::2/64", "dev", "uplink", "nodad")
    listen = "[fe80::1%to-host-1]:8444"
    text = example("server.yml").replace("router: router-0", "router: router-0\n        domain: one")
    here = text.split("routers:")[0].replace(":8443", f'"{listen}"').replace("service-0", "service-1")
    both = text.replace("routers:", here.replace("services:\n", "") + "routers:")
    ours, theirs = str(tmp_path / "hub.sock"), str(tmp_path / "client.sock")
    hub = start(topology.hub, "-C", write("server.yml", both), "--control", ours)
    hub.wait_line(re.escape(f"listening on {listen}"))
    words = ("-L", f"tun:///host-1?net=192.168.123.1/24{ALL}")
    client = start_client(
        topology.host_1, *words, "-F", "router://[fe80::1%25uplink]:8444", "--control", theirs
    )
    assert "connected to [fe80::1%uplink]:8444 as host-1" in client.text()
    assert "[fe80::2%to-host-1]:" in hub.wait_line(r"(\S+) is host host-1")[1]
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    sessions = json.loads(run("status", "--json", "--control", ours)[1])["sessions"]
    assert any(row["peer"].startswith("[fe80::2%to-host-1]:") for row in sessions)
    (away,) = json.loads(run("status", "--json", "--control", theirs)[1])["clients"]
    assert away["hub"] == "[fe80::1%uplink]:8444"
    assert "[fe80::1%uplink]:8444" in run("status", "--control", theirs)[1]
    client.stop()
    wrong = start(topology.host_1, *words, "-F", "router://[fe80::1%nothing]:8443")
    wrong.wait_line(re.escape("hub [fe80::1%nothing]:8443: there is no network device nothing; trying"))
    wrong.stop()
    if GOST:  # the proxy's address may be one as well
        start_gost(topology.hub, "-L", "socks5://:1080")
        proxy = ("-F", "socks5://[fe80::1%uplink]:1080", "-F", f"router://{HUB_TO_HOST_1}:8443")
        start_client(topology.host_1, *words, *proxy)
