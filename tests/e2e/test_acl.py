"""Access lists on real devices: ssh one way, pings, replies, counters, a reload, explain."""

from __future__ import annotations

import json
import random
import re
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.load import udp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    drops,
    example,
    host,
    pings,
    reach,
    run,
    start_client,
    start_hub,
    total,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
ACL = """  acl:
  - {action: allow, from: host-1, to: host-2, protocol: tcp, port: 2200}
  - {action: allow, from: host-1, protocol: icmp}
"""


def config(acl: str = ACL) -> str:
    text = example("server.yml")
    indent = re.search("( *)- name: router-0\n", text)
    assert indent
    return text.replace(indent[0], indent[0] + textwrap.indent(acl, indent[1]))


def connects(sender: Namespace, receiver: Namespace, address: str, port: int) -> bool:
    """Whether a TCP connection comes about, and 100 KB come back over it."""
    import socket

    with in_namespace(receiver.name):
        listener = socket.create_server((address, port))
    with in_namespace(sender.name):
        client = socket.socket()
    with listener, client:
        client.settimeout(2)
        listener.settimeout(2)
        try:
            client.connect((address, port))
        except OSError:
            return False
        far, _ = listener.accept()
        with far:
            far.sendall(bytes(100_000))
            far.shutdown(socket.SHUT_WR)
            left = 100_000
            while left and (data := client.recv(65536)):
                left -= len(data)
            return left == 0


@pytest.fixture
def control(tmp_path: Path) -> str:
    return str(tmp_path / "hub.sock")


def test_ssh_one_way(topology: Topology, write: Write, control: str) -> None:
    text = config()
    path = write("hub.yml", text)
    hub = start_hub(topology.hub, "-C", path, "--control", control)
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    one, two = topology.host_1, topology.host_2
    reach(one, OVERLAY_2)
    assert pings(one, OVERLAY_2) == 5
    assert connects(one, two, OVERLAY_2, 2200)
    assert not connects(one, two, OVERLAY_2, 2201)
    assert not connects(two, one, OVERLAY_1, 2200)
    said = two.run("ping", "-c1", "-W2", OVERLAY_1, check=False)
    assert "filtered" in said or "rohibited" in said
    with udp(one) as out:
        try:
            for _ in range(5):
                out.sendto(b"x", (OVERLAY_2, 2200))
        except OSError:
            pass  # told by ICMP: not allowed
    drops(hub, lambda counts: total(counts, "denied") >= 4)

    def explain(port: str) -> str:
        words = ("explain", "--control", control, "--from", "host-1", "--port", port, OVERLAY_2)
        return run(*words)[1]

    assert (
        "TCP: rule 1: allow from host-1 to host-2 protocol tcp port 2200; it has decided 1 time"
        in explain("tcp/2200")
    )
    assert "UDP: no rule: deny" in explain("udp/2200")
    assert "dropped: denied" in explain("tcp/22")
    assert run("explain", "--control", control, "--from", "host-1", "--port", "ssh", OVERLAY_2)[0] == 1
    status, of_file = run("explain", "-C", path, "--from", "host-1", "--port", "tcp/2200", OVERLAY_2)
    assert (status, "rule 1: allow" in of_file) == (0, True)

    Path(path).write_text(text.replace("port: 2200", "port: 2201"))
    hub.send(signal.SIGHUP)
    hub.wait_line("reload: done|reload: router router-0")
    hub.wait_line("reload: done")
    assert connects(one, two, OVERLAY_2, 2201)
    assert not connects(one, two, OVERLAY_2, 2200)


def test_long_answers_arrive_in_fragments(topology: Topology, write: Write) -> None:
    """Of DNS, for which only the question is allowed; the hub cuts them again for a smaller device."""
    rule = "  acl:\n  - {action: allow, from: host-1, to: host-2, protocol: udp, port: 53}\n"
    hub = start_hub(topology.hub, "-C", write("hub.yml", config(rule)))
    one, two = topology.host_1, topology.host_2
    start_client(one, *host(1, HUB_TO_HOST_1, extra="&mtu=1300"))
    start_client(two, *host(2, HUB_TO_HOST_2))
    with udp(two, OVERLAY_2, 53) as server, udp(one, OVERLAY_1) as client:
        for size in (100, 3000, 9000, 60000):
            question = f"{size} bytes, please".encode()
            client.sendto(question, (OVERLAY_2, 53))
            said, sender = server.recvfrom(2048)
            assert said == question
            answer = random.Random(size).randbytes(size)
            server.sendto(answer, sender)
            assert client.recv(70000) == answer
        client.sendto(bytes(3000), (OVERLAY_2, 54))
        server.sendto(bytes(3000), (OVERLAY_1, sender[1] + 1))
        expected = {("host-1", "denied"): 1, ("host-1", "stray-fragment"): 2, ("host-2", "denied"): 1}
        expected["host-2", "stray-fragment"] = 2
        drops(hub, lambda counts: {key[1:]: count for key, count in counts.items()} == expected)


def test_check_tells_the_rules(write: Write) -> None:
    path = write("hub.yml", config())
    status, said = run("check", "-C", path)
    assert status == 0
    assert "allow from host-1 to host-2 protocol tcp port 2200" in said
    assert "everything else is denied" in said
    status, said = run("check", "--json", "-C", path)
    assert json.loads(said)["namespaces"][0]["acl"][1] == "allow from host-1 protocol icmp"
