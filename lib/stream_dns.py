"""DNS question to one name server, over UDP or TCP, and its answer (RFC 1035, 4.2; RFC 5452; RFC 7766).

Knows: that each question has a number and a port of its own, both random, and that nothing but its answer,
from the server itself, is taken for it.
Refuses to know: which server is asked (dns_forward), what is done with an answer.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress

from gevent import socket

from lib import dns_forward
from lib.stream_deadline import within
from lib.stream_resolve import numeric

PORT = 53
LARGEST = 65535
"""Bytes of an answer over TCP; over UDP as many as the question's EDNS says, which are fewer."""
MOST_WRONG = 64
"""Datagrams of the server that are no answer, after which there is none: gevent's recv lets nobody else run
while there are more, nor a deadline fire."""
_LENGTH = struct.Struct("!H")


def ask(server: str, question: bytes, over_tcp: bool, seconds: float) -> bytes | None:
    """The answer of the server at an IP address, with the question's own number; None without one in time.

    `question` is one that dns_forward.asked() understands.
    """
    found = dns_forward.asked(question)
    if found is None:
        return None
    sent = os.urandom(2) + question[2:]
    with suppress(OSError):  # nobody listens there, or there is no way
        with within(seconds, lambda: TimeoutError(errno.ETIMEDOUT, "no answer")):
            reply = (_by_tcp if over_tcp else _by_udp)(server, sent, found.end)
        return question[:2] + reply[2:]
    return None


def _by_udp(server: str, question: bytes, end: int) -> bytes:
    """The first datagram of the server that answers. Raises OSError."""
    family, _, _, _, where = numeric(server, PORT)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        # Connected, so that the kernel takes a random port and drops what others send, and tells us where
        # nobody listens.
        asking.connect(where)
        asking.send(question)
        for _ in range(MOST_WRONG):
            reply: bytes = asking.recv(LARGEST)
            if dns_forward.is_answer(question, end, reply):
                return reply
    raise OSError(errno.EPROTO, "nothing but what is no answer")


def _by_tcp(server: str, question: bytes, end: int) -> bytes:
    """The answer over a connection of its own. Raises OSError."""
    family, _, _, _, where = numeric(server, PORT)[0]
    with socket.socket(family, socket.SOCK_STREAM) as asking:
        asking.connect(where)
        asking.sendall(framed(question))
        reply = received(asking)
        if reply is None or not dns_forward.is_answer(question, end, reply):
            raise OSError(errno.EPROTO, "that is no answer")
        return reply


def received(stream: socket.socket) -> bytes | None:
    """The next message of a TCP connection; None at its end. Raises OSError."""
    head = _exactly(stream, _LENGTH.size)
    return None if head is None else _exactly(stream, _LENGTH.unpack(head)[0])


def framed(message: bytes) -> bytes:
    """A message as it is sent over TCP (RFC 1035, 4.2.2)."""
    return _LENGTH.pack(len(message)) + message


def _exactly(stream: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            return None
        data += more
    return data
