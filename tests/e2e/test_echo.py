"""The tests' own ping counts late replies, none of others', and waits for nothing that an error has ended."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.support import echo
from tests.support.netns import Namespace, in_namespace

RULES = "table inet t {{ chain c {{ type filter hook input priority 0; icmp type echo-request {0}; icmpv6 type echo-request {0}; }}; }}"
LATE = 0.5


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_is_answered_dropped_and_refused(namespace: Namespace, address: str) -> None:
    assert echo.answered(namespace.name, address, 5, 0.01) == 5
    for verdict, least, most in (("drop", echo.NOTHING_SECONDS, 60.0), ("reject", 0.0, echo.NOTHING_SECONDS)):
        namespace.run("nft", f"flush ruleset; {RULES.format(verdict)}")
        began = time.monotonic()
        assert echo.answered(namespace.name, address, 2, 0.01) == 0
        assert least <= time.monotonic() - began <= most


def test_a_late_reply_counts(namespace: Namespace) -> None:
    """Here one comes after 500 ms, for which ping(8) does not wait."""
    namespace.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    with in_namespace(namespace.name):
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def answer() -> None:
        for _ in range(3):
            while (request := sock.recv(2048)[20:])[0] != 8:
                pass
            reply = bytearray(request)
            reply[0] = 0
            reply[2:4] = ((int.from_bytes(request[2:4], "big") + 0x0800) % 0xFFFF).to_bytes(2, "big")
            threading.Timer(LATE, sock.sendto, (bytes(reply), ("127.0.0.1", 0))).start()

    answering = threading.Thread(target=answer, daemon=True)
    answering.start()
    assert echo.answered(namespace.name, "127.0.0.1", 3, 0.05) == 3
    answering.join()
    sock.close()


def test_no_route_is_no_silence(namespace: Namespace) -> None:
    with pytest.raises(OSError, match="unreachable"):
        echo.answered(namespace.name, "10.9.9.9", 2)
