"""Socket options of a session: congestion control, MPTCP, when a path is dead, what the kernel holds back.

Knows: the options that every stream begins with, and why; why a congestion control cannot be used.
Refuses to know: the bytes (stream_tcp), where a connection leads (stream_dial).

A socket that is accepted inherits the congestion control of the one that listens. So a hub that root has
started uses bbr also after it has become another user, who may not choose it (`user:`).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lib import service_privileges
from lib.did_you_mean import did_you_mean
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings_transport import AUTO, SYSTEM
from lib.stream_figures import read_in_a_trip

T = TypeVar("T")

NOTSENT_LOWAT = 1 << 18
"""Most unsent bytes that the kernel holds for a session (TCP_NOTSENT_LOWAT). More would be a second queue,
which we could neither see nor bound."""
DEAD_AFTER = 15.0
"""Seconds without any acknowledgement after which a connection is dead (GOST never notices)."""
RESEND_SECONDS = 0.05
"""Least time after a round trip until what is not acknowledged is sent again (resend_soon). The far kernel
may hold back an acknowledgement for less (TCP_DELACK_MIN, 0.04 s)."""
MOST_RESEND_SECONDS = 3.0
"""Most time until it is sent again (TCP_RTO_MAX_MS, Linux 6.15). The kernel waits twice as long each time,
120 s at most: a way that was cut for ten seconds and is there again would not be used for as long."""
Keepalive = tuple[int, int, int]
"""TCP keepalive: (seconds of silence before the first probe, seconds between probes, number of probes)."""
_KEEPALIVE_OPTIONS = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
TCP_NOTSENT_LOWAT, _TCP_RTO_MAX_MS, _TCP_RTO_MIN_US = 25, 44, 45  # linux/tcp.h
_SO_MAX_PACING_RATE, _ANY_PACE = 47, 0xFFFF_FFFF  # asm-generic/socket.h; as 32 bits, which every kernel takes
_AT_ONCE = struct.pack("=ii", 1, 0)  # struct linger, sys/socket.h
_SO_BUF_LOCK, _RCVBUF_LOCKED = 72, 2  # asm-generic/socket.h, linux/socket.h
_SO_MEMINFO = 55  # asm-generic/socket.h; its first number: what lies in the receive buffer (sock_diag.h)
_BEYOND_BOUND = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}  # SO_*BUFFORCE of asm-generic/socket.h
_FIRST_UNREAD, _MUCH_UNREAD = 1 << 17, 1 << 24
"""Bytes from which the kernel lets a receive buffer grow again, and more than anybody may have
(net.core.rmem_max)."""

IPPROTO_MPTCP = 262  # linux/in.h
_SO_PROTOCOL = 38  # asm-generic/socket.h
_UNKNOWN = (errno.ENOPROTOOPT, errno.EOPNOTSUPP)
_NO_MPTCP = (*_UNKNOWN, errno.EPROTONOSUPPORT, errno.EINVAL, errno.EPERM, errno.EACCES)
"""Switched off; not built in; before Linux 5.6; forbidden to a container."""

BBR = "bbr"
"""What AUTO asks for. It does not take each lost packet for a full queue, and so it keeps its rate on wires
that lose some, where reno and cubic fall to a few Mbit/s. It also keeps queues on the way short."""
_NAME_BYTES = 16  # TCP_CA_NAME_MAX, net/tcp.h
_SYSCTL, _MODULES = Path("/proc/sys/net/ipv4"), Path("/lib/modules")
_ALLOWED = "tcp_allowed_congestion_control"
_MODULES_OF_LINUX = (
    *(
        "bbr",
        "bbr1",
        "bbr2",
        "bbr3",
        "bic",
        "cdg",
        "cubic",
        "dctcp",
        "highspeed",
        "htcp",
        "hybla",
        "illinois",
    ),
    *("lp", "nv", "scalable", "vegas", "veno", "westwood", "yeah"),
)  # net/ipv4/Kconfig, and those of well-known patches: a kernel may load tcp_NAME when it is asked for NAME
RENO = "reno"
"""Which every kernel has, and every process may use."""
_USUAL = (RENO, "cubic")  # what that sysctl has where nobody has changed it
_had: set[str] = set()
"""Congestion controls that a socket of this process could use: a change of the user may have taken them."""
ASK_SECONDS = 1.0
"""How long it is remembered whether this process may use one, where each of many sessions asks."""
_asked: dict[str, tuple[float, bool]] = {}
"""By name: when that was looked up, and what was found."""


def tune(sock: Any, keepalive: Keepalive | None, dead_after: float, mptcp: bool) -> None:
    """Set the options of a new stream: seconds without an acknowledgement, and keepalive where it is said.

    A socket of MPTCP has not all of them; which ones depends on the kernel. Linux 6.18 has no
    TCP_USER_TIMEOUT there.
    """
    third = max(1, int(dead_after / 3))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_NODELAY, 1),
        (TCP_NOTSENT_LOWAT, NOTSENT_LOWAT),
        (socket.TCP_USER_TIMEOUT, int(dead_after * 1000)),
        *zip(_KEEPALIVE_OPTIONS, keepalive or (third, third, 2), strict=True),
    ):
        set_tcp(sock, option, value, mptcp)
    _set_if_known(sock, _TCP_RTO_MAX_MS, int(MOST_RESEND_SECONDS * 1000))


def set_tcp(sock: Any, option: int, value: int, mptcp: bool) -> None:
    """Set an option of TCP; one that this kernel has not for MPTCP is left out there. Raises OSError."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError as error:
        if not mptcp or error.errno not in _UNKNOWN:
            raise


def set_pace(sock: Any, rate: float) -> None:
    """Let the kernel send so many bytes a second at most; 0 for any number. A closed socket needs none."""
    pace = min(int(rate), _ANY_PACE - 1) if rate else _ANY_PACE
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, pace.to_bytes(4, sys.byteorder))
    except OSError:
        pass  # it has ended, which its reader finds out


def resend_soon(sock: Any) -> None:
    """Let the kernel send anew soon what is not acknowledged (TCP_RTO_MIN_US, Linux 6.15; else as it is).

    It waits for 0.2 s after a round trip. A ping that is lost twice, or has nothing behind it that shows the
    loss, is as late. For a connection that carries bulk that is right: a wire that pauses for less (a radio)
    has lost nothing, and bbr needs seconds after such a timeout.
    """
    _set_if_known(sock, _TCP_RTO_MIN_US, int(RESEND_SECONDS * 1e6))


def give_up(sock: Any) -> None:
    """Let the kernel reset a connection when it is closed, and forget what it has not sent.

    A far end that is not heard may hear us, where a way is cut in one direction only. The end of the
    connection would stand behind what is not acknowledged, and never be sent.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    except OSError:
        pass  # it has ended


def _set_if_known(sock: Any, option: int, value: int) -> None:
    """Set an option that is only for the better."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        pass  # an older kernel, MPTCP, or it has ended


def set_unread(sock: Any, size: int) -> None:
    """Let the kernel hold about `size` bytes that nobody has read yet; 0 for as many as it likes.

    Whoever sets SO_RCVBUF switches off that the kernel grows the buffer with the connection's speed. Linux
    5.14 can switch it on again, but not for MPTCP. Elsewhere the buffer gets as large as anybody may have it.
    A closed socket needs none.
    """
    try:
        if size or not _unlock(sock):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size or _MUCH_UNREAD)
    except OSError:
        pass  # it has ended, which its reader finds out


def shrink_unread(sock: Any, size: int, before: int) -> int:
    """Let the receive buffer become `size` bytes, with the kernel's overhead; returns what it is now.

    It stays as large as what lies in it: what the peer was allowed to send would be dropped. `before` is what
    the last call returned, 0 before the first: it never grows again, though the kernel takes some more.
    """
    try:
        held = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4), sys.byteorder)
        size = max(size, min(held, before or held))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size // 2)  # the kernel doubles it
    except OSError:
        pass  # it has ended, or the kernel is older than 4.12: then it stays as it is
    return size


def _unlock(sock: Any) -> bool:
    """Let the kernel grow a receive buffer again whose size was set; False where it has no such option."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _FIRST_UNREAD)
    try:
        locked: int = sock.getsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK)
        sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, locked & ~_RCVBUF_LOCKED)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return False
    # From here it would grow only for one that is faster than it has ever been (tcp_rcv_space_adjust).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2 * read_in_a_trip(sock))  # makes room at once
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    return True


# --- MPTCP ---------------------------------------------------------------------------------------


def made(make: Callable[[int], T], protocol: int, mptcp: bool) -> T:
    """A socket that `make` makes of its protocol: MPTCP where that is wanted and the kernel has it, as in Go.

    Raises OSError.
    """
    if mptcp:
        try:
            return make(IPPROTO_MPTCP)
        except OSError as error:
            if error.errno not in _NO_MPTCP:
                raise
    return make(protocol)


def is_mptcp(sock: Any) -> bool:
    """Whether a socket is one of MPTCP. One that was accepted over plain TCP is not, says the kernel then."""
    if sock.proto != IPPROTO_MPTCP:
        return False
    number: int = sock.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL)
    return number == IPPROTO_MPTCP


def no_mptcp() -> str:
    """Why this process gets no socket of MPTCP, and what to do about it; "" where it gets one."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return "it is switched off: let root run `sysctl -w net.mptcp.enabled=1`"
        if error.errno in (errno.EPROTONOSUPPORT, errno.EINVAL):
            return "this kernel is built without it"
        return error.strerror or str(error)
    return ""


def tell_no_mptcp(service: str) -> None:
    """Warn that connections of a service that shall use MPTCP are plain TCP."""
    why = no_mptcp() or "it was not there for a moment"
    text = "service %s: mptcp: %s; connections are plain TCP"
    say(Entry.NO_MPTCP, text, service, why, fold=service, habit=OUTAGE, service=service, reason=why)


# --- congestion control --------------------------------------------------------------------------


def congestion(sock: Any) -> str:
    """The congestion control that a socket really uses, by the kernel's name; "" for a closed socket."""
    try:
        name: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES)
    except OSError:
        return ""
    return name.rstrip(b"\0").decode("ascii", "replace")


def by_name(wanted: str) -> str:
    """The kernel's name of a wanted congestion control; "" for the system's own."""
    return BBR if wanted == AUTO else "" if wanted == SYSTEM else wanted


def use_congestion(sock: Any, wanted: str, service: str, had: str = SYSTEM) -> None:
    """Let a socket, and those that it accepts, use a congestion control; a warning where it is refused.

    `wanted`, and `had`, which was wanted of this socket before, are AUTO, SYSTEM or a name. AUTO is not
    refused where a kernel lets us use no bbr: it has its own choice then, as one has that knows another kind
    of bbr. It is where an earlier socket could use bbr: a hub that became another user since (`user:`) has it
    in the sockets that listened then, and by stream_moulds in most that a reload opens.
    Where the wanted one is refused, and for SYSTEM, the socket has the kernel's choice again. `service` is
    named in the warning.
    """
    if wanted == AUTO and congestion(sock).startswith(BBR):
        _had.add(BBR)
        return
    name = BBR if wanted == AUTO else wanted
    why = _set(sock, name) if wanted != SYSTEM else ""
    if wanted != SYSTEM and not why:
        _had.add(name)
    if had != SYSTEM and (why or wanted == SYSTEM):
        _set(sock, _of_the_system())
    if why and (wanted != AUTO or name in _had):
        text = "service %s: congestion: %s; %s is used instead"
        used = congestion(sock)
        say(
            Entry.CONGESTION_REFUSED, text, service, why, used, fold=service, habit=OUTAGE,
            service=service, wanted=wanted, used=used, reason=why,
        )  # fmt: skip


def suit_congestion(sock: Any, fast: bool, near: bool) -> None:
    """Let a socket whose congestion control is AUTO use the one that suits its peer's speed.

    `fast`: the processors limit the peer, not a wire. Where it is also near, what is lost is sent again at
    once, and the pauses of bbr between its packets only cost time: between network namespaces of a quick
    machine bbr carried half of what reno did. Then the kernel's own choice is used until the peer is slow.
    """
    is_bbr = congestion(sock).startswith(BBR)
    if not fast:
        if not is_bbr:
            _set(sock, BBR)
    elif is_bbr and near and not missing(BBR):
        for name in (_of_the_system(), *reversed(_USUAL)):
            if not name.startswith(BBR) and not _set(sock, name):
                return


def restart_bbr(sock: Any) -> None:
    """Let bbr begin anew, with what the kernel knows of the connection; another one goes on as it is.

    A process that might not choose bbr again leaves it as it is, too (`user:`).
    """
    name = congestion(sock)
    if name.startswith(BBR) and _may_use(name, time.monotonic()) and not _set(sock, RENO):
        _set(sock, name)


def _may_use(name: str, now: float) -> bool:
    """Whether missing() finds nothing; it reads files, so what it has found is good for ASK_SECONDS."""
    at, may = _asked.get(name, (float("-inf"), False))
    if now - at >= ASK_SECONDS:
        may = not missing(name)
        _asked[name] = now, may
    return may


def _set(sock: Any, name: str) -> str:
    """Set it; returns why that cannot be, or ""."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError as error:
        is_known = error.errno in (errno.EPERM, errno.ENOENT)
        return (missing(name, tried=True) if is_known else "") or f"{name}: {error.strerror or error}"
    return ""


def _of_the_system() -> str:
    """The kernel's choice for new sockets in our network namespace (net.ipv4.tcp_congestion_control)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh:
        return congestion(fresh)


def missing(name: str, tried: bool = False, is_admin: bool | None = None) -> str:
    """Why this process cannot use a congestion control, and what to do about it; "" where it can.

    Nothing is tried here, as that may load a kernel module. `tried`: that it has been, and was refused.
    `is_admin`: whether it has CAP_NET_ADMIN; None for what it has now.
    """
    loaded, allowed = _words("tcp_available_congestion_control"), _words(_ALLOWED)
    is_admin = _is_admin() if is_admin is None else is_admin
    allow = f"`sysctl -w net.ipv4.{_ALLOWED}='{' '.join([*(allowed or _USUAL), name])}'`"
    if name in allowed or (is_admin and name in loaded):
        return ""
    if name in loaded:
        return f"only root may use {name}: let root run {allow}"
    may_load = _may_have_module(name)
    if is_admin and may_load and not tried:
        return ""  # the kernel loads it when it is asked for
    have = f"the kernel has not loaded {name}" + (f", only {', '.join(loaded)}" if loaded else "")
    guess = "" if name in _MODULES_OF_LINUX else did_you_mean(name, (*loaded, *_MODULES_OF_LINUX))
    if guess or not may_load:
        return f"{have}; {guess or 'it has no such module'}"
    return f"{have}: let root run `modprobe tcp_{name}`{'' if is_admin else f' and {allow}'}"


def _words(sysctl: str) -> list[str]:
    try:
        return (_SYSCTL / sysctl).read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def _is_admin() -> bool:
    """Whether this process has CAP_NET_ADMIN, with which a socket may use everything that is loaded."""
    return bool(service_privileges.effective() >> service_privileges.NET_ADMIN & 1)


def _may_have_module(name: str) -> bool:
    """Whether the running kernel has a module of that congestion control; True where nobody can say."""
    if name not in _MODULES_OF_LINUX:
        return False
    try:
        text = (_MODULES / os.uname().release / "modules.dep").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return f"/tcp_{name}.ko" in text


def size_buffer(sock: Any, option: int, size: int) -> None:
    """Size a buffer of the kernel, SO_RCVBUF or SO_SNDBUF; with CAP_NET_ADMIN over net.core.*."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _BEYOND_BOUND[option], size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, option, size)
