"""Connections to a Redis: over TCP or TLS, to an address or to the master that Sentinels name.

Knows: redis-py's connection, dialled and read within bounds; how Sentinels are asked for the master.
Refuses to know: what is asked of a Redis (source_read, enrol_redis, cluster_redis).

    sentinel: each is asked in turn (the one that replied last time first) -> the master's address
    dial -> TLS, where there is a tls section -> AUTH, SELECT -> with Sentinels ROLE: is it the master?
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from lib import stream_tls
from lib.addresses import host_port, join_host_port
from lib.bounded_dict import BoundedDict
from lib.errors import HostError
from lib.service_threads import aside
from lib.settings_sources import RedisSource, Sentinel
from lib.stream_bounded import BoundedSocket, Bounds, TlsContext, failing_as
from lib.stream_dial import dial, distrust

REDIS_TIMEOUT = 10.0
"""Seconds Redis may be silent."""
SENTINEL_SECONDS = 1.0
"""Seconds until the next Sentinel is asked."""
_REPLY_BYTES = 1 << 16

_good: BoundedDict[Sentinel, str] = BoundedDict(64)
"""The Sentinel that replied last time."""


def redis_connection(source: RedisSource, bounds: Bounds) -> Any:
    """A connection of redis-py to a source's Redis, not dialled yet."""
    host, port = host_port(source.addr or source.sentinel.addrs[0])
    return _connection()(
        source=source,
        bounds=bounds,
        host=host,
        port=port,
        db=source.db,
        username=source.username or None,
        password=source.password or None,
        socket_timeout=REDIS_TIMEOUT,
        socket_connect_timeout=REDIS_TIMEOUT,
        protocol=2,  # what is asked here needs no more, and nothing comes unasked
        driver_info=None,
    )


@contextmanager
def redis_in_use(connection: Any) -> Iterator[None]:
    """Run a block that uses a connection; where it fails, its address is tried after all others."""
    try:
        yield
    except BaseException:
        distrust(connection.host, connection.port)
        raise


@contextmanager
def redis_failing(name: str) -> Iterator[None]:
    """Make an OSError that names the Redis of everything that goes wrong with it."""
    import redis

    with failing_as(lambda why: OSError(5, f"{name}: {why}"), OSError, ValueError):
        try:
            yield
        except (redis.RedisError, UnicodeError) as error:
            raise OSError(5, f"{name}: {error}") from error


def master_of(source: RedisSource) -> tuple[str, int]:
    """(host, port) of the master that the Sentinels of a source name now. Raises OSError."""
    sentinel = source.sentinel
    first = _good.get(sentinel)
    why = ""
    for addr in sorted(sentinel.addrs, key=lambda one: one != first):
        try:
            found = _asked(source, addr)
        except OSError as error:
            why = error.strerror or str(error)
        else:
            _good.remember(sentinel, addr)
            return found
    raise OSError(113, why)


def _asked(source: RedisSource, addr: str) -> tuple[str, int]:
    """What one Sentinel replies. Raises OSError."""
    sentinel = source.sentinel
    there = RedisSource(addr, 0, sentinel.username, sentinel.password, tls=source.tls)
    connection = redis_connection(there, Bounds(SENTINEL_SECONDS, _REPLY_BYTES))
    try:
        with redis_failing(f"sentinel {addr}"), redis_in_use(connection):
            connection.send_command("SENTINEL", "get-master-addr-by-name", sentinel.master)
            reply = connection.read_response()
            if reply is None:
                raise OSError(2, f"sentinel {addr} knows no master {sentinel.master!r}")
            words = (
                [one.decode() for one in reply if isinstance(one, bytes)] if isinstance(reply, list) else []
            )
            if len(words) != 2 or not words[0] or not (words[1].isdecimal() and int(words[1][:6]) < 1 << 16):
                raise OSError(5, f"sentinel {addr}: no proper reply")
            return words[0], int(words[1])
    finally:
        connection.disconnect()


@cache
def _connection() -> Any:
    """redis-py's connection, dialled and read within bounds."""
    import redis
    from redis.connection import Connection

    class Bounded(Connection):
        def __init__(self, *arguments: Any, source: RedisSource, bounds: Bounds, **more: Any) -> None:
            super().__init__(*arguments, **more)  # type: ignore[no-untyped-call]
            self.source, self.bounds = source, bounds

        def _connect(self) -> Any:
            if self.source.sentinel:
                self.host, self.port = master_of(self.source)
            sock: Any = dial(self.host, self.port, self.bounds, patience=REDIS_TIMEOUT)
            if self.source.tls is not None:
                sock = _secured(sock, self.host, self.source)
            sock.settimeout(self.socket_timeout)
            return sock

        def on_connect_check_health(self, check_health: bool = True) -> None:
            super().on_connect_check_health(check_health)
            if self.source.sentinel:
                with suppress(redis.exceptions.NoPermissionError):  # then the first thing written tells
                    self.send_command("ROLE", check_health=False)  # type: ignore[no-untyped-call]
                    role = self.read_response()
                    if not isinstance(role, list) or role[:1] != [b"master"]:
                        raise redis.ConnectionError(f"{join_host_port(self.host, self.port)} is no master")

    return Bounded


def _secured(sock: BoundedSocket, host: str, source: RedisSource) -> Any:
    """A socket of TLS over a connection, after the handshake. Raises OSError, and closes the connection."""
    tls = source.tls
    assert tls is not None
    try:
        # The system's authorities take 30 ms to load, and the disk of a file may hang.
        context = aside(f"certificates for {source.name}", stream_tls.context, tls, False, TlsContext)
        return _tls_socket()(sock, context, tls.server_name or host)
    except HostError as error:  # a file that cannot be used
        sock.close()
        raise OSError(5, str(error)) from None
    except BaseException:
        sock.close()
        raise


@cache
def _tls_socket() -> Any:
    from urllib3.util.ssltransport import SSLTransport

    class Socket(SSLTransport):
        """What redis-py asks of a socket beside what SSLTransport has."""

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            return super().recv(buflen, flags) or b""  # type: ignore[return-value]  # 0 at a sudden end

        def shutdown(self, how: int) -> None:
            self.socket.shutdown(how)

    return Socket
