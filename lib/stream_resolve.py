"""DNS look-up of host names within a deadline, in processes that can be killed (getent(1)).

Knows: getaddrinfo(3) blocks its thread, and over TCP has no deadline: a name server that sends a byte a
minute holds the thread for hours, and nothing can end it. A process can be ended. getent(1), which comes with
the C library, asks as getaddrinfo does, by nsswitch.conf, and costs a millisecond on another core.
Refuses to know: what the addresses are for (stream_bounded).

Some name servers never answer for one family (mostly IPv6), and the C library waits 10 s and longer for that
answer. So after a second each family is looked up by itself as well, and the one found first is used (RFC
8305, section 3).

A name is looked up once at a time; other callers wait for the same result. Where there is no getent(1),
getaddrinfo runs in a pool of threads. Deadlines hold there too, but look-ups that never end can take all of
the threads.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import signal
import socket
from contextlib import suppress
from typing import Any

import gevent
from gevent import monkey
from gevent.lock import BoundedSemaphore
from gevent.os import nb_read
from gevent.threadpool import ThreadPool

from lib.stream_deadline import within

PROCESSES = 32
"""Look-ups at the same time. The others wait, at most until the STUCK_SECONDS of those before are over."""
STUCK_SECONDS = 20.0
"""Seconds after which a look-up is given up, whoever waits for it. Two dead name servers take 10 to 15."""
MAX_OUTPUT = 1 << 16
"""Bytes of getent's lines that are read; addresses beyond them are left out."""
BOTH = "ahosts"
"""getent's database of both families, in the order of RFC 6724 and gai.conf(5)."""
ALONE: dict[str, int] = {"ahostsv6": socket.AF_INET6, "ahostsv4": socket.AF_INET}
"""Its databases of one family each."""
ALONE_AFTER = 1.0
"""Seconds after which each family is looked up by itself as well."""
RESOLUTION_DELAY = 0.05
"""Seconds for which the other family is waited for then, once one is found (RFC 8305, section 3)."""
_MAPPED = "::ffff:"
"""`getent ahostsv6` prints IPv4 addresses so where there are no others."""
THREADS = 16
"""Only where there is no getent(1)."""

Address = tuple[Any, Any, int, str, Any]
"""As getaddrinfo has it: family, kind, protocol, canonical name, socket address."""

_getaddrinfo = monkey.get_original("socket", "getaddrinfo")
_waitpid = monkey.get_original("os", "waitpid")
_slots = BoundedSemaphore(PROCESSES)
_pool: list[ThreadPool] = []
_under_way: dict[tuple[str, str], Any] = {}
"""(name, BOTH or one of ALONE) -> the greenlet that looks it up; its value is addresses, or an OSError."""
_running: set[int] = set()
"""Processes that nobody has waited for yet."""


def look_up(host: str, port: int, seconds: float) -> list[Address]:
    """The TCP addresses of a name, within `seconds`; other greenlets run. Raises OSError."""
    try:  # an address needs no name server
        return numeric(host, port)
    except socket.gaierror:
        check_device(host)
    except (UnicodeError, ValueError) as error:
        raise OSError(errno.EINVAL, f"{host[:64]!r} is no name: {error}") from None
    late = f"the name {host} was not looked up within {seconds:g} s"
    with within(seconds, lambda: TimeoutError(errno.ETIMEDOUT, late)):
        whole = _shared(host, BOTH)
        whole.join(timeout=ALONE_AFTER)
        found: list[str] | OSError = whole.get() if whole.ready() else _first(host, whole)
    if isinstance(found, OSError):
        raise found
    return [address for text in found for address in numeric(text, port)]


def _first(host: str, whole: Any) -> list[str] | OSError:
    """The addresses of the family that is found first, or the result of `whole` where that comes before."""
    families = [_shared(host, family) for family in ALONE]
    for ended in gevent.iwait([whole, *families]):
        if ended is whole:
            break
        if isinstance(ended.value, list):
            gevent.joinall(families, timeout=RESOLUTION_DELAY)
            return [text for one in families if isinstance(one.value, list) for text in one.value]
    result: list[str] | OSError = whole.get()
    return result


def _shared(host: str, families: str) -> Any:
    """The greenlet that looks up a name, whoever has started it."""
    key = host, families
    if key not in _under_way:
        _under_way[key] = gevent.spawn(_find, *key)
    return _under_way[key]


def numeric(host: str, port: int) -> list[Address]:
    """The TCP address that a text is. Raises OSError, ValueError."""
    if "\0" in host:
        raise ValueError("it has a NUL")
    return list(_getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))


def _find(host: str, families: str) -> list[str] | OSError:
    """The addresses of a name, or the error, within STUCK_SECONDS once it is this name's turn."""
    late = f"no name server replied about {host} within {STUCK_SECONDS:g} s"
    try:
        with _slots, within(STUCK_SECONDS, lambda: TimeoutError(errno.ETIMEDOUT, late)):
            program = shutil.which("getent")
            return _by_process(program, host, families) if program else _by_thread(host, families)
    except OSError as error:
        return error
    except Exception as error:  # noqa: BLE001  whatever it is, callers are told
        return OSError(errno.EINVAL, f"{type(error).__name__}: {error}")
    finally:
        del _under_way[host, families]


def _by_process(program: str, host: str, families: str) -> list[str]:
    """The addresses that getent(1) prints. Raises OSError."""
    name = host if host.isascii() else host.encode("idna").decode()
    read_end, write_end = os.pipe()
    try:
        try:
            pid = os.posix_spawn(  # as vfork(2): however much memory this process has, it takes 0.2 ms
                program,
                ("getent", families, "--", name),
                os.environ,
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, write_end, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ),
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM),
            )
        finally:
            os.close(write_end)
        _running.add(pid)
        try:
            output = _read(read_end)
        finally:
            _end(pid)
    finally:
        os.close(read_end)
    found = read_addresses(output)
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "no such name, or no name server replied")
    return found


def read_addresses(output: bytes) -> list[str]:
    """The addresses for TCP in what `getent ahosts` prints; other lines are left out."""
    fields = [line.split() for line in output.decode(errors="replace").splitlines()]
    return [line[0] for line in fields if line[1:2] == ["STREAM"] and not line[0].startswith(_MAPPED)]


def _read(pipe: int) -> bytes:
    """All that is written to a pipe, as whole lines, or MAX_OUTPUT of it."""
    os.set_blocking(pipe, False)
    output = b""
    while len(output) < MAX_OUTPUT and (piece := nb_read(pipe, MAX_OUTPUT - len(output))):
        output += piece
    return output[: output.rfind(b"\n") + 1]


def _end(pid: int) -> None:
    """Kill a process that still runs, and wait for its end beside everything else."""
    if not _has_ended(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if not _has_ended(pid):
            gevent.spawn(_wait, pid)


def _wait(pid: int) -> None:
    while not _has_ended(pid):
        gevent.sleep(0.001)


def _has_ended(pid: int) -> bool:
    try:
        ended = _waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # an event loop that looks after all children has waited for it
        ended = True
    if ended:
        _running.discard(pid)
    return bool(ended)


def _end_all() -> None:
    """Leave no process behind that a name server holds."""
    for pid in _running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _by_thread(host: str, families: str) -> list[str]:
    """The addresses that getaddrinfo(3) finds in a thread. Raises OSError."""
    if not _pool:  # made late: a thread keeps the rights that the process had when it was made
        _pool.append(ThreadPool(THREADS))
    found: list[str] | OSError = _pool[0].spawn(_in_thread, host, ALONE.get(families, 0)).get()
    if isinstance(found, OSError):
        raise found
    return found


def check_device(host: str) -> None:
    """Raise OSError where the %device of a link-local address is no device of this machine."""
    device = host.partition("%")[2] if ":" in host else ""
    if device and not any(device in (name, str(index)) for index, name in socket.if_nameindex()):
        raise OSError(errno.ENODEV, f"there is no network device {device}")


def _in_thread(host: str, family: int) -> list[str] | OSError:
    """The addresses, or the error: gevent would print a traceback of one that is raised in a thread."""
    try:
        return [address[0] for *_, address in _getaddrinfo(host, 0, family, socket.SOCK_STREAM)]
    except OSError as error:
        return error
    except UnicodeError as error:
        return OSError(errno.EINVAL, f"{host[:64]!r} is no name: {error}")


atexit.register(_end_all)
