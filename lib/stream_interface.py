"""Interface that a connection is made from: a device, an address, a mark; of several one after the other.

Knows: the options by which a socket is bound, and in which order several interfaces are tried.
Refuses to know: what is dialled (stream_dial), how an interface is written (config_dial).
"""

from __future__ import annotations

import errno
import math
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from lib import stream_resolve
from lib.settings_dial import DialSettings
from lib.stream_deadline import within
from lib.stream_resolve import Address

T = TypeVar("T")

_SO_MARK = 36  # asm-generic/socket.h


class Ways(Protocol):
    """What has to know which interface is tried (stream_dial.Ways)."""

    def use(self, how: DialSettings) -> None:
        """What is asked for next is for a connection with these settings: one of several interfaces."""


def by_any(
    how: DialSettings,
    ways: Ways,
    found: Sequence[Address],
    seconds: float,
    connect: Callable[[DialSettings], T],
) -> T:
    """The first connection by one of several interfaces, of which each but the last one has so many seconds.

    After a strict one nothing else is tried, unless it is an address of another version of IP than all that
    were found (x/internal/net/dialer of GOST). Raises OSError, which names them all.
    """
    failed: list[str] = []
    number = errno.EHOSTUNREACH
    turns = list(how.in_turn())
    for one in turns:
        late = partial(TimeoutError, errno.ETIMEDOUT, f"no connection within {seconds:g} s")
        try:
            ways.use(one)
            with within(math.inf if one is turns[-1] else seconds, late):
                return connect(one)
        except OSError as error:
            number = error.errno or number
            failed.append(f"by {one.device or one.source or 'any interface'}: {error.strerror or error}")
            if one.strict and _fits(one.source, found):
                break
    raise OSError(number, "; ".join(failed))


def _fits(source: str, found: Sequence[Address]) -> bool:
    """Whether any of the addresses is of the version of IP of `source`; True where that is no address."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return not source or any(address[0] == family for address in found)


def bind(sock: Any, how: DialSettings, device: str | None = None) -> None:
    """Let a socket send by the device, with the mark and from the address of the settings.

    `device` is the one of the way where the settings have none. Raises OSError, whose text names the key.
    """
    if device := how.device or device:
        _set(sock, socket.SO_BINDTODEVICE, device.encode() + b"\0", f"interface {device}")
    if how.mark:
        _set(sock, _SO_MARK, how.mark.to_bytes(4, sys.byteorder), f"so_mark {how.mark}")
    if how.source:
        _bind(sock, how.source)


def _set(sock: Any, option: int, value: bytes, what: str) -> None:
    """Set an option of the socket layer. Raises OSError, whose text names the key of the configuration."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, value)
    except OSError as error:
        raise OSError(error.errno, f"{what}: {error.strerror or error}") from None


def _bind(sock: Any, source: str) -> None:
    """Let a connection come from an address of this host. Raises OSError."""
    try:
        ((family, *_, address),) = stream_resolve.numeric(source, 0)
        if family != sock.family:
            raise OSError(errno.EAFNOSUPPORT, "the other version of IP")
        sock.bind(address)
    except OSError as error:
        text = f"interface {source}: it is no address of this host for this hub"
        raise OSError(error.errno, text) from None


def is_ours(source: str) -> bool:
    """Whether a connection can come from this address now."""
    try:
        ((family, *_, address),) = stream_resolve.numeric(source, 0)
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind(address)
    except OSError:
        return False
    return True
