"""What a proxy's refusal is told as: the proxy's, with what it means, whichever of a chain it was."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import gevent
import pytest
from gevent import socket
from gevent.server import StreamServer

from lib.client_dial import hop_of, let_in
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.stream_bounded import Bounds
from lib.stream_dial import PLAIN
from lib.stream_proxy import connect
from tests.support.devices import NoTunnel

HUB = "hub.test:8443"


@contextmanager
def replying(*replies: bytes, stay: bool = False) -> Iterator[int]:
    """The port of a server that sends one reply for each piece it receives, and then closes, or stays."""

    def serve(sock: socket.socket, address: object) -> None:
        with suppress(OSError):
            for reply in replies:
                sock.recv(4096)
                sock.sendall(reply)
            if stay:
                sock.recv(1)
                gevent.sleep(60)
        sock.close()

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop(timeout=0)


def failure(*proxies: ProxySettings, seconds: float = 5.0) -> OSError:
    node = NodeSettings("n", "hub.test", 8443, proxies=proxies, connect_timeout=seconds)
    settings = ClientSettings("s", "host-1", DeviceSettings(), (node,))
    with pytest.raises(OSError) as raised, gevent.Timeout(10):
        let_in(settings, node, NoTunnel(settings))
    return raised.value


NO_LOGIN, LOGIN = ("", ""), ("ann", "wrong")
HEAD = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n"
DENIED = f"does not allow a connection to {HUB}"
REFUSALS = [
    ("http", NO_LOGIN, [HEAD % b"407 Proxy Authentication Required"], "wants a login (407 Proxy Authentication Required): write http://user:password@"),
    ("http", LOGIN, [HEAD % b"407 Proxy Authentication Required"], "does not accept the login 'ann' (407 "),
    ("http", NO_LOGIN, [HEAD % b"403 Forbidden"], f"{DENIED} (403 Forbidden)"),
    ("http", NO_LOGIN, [HEAD % b"405 Not Allowed"], f"makes no tunnels, or not to {HUB} (405 Not Allowed)"),
    ("http", NO_LOGIN, [HEAD % b"502 Bad Gateway"], f"cannot reach {HUB} (502 Bad Gateway)"),
    ("http", NO_LOGIN, [HEAD % b"504 Gateway Timeout"], f"cannot reach {HUB} (504 Gateway Timeout)"),
    ("http", NO_LOGIN, [HEAD % b"418 I'm a teapot"], ": 418 I'm a teapot"),
    ("http", NO_LOGIN, [b"SSH-2.0-OpenSSH_9.9\r\n"], ": Invalid status line: SSH-2.0-OpenSSH_9.9"),
    ("socks5", NO_LOGIN, [b"\5\xff"], "wants a login (No acceptable authentication methods were offered): write socks5://user:password@"),
    ("socks5", LOGIN, [b"\5\2", b"\1\1"], "does not accept the login 'ann' (Username and password authentication failure)"),
    ("socks5", NO_LOGIN, [b"\5\0", b"\5\2\0\1" + bytes(6)], f"{DENIED} (Connection not allowed by ruleset)"),
    ("socks5", NO_LOGIN, [b"\5\0", b"\5\5\0\1" + bytes(6)], f"cannot reach {HUB} (Connection refused by destination host)"),
    ("socks5", NO_LOGIN, [b"\5\0", b"\5\4\0\1" + bytes(6)], f"cannot reach {HUB} (Host unreachable)"),
    ("socks4", NO_LOGIN, [b"\0\x5b" + bytes(6)], f"cannot reach {HUB} (Request rejected or failed)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "login", "replies", "said"), REFUSALS)
def test_a_refusal_is_the_proxys_and_says_what_it_means(
    kind: str, login: tuple[str, str], replies: list[bytes], said: str
) -> None:
    with replying(*replies, stay=True) as port:
        error = failure(ProxySettings(kind, "127.0.0.1", port, *login))
    assert f"proxy 127.0.0.1:{port}{'' if said.startswith(':') else ' '}{said}" in str(error)
    is_its_own = any(words in said for words in ("login", "makes no tunnels"))
    assert hop_of(error) == (0 if is_its_own else 1), "else it is the hub that was not reached, as in GOST"


@pytest.mark.parametrize("kind", ["http", "socks5", "socks4"])
def test_a_proxy_that_closes_or_is_silent_or_is_not_there(kind: str) -> None:
    with replying(b"") as port:
        assert f"proxy 127.0.0.1:{port}: " in str(failure(ProxySettings(kind, "127.0.0.1", port)))
    with replying(stay=True) as port:
        silent = failure(ProxySettings(kind, "127.0.0.1", port), seconds=0.2)
        assert f"within 0.2 s: proxy 127.0.0.1:{port} has no connection to {HUB} yet" in str(silent)
        assert silent.errno == errno.ETIMEDOUT
        assert hop_of(silent) == -1, "the hub was not reached by it"
    gone = failure(ProxySettings(kind, "127.0.0.1", port))
    assert f"proxy 127.0.0.1:{port} cannot be reached: " in str(gone)
    assert gone.errno == errno.ECONNREFUSED
    assert hop_of(gone) == 0


def test_of_a_chain_the_one_that_refused_is_named() -> None:
    """The second says no; and, in the other order, the first."""
    with replying(b"HTTP/1.1 200 OK\r\n\r\n", HEAD % b"403 Forbidden", stay=True) as first:
        error = failure(ProxySettings("http", "127.0.0.1", first), ProxySettings("http", "second.test", 3128))
    assert str(error).endswith(f"proxy second.test:3128 {DENIED} (403 Forbidden)")
    assert hop_of(error) == 2
    with replying(HEAD % b"502 Bad Gateway", stay=True) as first:
        error = failure(ProxySettings("http", "127.0.0.1", first), ProxySettings("http", "second.test", 3128))
    assert str(error).endswith(f"proxy 127.0.0.1:{first} cannot reach second.test:3128 (502 Bad Gateway)")
    assert hop_of(error) == 1


def test_a_proxy_s_head_may_come_in_pieces_and_with_the_hub_s_first_bytes() -> None:
    """What comes behind the head is the hub's; what is still missing of the head is not."""
    whole = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 office\r\n\r\n"

    def serve(sock: socket.socket, address: object) -> None:
        sock.recv(4096)
        for piece in (whole[:20], whole[20:-1], whole[-1:] + b"the hub's"):
            sock.sendall(piece)
            gevent.sleep(0.02)  # a packet each
        sock.recv(1)

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    try:
        proxy = ProxySettings("http", "127.0.0.1", server.server_port, "", "")
        bounds = Bounds(5.0, 1 << 20)
        sock = connect((proxy,), "hub.test", 8443, bounds, PLAIN)
        assert sock.recv(100) == b"the hub's"
        sock.close()
    finally:
        server.stop(timeout=0)
