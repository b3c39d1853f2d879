"""HTTP client (urllib3) over a connection with a deadline and a byte limit.

Knows: how to make urllib3 dial and read through a BoundedSocket. No redirect is followed, no request is tried
again, and no proxy of the environment is used.
Refuses to know: what is asked and what a reply means (plugin_http, source_read), where a body ends
(stream_http_body).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from lib.stream_bounded import Bounds, tls_context
from lib.stream_dial import dial, in_use

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

MAX_HEAD = 1 << 16
"""Bytes until a reply's body begins: interim replies and headers."""


class HttpWay:
    """A connection to the host of a URL, made with the first request, for one request at a time."""

    def __init__(self, url: str, patience: float, verify: bool = True, server_name: str = "") -> None:
        """`patience` is the timeout of a look-up, a connection and one receive each, in seconds.

        Raises urllib3's HTTPError for a bad URL.
        """
        import urllib3  # 53 ms; only those who use HTTP pay for it

        parts = urllib3.util.parse_url(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise urllib3.exceptions.LocationValueError(f"no URL of a host over HTTP: {url!r}")
        self.bounds = Bounds(0.0, 0)
        options: dict[str, Any] = {
            "timeout": patience,
            "retries": False,
            "bounds": self.bounds,
            "patience": patience,
        }
        plain, secure = _pools()
        self._pool: HTTPConnectionPool
        if parts.scheme == "http":
            self._pool = plain(parts.host, parts.port, **options)
        else:
            options |= {
                "ssl_context": tls_context(verify),
                "cert_reqs": "CERT_REQUIRED" if verify else "CERT_NONE",
            }
            if server_name:
                options |= {"server_hostname": server_name, "assert_hostname": server_name}
            self._pool = secure(parts.host, parts.port, **options)

    def ask(
        self,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        seconds: float,
        size: int,
    ) -> BaseHTTPResponse:
        """Send a request; returns the reply, whose body the caller has still to read.

        All of it has to come within `seconds`, and the body within `size` bytes. Raises OSError and urllib3's
        HTTPError, here and while the body is read. A reply made to do harm may cause any other Exception.
        """
        import urllib3

        self.bounds.renew(seconds, MAX_HEAD)
        with in_use(self._pool.host, self._pool.port or self._pool.ConnectionCls.default_port):
            response = self._pool.urlopen(
                method,
                urllib3.util.parse_url(url).request_uri,
                body=body,
                headers=headers,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
            )
        self.bounds.grant(size)
        return response

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


def is_framed(response: BaseHTTPResponse) -> bool:
    """Whether a reply says where its body ends; else it ends with the connection, and may have been cut."""
    chunked = response.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
    return chunked or "Content-Length" in response.headers


@cache
def _pools() -> tuple[Any, Any]:
    """urllib3's pools (HTTP, HTTPS), whose connections are BoundedSockets."""
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.exceptions import NewConnectionError

    from lib.stream_http_body import WholeResponse

    def connected(connection: Any) -> Any:
        try:
            return dial(
                connection._dns_host, connection.port, connection.bounds, patience=connection.patience
            )
        except OSError as error:
            why = error.strerror or str(error)
            failed = NewConnectionError(connection, why)
            failed.args = (f"no connection: {why}",)  # without the name of a class: people read it in the log
            raise failed from error

    class Plain(HTTPConnection):
        response_class = WholeResponse

        def __init__(self, *arguments: Any, bounds: Bounds, patience: float, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.bounds, self.patience = bounds, patience

        _new_conn = connected

    class Secure(HTTPSConnection):
        response_class = WholeResponse

        def __init__(self, *arguments: Any, bounds: Bounds, patience: float, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.bounds, self.patience = bounds, patience

        _new_conn = connected

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return PlainPool, SecurePool
