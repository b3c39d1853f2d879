"""Traffic for tests: TCP transfers with a checksum, iperf3, numbered UDP packets.

Sockets are opened in namespaces and used from this process.
"""

from __future__ import annotations

import hashlib
import json
import random
import select
import socket
import threading

from tests.support.netns import Namespace, in_namespace

PORT = 7000
_BLOCK = 1 << 20


def transfer(sender: Namespace, receiver: Namespace, address: str, blocks: int) -> None:
    """Send so many MB of random content over TCP to an address of the receiver.

    Raises AssertionError unless exactly that arrives.
    """
    with in_namespace(receiver.name):
        server = socket.create_server((address, PORT))
    with server:
        with in_namespace(sender.name):
            client = socket.create_connection((address, PORT), timeout=10)
        connection, _ = server.accept()
    sent, received, size = hashlib.sha256(), hashlib.sha256(), 0
    with client, connection:
        connection.settimeout(20)
        sending = threading.Thread(target=_send, args=(client, blocks, sent))
        sending.start()
        while data := connection.recv(_BLOCK):
            received.update(data)
            size += len(data)
        sending.join()
    assert size == blocks * _BLOCK
    assert received.digest() == sent.digest()


def _send(client: socket.socket, blocks: int, digest: hashlib._Hash) -> None:
    dice = random.Random(blocks)
    for _ in range(blocks):
        block = dice.randbytes(_BLOCK)
        digest.update(block)
        client.sendall(block)
    client.shutdown(socket.SHUT_WR)


def iperf3(sender: Namespace, receiver: Namespace, address: str, *options: str) -> int:
    """iperf3 with 8 MB, or with `-t SECONDS` for so long, towards an address of the receiver; returns the bytes received."""
    return int(_received(sender, receiver, address, *options)["bytes"])


def iperf3_rate(sender: Namespace, receiver: Namespace, address: str, *options: str) -> float:
    """As iperf3; returns the bytes a second that were received."""
    return float(_received(sender, receiver, address, *options)["bits_per_second"]) / 8


def _received(sender: Namespace, receiver: Namespace, address: str, *options: str) -> dict[str, float]:
    server = receiver.popen("iperf3", "-s", "-1", "--forceflush")
    server.wait_line("Server listening")
    end = () if "-t" in options else ("-n", "8M")
    said = sender.run("iperf3", "-c", address, *end, "--json", *options)
    server.wait()
    found: dict[str, float] = json.loads(said)["end"]["sum_received"]
    return found


def udp(namespace: Namespace, address: str = "", port: int = 0, timeout: float = 5.0) -> socket.socket:
    """A UDP socket in a namespace, bound to an address of it."""
    with in_namespace(namespace.name):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(timeout)
    made.bind((address, port))
    return made


def collect(receiver: socket.socket, last: bytes) -> list[bytes]:
    """The packets that arrive up to the one that says `last`, that one left out."""
    packets: list[bytes] = []
    while (packet := receiver.recv(2048)) != last:
        packets.append(packet)
    return packets


def waiting(receiver: socket.socket) -> list[tuple[bytes, int]]:
    """(content, source port) of what has arrived already; nothing is awaited."""
    packets = []
    poll = select.poll()
    poll.register(receiver, select.POLLIN)
    while poll.poll(0):
        content, source = receiver.recvfrom(2048)
        packets.append((content, int(source[1])))
    return packets
