"""A question to one name server: whatever the server sends, it has an end."""

from __future__ import annotations

import struct
import time

import gevent
import pytest
from gevent import socket

from lib import stream_dns

QUESTION = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\1a\4test\0\0\1\0\1"


def test_a_server_that_sends_nothing_but_wrong_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """gevent's recv lets nobody run while there is data, so the deadline would not fire."""
    served: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(stream_dns, "PORT", server.getsockname()[1])

        def lie() -> None:
            _, asker = server.recvfrom(4096)
            for number in range(2 * stream_dns.MOST_WRONG):
                server.sendto(b"no answer", asker)
                served.append(number)

        lying = gevent.spawn(lie)
        began = time.monotonic()
        assert stream_dns.ask("127.0.0.1", QUESTION, False, 20.0) is None
        assert time.monotonic() - began < 10
        lying.join()
        assert len(served) > stream_dns.MOST_WRONG


def test_a_right_answer_behind_wrong_ones_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(stream_dns, "PORT", server.getsockname()[1])

        def answer() -> None:
            asked, asker = server.recvfrom(4096)
            for _ in range(stream_dns.MOST_WRONG - 1):
                server.sendto(b"no answer", asker)
            server.sendto(asked[:2] + b"\x81\x83" + asked[4:], asker)

        gevent.spawn(answer)
        found = stream_dns.ask("127.0.0.1", QUESTION, False, 5.0)
        assert found is not None
        assert found[:4] == b"\0\7\x81\x83"
