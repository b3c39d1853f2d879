"""Isolation: many namespaces with the same addresses, in all of a hub's states; never a packet across.

Eight namespaces share one host's address space. Each packet carries the namespace it was sent in; whoever
gets it looks. Meanwhile tables are reloaded, sessions come and go, answers of a plugin are cached and run
out.
"""

from __future__ import annotations

import random
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import forward, forward_frame, framing
from lib import packet as ip
from lib.acl import Acl
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.route_plugin_cache import PluginCache
from lib.route_table import HubAddress, Route, RouteTable, group
from lib.settings import Hop
from lib.settings_acl import AclRule
from tests.support import packets as p
from tests.support.netns import HUB_TO_HOST_1, Topology, in_namespace
from tests.support.program import start_hub
from tests.support.routes import entry

Write = Callable[[str, str], str]
HOSTS = 4
KEYS = [bytes([n]) * 16 for n in range(8)]


class Plugin:
    """Answers by namespace: a host whose name says which."""

    acl: Acl | None = None
    own: tuple[HubAddress, ...] = ()

    def route(self, address: bytes, namespace: bytes) -> Route | None:
        return Route(address, 32, group([Hop(f"host-{address[3]}")]))


def addresses() -> st.SearchStrategy[str]:
    return st.integers(0, HOSTS - 1).map(lambda n: f"10.0.0.{n}")


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(KEYS), addresses(), addresses(), st.integers(0, 5)),
        st.tuples(st.just("reload"), st.booleans(), st.booleans()),
        st.tuples(st.just("leave"), st.sampled_from(KEYS), st.integers(0, HOSTS - 1)),
        st.tuples(st.just("wait"), st.floats(0, 40)),
    ),
    max_size=120,
)


@given(MOVES, st.booleans())
@settings(max_examples=150)
def test_no_packet_ever_crosses(  # noqa: C901 - one branch a move
    moves: list[tuple[object, ...]], plugin: bool
) -> None:
    """Forwarding itself, in any order of events: a packet comes out in the namespace it came from."""
    table = [entry(f"10.0.0.{n}/32", f"host-{n}") for n in range(HOSTS)]
    domain = Domain({KEYS[0]: RouteTable(table)}, Plugin() if plugin else RouteTable(table))
    attachments: dict[tuple[bytes, int], Attachment] = {}
    now, out = 0.0, forward_frame.Output()

    def join(key: bytes, number: int) -> Attachment:
        attachment = attachments.get((key, number))
        if attachment is None or not attachment.live:
            attachment = attachments[key, number] = Attachment(
                domain.namespace(key), f"host-{number}", "test"
            )
            attachment.mtu = 1500
            domain.enter(attachment, now)
        return attachment

    for move in moves:
        if move[0] == "send":
            _, key, source, destination, kind = move
            assert isinstance(key, bytes)
            for number in range(HOSTS):
                join(key, number)
            sender = join(key, int(str(source)[-1]))
            data = p.udp(str(source), str(destination), key, ports=(int(str(kind)) + 1, 9))
            buf = bytearray(framing.encode(data) + bytes(framing.SLACK))
            forward.scan(sender, buf, memoryview(buf), 0, len(data) + 2, now, out)
            resolve(sender, now, out)
            for attachment, runs in out.runs.items():
                for content in p.contents(b"".join(runs)):
                    packet = ip.parse(content, 0, len(content))
                    assert isinstance(packet, ip.Packet)
                    if packet.protocol == ip.UDP:
                        assert p.payload_of(content) == attachment.namespace.id == key
                        assert attachment.host == f"host-{packet.destination[3]}"
            out.runs.clear()
        elif move[0] == "reload":
            tables = {KEYS[0]: RouteTable(table)}
            if move[1]:
                tables[KEYS[1]] = RouteTable(table)
                tables[KEYS[1]].acl = Acl([AclRule(True)])
            default = Plugin() if move[2] else RouteTable(table)
            domain.replace_tables(tables, default, 1.0, True)
        elif move[0] == "leave":
            attachment = attachments.pop((move[1], move[2]), None)  # type: ignore[arg-type]
            if attachment is not None and attachment.live:
                domain.leave(attachment)
        else:
            now += float(str(move[1]))


def resolve(attachment: Attachment, now: float, out: forward_frame.Output) -> None:
    """What the hub does beside the packets: ask, and let go what waited."""
    for table in attachment.namespace.tables:
        if isinstance(table, PluginCache) and table.asker is not None:
            for address in table.take_wanted():
                route = table.asker.route(address, attachment.namespace.id)
                for sender, frame in table.store(address, route, now):
                    buf = bytearray(frame + bytes(framing.SLACK))
                    forward.scan(sender, buf, memoryview(buf), 0, len(frame), now, out)


# --- the whole program ------------------------------------------------------------------------------


def uuid(number: int) -> str:
    return f"e87f56dd-fd57-4921-9ab8-{number:012x}"


def handshake(number: int, host: int) -> bytes:
    """A client's request, by hand: host H in namespace N."""
    name = f"host-{host}".encode()
    features = (
        b"\4\0\2\0\2" + b"\2\0\7\1" + bytes([10, 0, 0, host]) + b"\0\0"
        + b"\2" + struct.pack("!HBB", len(name) + 4, 3, len(name)) + name + b"\0\0"
        + b"\3\0\x14" + bytes.fromhex(uuid(number).replace("-", "")) + bytes(4)
    )  # fmt: skip
    return b"\1\3" + struct.pack("!H", len(features)) + features


@pytest.mark.parametrize("seed", range(2))
def test_a_hub_under_reload(  # noqa: C901 - a hub, its clients and what happens to them
    topology: Topology, write: Write, no_traceback: None, seed: int
) -> None:
    """48 sessions in 16 namespaces of the same three addresses, 8,000 packets, reloads and reconnects between."""
    spaces, hosts = 16, (1, 2, 3)
    dice = random.Random(seed)

    def config() -> str:
        lines = ["services:", "- name: s", "  addr: ':8443'",
                 "  handler: {type: router, metadata: {router: all, cache: x}}".replace(", cache: x", ""),
                 "  listener: {type: tcp}", "routers:", "- name: all", "  routes:"]  # fmt: skip
        lines += [f"  - {{dst: 10.0.0.{host}, gateway: host-{host}}}" for host in hosts]
        for number in dice.sample(range(spaces), 6):
            lines += [f"- name: {uuid(number)}", "  routes:"]
            lines += [f"  - {{dst: 10.0.0.{host}, gateway: host-{host}}}" for host in hosts]
        return "\n".join(lines) + "\n"

    path = write("hub.yml", config())
    hub = start_hub(topology.hub, "-C", path)

    def connect(number: int, host: int) -> socket.socket:
        with in_namespace(topology.host_1.name):
            sock = socket.create_connection((HUB_TO_HOST_1, 8443), timeout=5)
        sock.sendall(handshake(number, host))
        answer = b""
        while len(answer) < 27:
            answer += sock.recv(27 - len(answer))
        assert answer[1] == 0
        return sock

    sessions = {(number, host): connect(number, host) for number in range(spaces) for host in hosts}
    received = dict.fromkeys(range(spaces), 0)
    pending: dict[socket.socket, bytes] = {}

    def take(seconds: float) -> None:
        owners = {sock: key for key, sock in sessions.items()}
        while ready := select.select(list(owners), [], [], seconds)[0]:
            for sock in ready:
                data = pending.get(sock, b"") + sock.recv(65536)
                while len(data) >= 2 and len(data) >= 2 + (size := int.from_bytes(data[:2])):
                    content, data = data[2 : 2 + size], data[2 + size :]
                    if content[9] == 17:
                        number, host = owners[sock]
                        assert p.payload_of(content)[:2] == bytes([number, host]), "a packet has crossed"
                        received[number] += 1
                pending[sock] = data

    for turn in range(80):
        for _ in range(100):
            number = dice.randrange(spaces)
            source, target = dice.sample(hosts, 2)
            data = p.udp(f"10.0.0.{source}", f"10.0.0.{target}", bytes([number, target]) + bytes(20),
                         ports=(dice.randrange(1, 4), 9))  # fmt: skip
            sessions[number, source].sendall(framing.encode(data))
        take(0)
        if turn % 10 == 3:
            after = hub.line_count()
            Path(path).write_text(config())
            hub.send(1)
            hub.wait_line("reload: (done|nothing)", after=after)
        if turn % 10 == 7:
            for key in dice.sample(sorted(sessions), 5):
                take(0.05)
                sessions.pop(key).close()
                sessions[key] = connect(*key)
    take(0.5)
    assert all(count > 200 for count in received.values())
    assert hub.stop() == 0
