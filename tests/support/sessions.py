"""Sessions with a hub on bare sockets: hosts that cost nothing, as many as are wanted.

Knows: the handshake of a client, and what it says of itself as a tunrouter.
Refuses to know: what is sent afterwards, and in which network namespace (the caller is there already).
"""

from __future__ import annotations

import os
import socket

from lib import framing, wire_control
from lib.wire_control import Hello
from lib.wire_relay import Request, Status, decode_response, encode_request


def joined(
    address: tuple[str, int], request: Request, features: int = 0, receive: int = 0
) -> tuple[socket.socket, bytes]:
    """(the socket of a session, what came behind the hub's response). Raises AssertionError when the hub says no.

    With `features` (wire_control.Feature) the host is a tunrouter. Its kernel holds `receive` bytes that are not
    read, or as many as usual.
    """
    sock = socket.socket()
    try:
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.settimeout(30)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(encode_request(request))
        came = b""
        while (decoded := decode_response(came)) is None:
            received = sock.recv(4096)
            assert received, f"the hub closed on client {request.host}"
            came += received
        response, size = decoded
        assert response.status == Status.OK, f"the hub refused client {request.host}: {response}"
        if features:
            hello = Hello(os.urandom(wire_control.INSTANCE_SIZE), features=features)
            sock.sendall(framing.encode(wire_control.encode_hello(hello)))
    except BaseException:
        sock.close()
        raise
    return sock, came[size:]
