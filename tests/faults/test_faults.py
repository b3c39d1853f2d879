"""What breaks, and what becomes of it: real namespaces, real signals, the clock injected."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib import wire_relay
from tests.e2e.test_datagram_quality import over_tls
from tests.faults.conftest import Note
from tests.support import numbered
from tests.support.channels import channel_of
from tests.support.load import transfer
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, in_namespace
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    TUNROUTER,
    example,
    host,
    pings,
    reach,
    start_client,
    start_hub,
    start_plugin,
    stopped,
    unlimited,
    wait_for,
)
from tests.support.redis_server import Redis, needs_redis

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
CUT_OFF = (
    "table inet t { chain i { type filter hook prerouting priority 0; iifname to-host-2 drop; };"
    " chain o { type filter hook output priority 0; oifname to-host-2 drop; }; }"
)
NO_UDP = (
    "table inet t { chain i { type filter hook input priority 0; udp dport 8443 drop; };"
    " chain o { type filter hook output priority 0; udp sport 8443 drop; }; }"
)
ROUTES = {OVERLAY_1: "host-1", OVERLAY_2: "host-2"}


class Pings:
    """Pings twenty a second while something happens; what was lost and how long the longest took."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        self._process = namespace.popen("ping", "-i", "0.05", "-W", "2", address)
        self._process.wait_line("bytes from")

    def stop(self) -> tuple[int, int, float]:
        """(sent, lost, longest in ms)."""
        self._process.stop(signal.SIGINT)
        said = self._process.text()
        answered = {int(text) for text in re.findall(r"icmp_seq=(\d+) ttl", said)}
        longest = max(float(text) for text in re.findall(r"time=([0-9.]+)", said))
        sent = max(answered)  # those after it were on the way when ping was stopped
        return sent, sent - len(answered), longest


@contextmanager
def pinging(namespace: Namespace, address: str) -> Iterator[list[float]]:
    """[sent, lost, longest ms] once the block has ended."""
    running = Pings(namespace, address)
    result: list[float] = []
    yield result
    result.extend(running.stop())


def network(topology: Topology, write: Write, text: str = "", *hub: str) -> tuple[Process, Process, Process]:
    """A hub and two clients that reach each other."""
    programs = (
        start_hub(topology.hub, "-C", write("hub.yml", text or example("server.yml")), *hub),
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1)),
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2)),
    )
    reach(topology.host_1, OVERLAY_2)
    return programs


def third(topology: Topology, more_hosts: list[Namespace]) -> Namespace:
    """host-3, who floods and misbehaves."""
    return more_hosts[0]


def seconds(since: float) -> str:
    return f"{time.monotonic() - since:.1f} s"


# --- somebody dies --------------------------------------------------------------------------------


def test_hub_killed(topology: Topology, write: Write, note: Note) -> None:
    hub, client, _ = network(topology, write)
    with pinging(topology.host_1, OVERLAY_2) as result:
        killed = time.monotonic()
        hub.stop(signal.SIGKILL)
        client.wait_line("trying again")
        noticed = seconds(killed)
        after = client.line_count()
        started = time.monotonic()
        start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
        client.wait_line("connected to", after=after, timeout=20)
        back = seconds(started)
        reach(topology.host_1, OVERLAY_2)
    note("hub killed (-9)", "clients: the connection ends", f"at once ({noticed}); back {back} after the hub",
         f"packets meanwhile ({result[1]:.0f} of {result[0]:.0f} pings)")  # fmt: skip


def test_client_killed(topology: Topology, write: Write, note: Note) -> None:
    hub, client, _ = network(topology, write)
    killed = time.monotonic()
    client.stop(signal.SIGKILL)
    hub.wait_line(r"host-1\) left|left: ")
    note("client killed (-9)", "hub: the connection ends", f"at once ({seconds(killed)})",
         "packets to that host: dropped, answered with ICMP")  # fmt: skip
    said = topology.host_2.run("ping", "-c1", "-W2", OVERLAY_1, check=False)
    assert "nreachable" in said


def test_link_down_and_half_open(topology: Topology, write: Write, note: Note, short: bool) -> None:
    """Both at once, one of each host: each takes the time of a keepalive."""
    hub, *clients = network(topology, write)
    down = 17 if short else 30
    began = time.monotonic()
    topology.hub.run("ip", "link", "set", "to-host-1", "down")
    topology.hub.run("nft", CUT_OFF)
    noticed: dict[str, str] = {}

    def all_noticed() -> bool:
        for number, client in enumerate(clients, 1):
            for who, process, words in (
                (f"hub {number}", hub, rf"host-{number}\b.* left: "),
                (f"client {number}", client, "trying again"),
            ):
                if who not in noticed and re.search(words, process.text()):
                    noticed[who] = seconds(began)
        return len(noticed) == 4

    wait_for(all_noticed, 17)
    topology.hub.run("nft", "flush", "ruleset")
    time.sleep(max(0.0, began + down - time.monotonic()))
    topology.hub.run("ip", "link", "set", "to-host-1", "up")
    up = time.monotonic()
    reach(topology.host_1, OVERLAY_2, seconds=25)
    note(f"link of a client down for {down} s", "both sides, by keepalive",
         f"hub {noticed['hub 1']}, client {noticed['client 1']}; back {seconds(up)} after the link",
         "packets meanwhile")  # fmt: skip
    note("half-open: packets dropped both ways", "both sides, by keepalive",
         f"hub {noticed['hub 2']}, client {noticed['client 2']}", "packets meanwhile")  # fmt: skip


@pytest.mark.parametrize("way", ["from the client", "to the client"])
def test_one_direction_dropped(topology: Topology, write: Write, note: Note, way: str) -> None:
    """While the hub sends all the time: the end that hears the other one is not reached by it, or does not reach it."""
    hub, client, _ = network(topology, write)
    hook, word = {"from the client": ("prerouting", "iifname"), "to the client": ("postrouting", "oifname")}[
        way
    ]
    with numbered.udp(topology.host_2, topology.host_1, OVERLAY_2, OVERLAY_1, 7001) as flow:
        flow.wait(50)
        began = time.monotonic()
        topology.hub.run(
            "nft",
            f"table inet t {{ chain c {{ type filter hook {hook} priority 0; {word} to-host-1 drop; }}; }}",
        )
        noticed: dict[str, str] = {}

        def both_noticed() -> bool:
            for who, process, words in (
                ("hub", hub, r"host-1\b.* left: "),
                ("client", client, "trying again"),
            ):
                if who not in noticed and re.search(words, process.text()):
                    noticed[who] = seconds(began)
            return len(noticed) == 2

        wait_for(both_noticed, 20)
        topology.hub.run("nft", "flush", "ruleset")
        began = time.monotonic()
        flow.wait(50)
        back = seconds(began)
    note(f"packets {way} dropped, the others not; it has one hub", "both sides: nothing is acknowledged, or by keepalive",
         f"hub {noticed['hub']}, client {noticed['client']}; back {back} after the way",
         "packets meanwhile")  # fmt: skip


def test_udp_blocked(topology: Topology, write: Write, note: Note, tmp_path: Path) -> None:
    near, far = str(tmp_path / "near.sock"), str(tmp_path / "far.sock")
    config = example("server.yml").replace("type: tcp", "type: tls")
    start_hub(topology.hub, "-C", write("hub.yml", config), "--control", far)
    start_client(topology.host_1, *over_tls(host(1, HUB_TO_HOST_1)), "--control", near)
    start_client(topology.host_2, *over_tls(host(2, HUB_TO_HOST_2)))
    reach(topology.host_1, OVERLAY_2)
    for path in (near, far):
        wait_for(lambda path=path: channel_of(path).get("state") == "good")  # type: ignore[misc]
    with pinging(topology.host_1, OVERLAY_2) as result:
        began = time.monotonic()
        topology.hub.run("nft", NO_UDP)
        for path in (near, far):
            wait_for(lambda path=path: channel_of(path).get("state") == "bad")  # type: ignore[misc]
        noticed = seconds(began)
        assert pings(topology.host_1, OVERLAY_2) == 5
    assert result[1] < 30
    note("UDP blocked both ways, over TLS", "both ends: no datagram is answered", noticed,
         f"{result[1]:.0f} pings (20 a second); then the stream carries all, and datagrams are tried again later")  # fmt: skip


def test_receiver_that_stops_reading(
    topology: Topology, write: Write, note: Note, more_hosts: list[Namespace]
) -> None:
    text = example("server.yml") + "      - {dst: 192.168.123.3, gateway: host-3}\n"
    hub, _, _ = network(topology, write, text)
    deaf = start_client(more_hosts[0], *host(3, "10.77.3.1"))
    reach(topology.host_1, "192.168.123.3")
    flood = topology.host_1.popen("ping", "-f", "-q", "-s", "1400", "192.168.123.3")
    with pinging(topology.host_1, OVERLAY_2) as result, stopped(deaf):
        time.sleep(4)
        transfer(topology.host_1, topology.host_2, OVERLAY_2, 16)
    flood.stop(signal.SIGINT)
    assert result[1] == 0
    note("receiver stops reading", "its queue at the hub", "at once: full after 16 MB or 0.5 s",
         f"its own packets; others: 0 of {result[0]:.0f} pings, the longest {result[2]:.0f} ms")  # fmt: skip
    assert hub.returncode is None


# --- whom we ask ----------------------------------------------------------------------------------

SOURCED = """\
services:
- {{name: service-0, addr: ":8443", handler: {{type: router, metadata: {{router: r}}}}, listener: {{type: tcp}}}}
routers:
- name: r
  reload: 1s
  {source}
"""


@needs_redis
def test_redis_down(topology: Topology, write: Write, note: Note) -> None:
    redis = Redis(topology.hub)
    redis.start()
    for address, gateway in ROUTES.items():
        redis.do("HSET", "gost", address, gateway)
    hub, _, _ = network(topology, write, SOURCED.format(source=f"redis: {{addr: '{redis.addr}'}}"))
    with pinging(topology.host_1, OVERLAY_2) as result:
        began = time.monotonic()
        redis.stop()
        hub.wait_line("warning.*redis", timeout=20)
        noticed = seconds(began)
        time.sleep(2)
    assert result[1] == 0
    note("Redis down", "its table, said once", noticed, "nothing: the last good routes stay")


@needs_redis
def test_redis_slow_and_lying(topology: Topology, write: Write, note: Note) -> None:
    redis = Redis(topology.hub)
    redis.start()
    for address, gateway in ROUTES.items():
        redis.do("HSET", "gost", address, gateway)
    hub, _, _ = network(topology, write, SOURCED.format(source=f"redis: {{addr: '{redis.addr}'}}"))
    with pinging(topology.host_1, OVERLAY_2) as result:
        redis.do("CLIENT", "PAUSE", "2500")
        time.sleep(3)
        redis.do("SET", "gost", "no hash any more")
        began = time.monotonic()
        hub.wait_line("redis.*the key is a string, and a hash is expected", timeout=20)
        noticed = seconds(began)
    assert result[1] == 0
    note("Redis slow", "its table waits, beside the packets", "-", "nothing")
    note(
        "Redis lies (a key of another type)",
        "its table, said once",
        noticed,
        "nothing: the last good routes stay",
    )


class Liar(threading.Thread):
    """An HTTP source in the hub's namespace that does as `mood` says."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(daemon=True)
        with in_namespace(namespace.name):
            self._listener = socket.create_server(("127.0.0.1", 8099))
        self.mood = "right"

    def run(self) -> None:
        right = "".join(f"{address} {gateway}\n" for address, gateway in ROUTES.items()).encode()
        while True:
            connection, _ = self._listener.accept()
            with connection:
                connection.recv(4096)
                if self.mood == "slow":
                    time.sleep(4)
                body = {"right": right, "slow": right, "lying": b"<html>\0\xff 10.0.0.0/99 x\n" * 50}.get(
                    self.mood
                )
                status = b"500 No" if body is None else b"200 OK"
                try:
                    connection.sendall(
                        b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s"
                        % (status, len(body or b""), body or b"")
                    )
                except OSError:
                    pass


def test_http_source_fails_is_slow_and_lies(topology: Topology, write: Write, note: Note) -> None:
    liar = Liar(topology.hub)
    liar.start()
    source = "http: {url: 'http://127.0.0.1:8099/', timeout: 2s}"
    hub, _, _ = network(topology, write, SOURCED.format(source=source))
    with pinging(topology.host_1, OVERLAY_2) as result:
        for mood, said in (("failing", "500"), ("slow", "[Tt]ime")):
            after = hub.line_count()
            liar.mood = mood
            began = time.monotonic()
            hub.wait_line(f"127.0.0.1:8099.*{said}", timeout=30, after=after)
            if mood == "failing":
                noticed = seconds(began)
            liar.mood = "right"
            hub.wait_line("is read again", timeout=40, after=after)
    assert result[1] == 0
    note("HTTP source down or slow", "its table, said once", noticed, "nothing: the last good routes stay")
    after = hub.line_count()
    with pinging(topology.host_1, OVERLAY_2) as result:
        liar.mood = "lying"
        hub.wait_line("127.0.0.1:8099.*an HTML page.*last good rows stay", timeout=20, after=after)
    assert result[1] == 0
    note("HTTP source lies (no routes, 200)", "its table, said once", "at the next reload",
         "nothing: the last good routes stay")  # fmt: skip
    assert hub.returncode is None


def test_plugin_down_and_slow(topology: Topology, write: Write, note: Note) -> None:
    text = SOURCED.replace("  reload: 1s\n", "").format(
        source="plugin: {type: http, addr: 'http://127.0.0.1:8000', timeout: 1s}"
    )
    plugin = start_plugin(topology.hub, routes={"*": ROUTES}, held=["192.168.123.9"])
    hub, _, _ = network(topology, write, text)
    with pinging(topology.host_1, OVERLAY_2) as result:
        began = time.monotonic()
        topology.host_1.run(
            "ping", "-c3", "-i0.2", "-W1", "192.168.123.9", check=False
        )  # the plugin is slow here
        hub.wait_line("router plugin: 192.168.123.9: .*no reply within 1 s")
        slow = seconds(began)
        hub.wait_line("router plugin: replies again")  # about host-2: the outage is over
    assert result[1] == 0
    note("router plugin slow", "the table, said once", slow, "packets to addresses nobody has answered for")
    began = time.monotonic()
    plugin.stop(signal.SIGKILL)
    with pinging(topology.host_1, OVERLAY_2):  # what is known serves on, until a fresh answer is wanted
        hub.wait_line("router plugin: .*(efused|reset|closed)", timeout=10)
    note(
        "router plugin down",
        "the table, said once",
        seconds(began),
        "packets to it: router-failed, until it is back",
    )
    start_plugin(topology.hub, routes={"*": ROUTES})
    reach(topology.host_1, OVERLAY_2)


def test_plugin_that_lies(topology: Topology, write: Write, note: Note) -> None:
    """It answers with what is no reply; packets are dropped, nothing else happens."""
    liar = Liar(topology.hub)
    liar.mood = "lying"
    liar.start()
    text = SOURCED.replace("  reload: 1s\n", "").format(
        source="plugin: {type: http, addr: 'http://127.0.0.1:8099', timeout: 1s}"
    )
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    began = time.monotonic()
    topology.host_1.run("ping", "-c2", "-i0.2", "-W1", OVERLAY_2, check=False)
    hub.wait_line("router plugin: .*no proper reply")
    note(
        "router plugin lies",
        "the table, said once",
        seconds(began),
        "packets to what it lies about: router-failed",
    )
    assert hub.returncode is None


# --- this host ------------------------------------------------------------------------------------


def test_disk_full(topology: Topology, write: Write, note: Note, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gevent import monkey; monkey.patch_all(); "
        "from lib import cli_main, stream_certificates; stream_certificates.state_directory = lambda: Path('/dev/full/x'); "
        "sys.exit(cli_main.main(sys.argv[1:]))"
    )
    text = example("server.yml").replace("type: tcp", "type: tls") + "log: {output: /dev/full}\n"
    path = write("hub.yml", text)
    hub = topology.hub.popen(sys.executable, "-c", code, "-C", path)
    hub.wait_line("the log cannot be written: .*No space left on device")
    words = [word.replace("router://", "router+tls://") for word in host(1, HUB_TO_HOST_1)]
    start_client(topology.host_1, *words)
    reach(topology.host_1, OVERLAY_1)
    assert hub.text().count("cannot be written") == 1
    note("disk full, for the log", "the log, once on stderr", "at once", "log lines")
    plain = write("plain.yml", text.replace("log: {output: /dev/full}\n", "").replace(":8443", ":8445"))
    other = topology.hub.popen(sys.executable, "-c", code, "-C", plain)
    other.wait_line("certificate cannot be kept")
    other.wait_line("listening on")
    note("no place to keep the certificate", "the hub: a warning", "at start",
         "the certificate at the next start: pins fail")  # fmt: skip


def test_clock_set_back(topology: Topology, write: Write, note: Note) -> None:
    """The program's own clocks; the steady one, which it lives by, is not ours to set."""
    code = (
        "import sys, time; from gevent import monkey; monkey.patch_all(); real, began = time.time, time.time();"
        "time.time = lambda: real() - (7200 if real() - began > 3 else 0);"
        "from lib import cli_main; sys.exit(cli_main.main(sys.argv[1:]))"
    )
    path = write("hub.yml", example("server.yml"))
    hub = topology.hub.popen(sys.executable, "-c", code, "-C", path)
    hub.wait_line("listening on")
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    with pinging(topology.host_1, OVERLAY_2) as result:
        time.sleep(7)
    assert result[1] == 0
    assert "left: " not in hub.text()
    note("clock set back two hours", "nobody: what is timed is timed by the steady clock", "-", "nothing")


def test_descriptor_limit(topology: Topology, write: Write, note: Note, more_hosts: list[Namespace]) -> None:
    path = write("hub.yml", example("server.yml"))
    hub = topology.hub.popen("prlimit", "--nofile=40:40", *TUNROUTER, "-C", path)
    hub.wait_line("listening on")
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    made = []
    with pinging(topology.host_1, OVERLAY_2) as result:
        began = time.monotonic()
        for _ in range(60):
            with in_namespace(more_hosts[0].name):
                sock = socket.socket()
            sock.settimeout(3)
            sock.connect(("10.77.3.1", 8443))
            made.append(sock)
        hub.wait_line("no connection is accepted: Too many open files")
        noticed = seconds(began)
        time.sleep(1)
        for sock in made:
            sock.close()
    assert result[1] == 0
    assert hub.text().count("Too many open files") < 10
    start_client(more_hosts[0], *host(3, "10.77.3.1"))
    note(
        "descriptor limit reached",
        "hub, folded in the log",
        noticed,
        "new connections wait; sessions: nothing",
    )


# --- strangers ------------------------------------------------------------------------------------


def test_syn_flood(topology: Topology, write: Write, note: Note, more_hosts: list[Namespace]) -> None:
    hub, _, _ = network(topology, write)
    with in_namespace(more_hosts[0].name):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw, pinging(topology.host_1, OVERLAY_2) as result:
        until, sent = time.monotonic() + 3, 0
        while time.monotonic() < until:
            raw.sendto(syn(sent), ("10.77.3.1", 8443))
            sent += 1
    assert result[1] == 0
    assert result[2] < 100
    start_client(more_hosts[0], *host(3, "10.77.3.1"))
    note(f"SYN flood, {sent / 3:,.0f} a second", "the kernel (SYN cookies)", "-",
         f"nothing; the longest ping {result[2]:.0f} ms")  # fmt: skip
    assert hub.returncode is None


def syn(number: int) -> bytes:
    """A SYN from an address that is not there."""
    source = socket.inet_aton(f"10.77.3.{3 + number % 250}")
    target = socket.inet_aton("10.77.3.1")
    tcp = struct.pack("!HHIIBBHHH", 1024 + number % 60000, 8443, number, 0, 0x50, 2, 1024, 0, 0)
    pseudo = source + target + struct.pack("!BBH", 0, 6, len(tcp))
    total = sum(struct.unpack("!16H", pseudo + tcp))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, source, target)
    return header + tcp


def test_handshake_flood(topology: Topology, write: Write, note: Note, more_hosts: list[Namespace]) -> None:
    """TLS handshakes as fast as one address can make them; others' pings stay under 50 ms."""
    text = unlimited(example("server.yml").replace("type: tcp", "type: tls"))
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    for number, namespace, address in (
        (1, topology.host_1, HUB_TO_HOST_1),
        (2, topology.host_2, HUB_TO_HOST_2),
    ):
        start_client(namespace, *(w.replace("router:", "router+tls:") for w in host(number, address)))
    reach(topology.host_1, OVERLAY_2)
    flood = more_hosts[0].popen(sys.executable, "-m", "tests.faults.flood", "10.77.3.1", "8443", "4")
    flood.wait_line("flooding")
    with pinging(topology.host_1, OVERLAY_2) as result:
        flood.wait(15)
    done = json.loads(flood.text().splitlines()[-1])
    assert done["handshakes"] > 100
    assert result[1] == 0
    longest = result[2]
    note(f"TLS handshake flood, {done['handshakes'] / done['seconds']:.0f} a second", "the hub, folded in the log",
         "-", f"nothing; the longest ping {longest:.0f} ms")  # fmt: skip
    assert longest < 50
    assert hub.returncode is None


def test_garbage_in_a_tls_stream(
    topology: Topology, write: Write, note: Note, more_hosts: list[Namespace]
) -> None:
    text = example("server.yml").replace("type: tcp", "type: tls")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with in_namespace(more_hosts[0].name):
        sock = socket.create_connection(("10.77.3.1", 8443), timeout=5)
    secure = trust.wrap_socket(sock)
    secure.sendall(wire_relay.encode_request(wire_relay.Request("host-3", "10.0.0.3")))
    assert secure.recv(100)[1] == 0
    began = time.monotonic()
    raw = socket.socket(fileno=os.dup(secure.fileno()))
    raw.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
    said = hub.wait_line("left: TLS: .*")[0].partition("left: ")[2]
    note("garbage in the middle of a TLS stream", f"hub: `{said.strip()}`", seconds(began), "that session")
    raw.close()
    secure.close()


def test_a_thousand_reconnects_a_second(
    topology: Topology, write: Write, note: Note, more_hosts: list[Namespace]
) -> None:
    hub, _, _ = network(topology, write, unlimited(example("server.yml")))
    memory = resident(hub)
    storm = more_hosts[0].popen(sys.executable, "-m", "tests.faults.flood", "10.77.3.1", "8443", "4", "plain")
    storm.wait_line("flooding")
    with pinging(topology.host_1, OVERLAY_2) as result:
        storm.wait(20)
    done = json.loads(storm.text().splitlines()[-1])
    rate = done["handshakes"] / done["seconds"]
    assert rate > 300
    assert result[1] == 0
    assert resident(hub) - memory < 30
    note(f"{rate:,.0f} reconnects a second", "the hub", "-",
         f"nothing; the longest ping {result[2]:.0f} ms, memory +{max(0, resident(hub) - memory):.0f} MB")  # fmt: skip
    assert pings(topology.host_1, OVERLAY_2) == 5


def resident(process: Process) -> float:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / 1e6
