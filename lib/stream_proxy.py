"""A connection to a hub through a chain of SOCKS and HTTP proxies, and what a proxy's refusal means.

Knows: python-socks, and the codes by which proxies refuse (RFC 1928, 6; RFC 9110, 15; SOCKS 4).
Refuses to know: what is sent over the connection (stream_open).

Every error names the proxy that it comes from. So nobody looks for a proxy's mistake at the hub.
"""

from __future__ import annotations

import errno
from typing import Any

from lib.addresses import dns_name, join_host_port
from lib.settings import ProxySettings
from lib.stream_bounded import Bounds, failing_as
from lib.stream_dial import Ways, dial, distrust

MAX_HEAD = 1 << 14
"""Bytes of the status line and headers of an HTTP proxy's reply."""

_UNKNOWN, _LOGIN, _DENIED, _UNREACHED, _NO_TUNNELS = range(5)
_MEANING = {
    ("http", 401): _LOGIN, ("http", 407): _LOGIN, ("http", 403): _DENIED,
    ("http", 405): _NO_TUNNELS, ("http", 400): _NO_TUNNELS, ("http", 501): _NO_TUNNELS,
    ("http", 502): _UNREACHED, ("http", 503): _UNREACHED, ("http", 504): _UNREACHED,
    ("socks5", 2): _DENIED, ("socks5", 1): _UNREACHED, ("socks5", 3): _UNREACHED, ("socks5", 4): _UNREACHED,
    ("socks5", 5): _UNREACHED, ("socks5", 6): _UNREACHED,
    ("socks4", 91): _UNREACHED, ("socks4", 92): _LOGIN, ("socks4", 93): _LOGIN,
}  # fmt: skip
"""(kind of proxy, its code) -> what it means."""
_LOGIN_TEXTS = ("authentication methods", "authentication failure")
"""Parts of python-socks' texts for a refused login of SOCKS 5, which has no code."""


class ProxyFailed(OSError):
    """A proxy on the way to the hub refused, or cannot be used; the text names it.

    `hop` is the number of the hop whose node has failed by that, as in GOST: the one that was not reached.
    """

    def __init__(self, number: int, text: str, hop: int = 0) -> None:
        super().__init__(number, text)
        self.hop = hop


def connect(
    proxies: tuple[ProxySettings, ...],
    host: str,
    port: int,
    bounds: Bounds,
    ways: Ways,
    mptcp: bool = False,
) -> Any:
    """A socket that is connected to host:port through these proxies; the last one looks up the host's name.

    `bounds`, `ways` and `mptcp` are as for stream_dial.dial. Raises ProxyFailed.
    """
    first = _First(proxies[0], bounds, ways, mptcp)
    way: Any = first
    for number, proxy in enumerate(proxies):
        way = _Through(proxy, way, bounds, number)
    try:
        return way.connect(dns_name(host), port)
    except BaseException:
        if first.sock is not None:
            first.sock.close()  # python-socks closes it for an Exception only
            distrust(proxies[0].host, proxies[0].port)
        raise


class _First:
    """The connection to the first proxy, made our way."""

    def __init__(self, proxy: ProxySettings, bounds: Bounds, ways: Ways, mptcp: bool) -> None:
        self._name, self._bounds, self._ways, self._how = _name(proxy), bounds, ways, proxy.dial
        self._mptcp = mptcp
        self.sock: Any = None

    def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> Any:
        try:
            self.sock = dial(dest_host, dest_port, self._bounds, self._ways, how=self._how, mptcp=self._mptcp)
        except OSError as error:
            text = f"{self._name} cannot be reached: {error.strerror or error}"
            raise ProxyFailed(error.errno or errno.EHOSTUNREACH, text) from None
        return self.sock


class _Noting:
    """The connection to a proxy; once it is there, `bounds` have what is waited for next."""

    def __init__(self, way: Any, bounds: Bounds, kind: str, next_wait: str) -> None:
        self._way, self._bounds, self._kind, self._next_wait = way, bounds, kind, next_wait

    def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> Any:
        sock = self._way.connect(dest_host, dest_port)
        self._bounds.waits_for = self._next_wait
        self._bounds.hop += 1
        return _WholeHead(sock) if self._kind == "http" else sock


class _WholeHead:
    """The socket of an HTTP proxy, from which a receive gives the whole head of its reply.

    python-socks takes what one receive gives for all of it; a rest would be taken for the hub's first bytes.
    """

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.sendall, self.close = sock.sendall, sock.close

    def recv(self, size: int) -> bytes:
        head = b""
        while len(head) < MAX_HEAD and (byte := self.sock.recv(1)):
            head += byte
            is_http = head.startswith(b"HTTP/")
            if head.endswith(b"\r\n\r\n" if is_http else b"\n"):
                break
        return head


class _Through:
    """One proxy of the chain, reached by `way`: connections through it, with errors in its name."""

    def __init__(self, proxy: ProxySettings, way: Any, bounds: Bounds, number: int) -> None:
        self._settings, self._way, self._bounds, self._number = proxy, way, bounds, number

    def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> Any:
        from python_socks import ProxyError, ProxyType
        from python_socks.sync import Proxy

        kinds = {"socks5": ProxyType.SOCKS5, "socks4": ProxyType.SOCKS4, "http": ProxyType.HTTP}
        ours, name, target = self._settings, _name(self._settings), join_host_port(dest_host, dest_port)
        way: Any = _Noting(self._way, self._bounds, ours.kind, f"{name} has no connection to {target} yet")
        user, password = (ours.username, ours.password) if ours.username else (None, None)
        proxy = Proxy(kinds[ours.kind], ours.host, ours.port, user, password, rdns=True, forward=way)
        try:
            with failing_as(self._broken, OSError, ProxyError):
                connected: Any = proxy.connect(dest_host, dest_port)
            return connected.sock if isinstance(connected, _WholeHead) else connected
        except ProxyFailed:
            raise  # of one before it
        except ProxyError as error:
            text, is_its_own = _refusal(ours, error, target)
            raise ProxyFailed(errno.ECONNREFUSED, f"{name}{text}", self._number + (not is_its_own)) from None
        except OSError as error:
            text = f"{name}: {error.strerror or error}"
            raise ProxyFailed(error.errno or errno.EPROTO, text, self._number) from None

    def _broken(self, text: str) -> ProxyFailed:
        return ProxyFailed(errno.EPROTO, f"{_name(self._settings)}: {text}", self._number)


def _name(proxy: ProxySettings) -> str:
    return f"proxy {join_host_port(proxy.host, proxy.port)}"


def _refusal(proxy: ProxySettings, error: Any, target: str) -> tuple[str, bool]:
    """What a proxy's refusal to connect to `target` means, with its own words, to stand behind its name.

    And whether it is the proxy itself that cannot be used, rather than that the target is not reached.
    """
    said = str(error)
    login = any(text in said for text in _LOGIN_TEXTS)
    meaning = _LOGIN if login else _MEANING.get((proxy.kind, error.error_code or 0), _UNKNOWN)
    if meaning == _LOGIN and not proxy.username:
        address = join_host_port(proxy.host, proxy.port)
        return f" wants a login ({said}): write {proxy.kind}://user:password@{address}", True
    text = {
        _UNKNOWN: f": {said}",
        _LOGIN: f" does not accept the login {proxy.username[:64]!r} ({said})",
        _DENIED: f" does not allow a connection to {target} ({said})",
        _UNREACHED: f" cannot reach {target} ({said})",
        _NO_TUNNELS: f" makes no tunnels, or not to {target} ({said})",
    }[meaning]
    return text, meaning in (_LOGIN, _NO_TUNNELS)
