"""Metrics of a running hub and client: who may read them, where, through a reload, and what they say."""

from __future__ import annotations

import base64
import http.client
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.program import (
    OVERLAY_2,
    example,
    host,
    needs_gost,
    pings,
    reach,
    run,
    start,
    start_client,
    start_gost,
    start_hub,
)
from tests.unit.test_metrics import of, samples

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
ADDRESS = ("127.0.0.1", 9100)


def get(
    namespace: Namespace, path: str = "/metrics", login: str = "", port: int = 9100, method: str = "GET"
) -> tuple[int, str]:
    """(status, text) of a request from within a namespace."""
    with in_namespace(namespace.name):
        sock = socket.create_connection((ADDRESS[0], port), timeout=10)
    connection = http.client.HTTPConnection("hub")
    connection.sock = sock
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_a_hub_and_its_client(topology: Topology, write: Write) -> None:
    """What was sent and lost is counted by host, and stays counted when the session has ended."""
    config = write("hub.yml", example("server.yml"))
    hub = start_hub(topology.hub, "-C", config, "--metrics", "127.0.0.1:9100")
    hub.wait_line("metrics on 127.0.0.1:9100/metrics")
    start_client(topology.host_1, "-metrics", "127.0.0.1:9100", *host(1, HUB_TO_HOST_1))
    second = start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    pings(topology.host_1, OVERLAY_2)
    pings(topology.host_1, "192.168.123.77", 2)
    text = get(topology.hub)[1]
    assert of(text, "tunrouter_sessions") == 2
    assert of(text, "tunrouter_received_packets_total", host="host-1") >= 8
    assert of(text, "tunrouter_dropped_packets_total", host="host-1", reason="no-route") >= 2
    assert of(text, "gost_service_requests_in_flight", service="service-0", client="10.77.1.2") == 1
    client = get(topology.host_1)[1]
    assert of(client, "tunrouter_client_connected", host="host-1") == 1
    assert of(client, "tunrouter_client_sent_packets_total") >= 8
    before = of(text, "tunrouter_sent_bytes_total", host="host-2")
    second.stop()
    hub.wait_line("host-2.* left")
    after = get(topology.hub)[1]
    assert of(after, "tunrouter_sessions", host="host-2") == 0
    assert of(after, "tunrouter_sent_bytes_total", host="host-2") >= before > 0
    assert of(after, "gost_service_request_duration_seconds_count") == 1


def test_who_may_read_them(topology: Topology, write: Write) -> None:
    more = "authers: [{name: a, auths: [{username: u, password: s3cret}]}]\n"
    config = example("server.yml") + more + "metrics: {addr: '127.0.0.1:9100', path: /m, auther: a}\n"
    hub = start_hub(topology.hub, "-C", write("hub.yml", config), "--user", "nobody")
    statuses = [
        get(topology.hub, path, login, method=method)[0]
        for path, login, method in (
            ("/m", "", "GET"), ("/m", "u:wrong", "GET"), ("/m", "x:s3cret", "GET"), ("/m", "u:", "GET"),
            ("/metrics", "u:s3cret", "GET"), ("/m", "u:s3cret", "POST"), ("/m", "u:s3cret", "GET"),
        )
    ]  # fmt: skip
    assert statuses == [401, 401, 401, 401, 404, 405, 200]
    assert get(topology.hub, "/m", "u:s3cret", method="HEAD") == (200, "")
    assert "s3cret" not in hub.text()


def test_a_reload_moves_them_and_switches_them_off(topology: Topology, write: Write) -> None:
    text = example("server.yml")
    config = write("hub.yml", text + "metrics: {addr: '127.0.0.1:9100'}\n")
    hub = start_hub(topology.hub, "-C", config)
    assert get(topology.hub)[0] == 200
    for addr, line in (
        ("addr: '127.0.0.1:9101', path: /m", "metrics: 127.0.0.1:9100 -> 127.0.0.1:9101"),
        ("addr: '127.0.0.1:9101', path: /n, auth: {username: u, password: p}", "metrics: another path"),
    ):
        write("hub.yml", text + f"metrics: {{{addr}}}\n")
        hub.send(signal.SIGHUP)
        hub.wait_line(line)
    assert [get(topology.hub, "/n", login, 9101)[0] for login in ("", "u:p")] == [401, 200]
    with pytest.raises(ConnectionRefusedError):
        get(topology.hub)
    write("hub.yml", text + "metrics: {addr: '127.0.0.1:8443'}\n")
    hub.send(signal.SIGHUP)
    hub.wait_line("reload: metrics: cannot listen on 127.0.0.1:8443: Address already in use")
    assert get(topology.hub, "/n", "u:p", 9101)[0] in (200, 503)
    write("hub.yml", text)
    hub.send(signal.SIGHUP)
    hub.wait_line("metrics: 127.0.0.1:9101 -> off")
    with pytest.raises(ConnectionRefusedError):
        get(topology.hub, "/n", "", 9101)


def test_an_address_in_use_ends_it_before_anything_runs(topology: Topology, write: Write) -> None:
    with in_namespace(topology.hub.name):
        taken = socket.create_server(ADDRESS)
    with taken:
        config = write("hub.yml", example("server.yml"))
        status, said = run("-C", config, "--metrics", "127.0.0.1:9100", namespace=topology.hub)
    assert (status, said.splitlines()[-1]) == (
        1,
        (
            "error: cannot listen on 127.0.0.1:9100: Address already in use; "
            "another program listens there: `ss -ltnp sport = :9100` shows which"
        ),
    )
    assert "listening" not in said


def test_a_socket(topology: Topology, write: Write, tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    hub = start_hub(
        topology.hub, "-C", write("hub.yml", example("server.yml")), "--metrics", f"unix://{path}"
    )
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b""
        while received := sock.recv(1 << 16):
            answer += received
    assert b"\ngost_services{" in answer
    hub.stop()
    assert not path.exists()


def persistent(namespace: Namespace, until: float) -> int:
    """The status of a scrape that is tried again: while others of its address are served, it may be refused."""
    while True:
        try:
            return int(get(namespace)[0])
        except OSError:
            if time.monotonic() > until:
                raise


def test_who_is_slow_or_says_nothing_holds_up_nobody_else(topology: Topology, write: Write) -> None:
    hub = start_hub(
        topology.hub, "-C", write("hub.yml", example("server.yml")), "--metrics", "127.0.0.1:9100"
    )
    with in_namespace(topology.hub.name):
        idle = [socket.create_connection(ADDRESS) for _ in range(6)]
    idle[0].sendall(b"GET /metrics HTTP/1.1\r\nX: ")
    idle[1].sendall(b"\xff" * 1000 + b"\n\n")
    assert get(topology.hub)[0] == 200
    for words in (b"", b"GET /metrics HTTP/1.1\r\nHost: h\r\n", b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"):
        with in_namespace(topology.hub.name):
            idle += [socket.create_connection(ADDRESS) for _ in range(40)]
        for sock in idle[-40:]:
            with suppress(OSError):  # it has had to make room
                sock.sendall(words)
        began = time.monotonic()
        assert persistent(topology.hub, began + 6) == 200
        assert time.monotonic() - began < 6, "and not as long as one of them may say nothing"
    for sock in idle:
        sock.close()
    hub.stop()


def test_nothing_is_served_unless_asked_for(topology: Topology, write: Write) -> None:
    start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
    listening = topology.hub.run("ss", "-Hltn").split()
    assert [word for word in listening if re.search(r":\d+$", word)] == ["*:8443"]


@needs_gost
def test_the_same_names_and_labels_as_gost(topology: Topology, write: Write) -> None:
    """A hub of ours and GOST's, each with a client: whoever scrapes GOST finds here what he knows."""
    seen = []
    for begin in (start, start_gost):
        config = write("hub.yml", example("server.yml"))
        hub = begin(topology.hub, "-C", config, "-metrics", "127.0.0.1:9100")
        hub.wait_line("listening on")
        client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
        text = get(topology.hub)[1]
        seen.append(
            {(name, tuple(key for key, _ in pairs)) for name, pairs in samples(text) if "gost_" in name}
        )
        client.stop()
        topology.hub.kill_all()
    ours, theirs = seen
    assert theirs
    assert theirs <= ours
