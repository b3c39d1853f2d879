"""UDP sockets of datagram channels between two real network namespaces: addresses, MTU, ways, a firewall."""

from __future__ import annotations

from pathlib import Path

import gevent

from lib.datagram_open import beside, toward
from lib.datagram_socket import Address, DatagramSocket, Sent
from lib.settings_dial import DialSettings
from lib.stream_listen import bind
from tests.support.netns import HOST_1, HUB_TO_HOST_1, Namespace, connect, in_namespace

PORT = 4443
SECONDS = 5.0
SECOND = "10.77.1.9"
"""A second address of the hub, on the same device."""
HEADERS = 28
"""Of IPv4 and UDP."""


def received(sock: DatagramSocket, count: int) -> list[tuple[Address, bytes]]:
    found: list[tuple[Address, bytes]] = []
    with gevent.Timeout(SECONDS):
        while len(found) < count:
            found += sock.recv_burst()
    return found


def test_datagrams_between_two_namespaces(tmp_path: Path) -> None:
    with Namespace("hub", tmp_path) as hub, Namespace("host-1", tmp_path) as host:
        connect(hub, "to-host-1", f"{HUB_TO_HOST_1}/24", host, "uplink", f"{HOST_1}/24")
        hub.run("ip", "address", "add", f"{SECOND}/24", "dev", "to-host-1")
        with in_namespace(hub.name):
            listener = bind("", PORT)
        far = beside(listener, hub.name)
        with in_namespace(host.name):
            near, address = toward(SECOND, PORT, device="uplink")
        other, _ = toward(SECOND, PORT, "uplink", DialSettings(netns=host.name))
        assert other.send_burst(address, [b"from another socket of that namespace"]) == Sent(1)
        assert received(far, 1)[0][1] == b"from another socket of that namespace"
        other.close()

        # a burst crosses a veth pair as one, and the reply has the address that was asked
        burst = [bytes([number]) * 1400 for number in range(64)]
        for _ in range(4):
            assert near.send_burst(address, burst[:40]) == Sent(40)
            assert near.segments
            assert [data for _, data in received(far, 40)] == burst[:40]
        near.send_burst(address, [b"ping"])
        ((back, _),) = received(far, 1)
        assert far.send_burst(back, burst) == Sent(64)
        assert {str(whence) for whence, _ in received(near, 64)} == {f"{SECOND}:{PORT}"}

        # nothing is ever fragmented: what the device does not take is refused, whatever the kernel knows
        assert near.send_burst(address, [bytes(1500 - HEADERS)]) == Sent(1)
        assert near.send_burst(address, [bytes(1501 - HEADERS)] * 3) == Sent(0, 1501 - HEADERS)
        assert len(received(far, 1)[0][1]) == 1500 - HEADERS

        # a firewall, a port where nobody listens and a device that is down: lost, and soon all is well again
        host.run("nft", "add table ip t; add chain ip t o { type filter hook output priority 0; }")
        host.run("nft", "add rule ip t o udp dport 4443 drop")
        assert near.send_burst(address, [b"x"] * 3) == Sent(0)
        host.run("nft", "delete table ip t")
        near.send_burst(Address((SECOND, PORT + 1)), [b"x"])
        host.run("ip", "link", "set", "uplink", "down")
        assert near.send_burst(address, [b"x"] * 3) == Sent(0)
        host.run("ip", "link", "set", "uplink", "up")
        with gevent.Timeout(SECONDS):
            while near.send_burst(address, [b"back"]).taken == 0:
                gevent.sleep(0.01)
        ((back, data),) = received(far, 1)
        assert data == b"back"

        # the address that was asked has gone: the hub replies by another one
        hub.run("ip", "address", "del", f"{SECOND}/24", "dev", "to-host-1")
        assert far.send_burst(back, [b"moved"] * 2) == Sent(2)
        assert {whence.far[0] for whence, _ in received(near, 2)} == {HUB_TO_HOST_1}
        near.close()
        far.close()
        listener.close()
