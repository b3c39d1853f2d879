"""What HTTP servers of ours receive is read in turns: requests and bodies without end hold up nobody."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent import pywsgi, ssl
from gevent import socket as gsocket

from lib import stream_http_turns
from lib.service_scheduling import Share
from lib.stream_http_turns import PIECE, Requests, shake_hands
from tests.support.netns import ROOT

CERTIFICATE, KEY = (f"{ROOT}/tests/data/tls/{name}.pem" for name in ("cert", "key"))


class Noting(Share):
    """A share that notes who has had a turn, and for how long."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[tuple[object, float]] = []
        self._key: object = None

    def enter(self, key: Any) -> None:
        super().enter(key)
        self._key = key

    def leave(self, seconds: float) -> None:
        super().leave(seconds)
        self.turns.append((self._key, seconds))


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> Noting:
    made = Noting()
    monkeypatch.setattr(stream_http_turns, "SHARE", made)
    return made


@pytest.mark.parametrize(
    ("first", "endless"),
    [
        pytest.param(b"", b"1\r\nx\r\n", id="chunks of a byte"),
        pytest.param(b"0\r\n", b"a: b\r\n", id="trailers"),
        pytest.param(b"", b"1;" + b"x" * 5000 + b"\r\nx\r\n", id="extensions of chunks"),
    ],
)
def test_a_chunked_body_without_end_lets_others_run(first: bytes, endless: bytes, share: Noting) -> None:
    """pywsgi reads it byte by byte, and gevent's recv lets nobody run while there is data."""
    near, far = gsocket.socketpair()
    size = 40 * PIECE
    near.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_SNDBUF, 2 * size)
    near.sendall(first + (endless * (size // len(endless) + 1))[:size])
    near.shutdown(gsocket.SHUT_WR)
    loop = gevent.get_hub().loop
    before = loop.iteration
    body = pywsgi.Input(Requests(far, "a").buffered(), None, chunked_input=True)
    with suppress(OSError, ValueError):  # at the end of all that was sent
        while body.read(1000):
            pass
    assert loop.iteration - before >= 20
    assert len(share.turns) >= 20
    assert {key for key, _ in share.turns} == {"a"}
    near.close()
    far.close()


def test_each_of_many_requests_at_once_is_a_turn(share: Noting) -> None:
    near, far = gsocket.socketpair()
    near.sendall(b"GET / HTTP/1.1\r\n" * 50)
    requests = Requests(far, "a")
    file = requests.buffered()
    for number in range(50):
        requests.next_request()
        assert file.readline() == b"GET / HTTP/1.1\r\n"
        assert len(share.turns) == number
    requests.end_turn()
    requests.end_turn()
    assert len(share.turns) == 50
    near.close()
    far.close()


def test_who_waits_for_something_else_has_no_turn_any_more(share: Noting) -> None:
    near, far = gsocket.socketpair()
    near.sendall(b"x\n")
    requests = Requests(far, "a")
    assert requests.buffered().readline() == b"x\n"
    gevent.sleep(0.01)
    requests.end_turn()
    assert share.turns == []
    near.close()
    far.close()


def test_steps_of_a_tls_handshake_are_turns(share: Noting) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    near, far = gsocket.socketpair()
    client = gevent.spawn(trusting.wrap_socket, near)
    server = context.wrap_socket(far, server_side=True, do_handshake_on_connect=False)
    with gevent.Timeout(5):
        shake_hands(server, "b")
        client.get().close()
    assert len(share.turns) >= 2
    assert {key for key, _ in share.turns} == {"b"}
    server.close()
