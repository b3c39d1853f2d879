"""Dropping of privileges: change to another user and keep only some capabilities (`user:`, `--user`).

Knows: capabilities(7), in which order they are dropped. Refuses to know: why some are kept (service).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import HostError

NET_BIND_SERVICE, NET_ADMIN, SYS_ADMIN = 10, 12, 21
"""Numbers of capabilities (linux/capability.h): for ports below 1024; for devices, addresses and routes; for
other network namespaces."""

_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 8, 23, 24, 38
_PR_CAP_AMBIENT, _AMBIENT_IS_SET, _AMBIENT_RAISE, _AMBIENT_LOWER = 47, 1, 2, 3
_STATUS = Path("/proc/self/status")
_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63


def find(user: str) -> pwd.struct_passwd:
    """The account of a user. Raises HostError where there is none, or where we may not become that user."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise HostError(f"user: there is no user {user[:64]!r} here") from None
    if os.geteuid() not in (0, account.pw_uid):
        raise HostError(f"user: only root can become {user}")
    return account


def drop(account: pwd.struct_passwd, keep: frozenset[int]) -> None:
    """Become that user for good, with these capabilities (by number) and no others. Raises HostError.

    There must be no other thread, since every thread has capabilities of its own.
    """
    _wait_alone()
    libc = ctypes.CDLL(None, use_errno=True)
    parent, with_parent = os.getppid(), ctypes.c_int()
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(with_parent), 0, 0, 0)
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in keep and libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    try:
        if os.geteuid() == 0:
            _call(libc.prctl, _PR_SET_KEEPCAPS, 1, 0, 0, 0)
            os.initgroups(account.pw_name, account.pw_gid)
            os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
            os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        mask = sum(1 << capability for capability in keep)
        low, high = mask & 0xFFFFFFFF, mask >> 32
        header = struct.pack("=Ii", _VERSION_3, 0)
        data = struct.pack("=6I", low, low, 0, high, high, 0)
        _call(libc.capset, header, data)
        _call(libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # The kernel clears the parent-death signal when the user changes. The executable needs it: when its
        # loader is killed, the child must end too.
        _call(libc.prctl, _PR_SET_PDEATHSIG, with_parent.value, 0, 0, 0)
    except OSError as error:
        raise HostError(f"cannot become user {account.pw_name}: {error.strerror or error}") from error
    if with_parent.value and os.getppid() != parent:  # it ended meanwhile
        os.kill(os.getpid(), with_parent.value)


def effective() -> int:
    """The capabilities that this process has now, as bits (proc(5)); none where nobody says."""
    try:
        status = _STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    bits = status.partition("CapEff:")[2].split()[:1]
    return int(bits[0], 16) if bits else 0


@contextmanager
def lent(capability: int) -> Iterator[None]:
    """Let a program that is started in the block have a capability of ours, whoever we are (0: none).

    Root's programs have it anyway. The block must not give way to other greenlets: what they start would
    have it too. Where we do not have it ourselves, nothing happens.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not capability or os.geteuid() == 0 or _ambient(libc, _AMBIENT_IS_SET, capability) == 1:
        yield
        return
    header, before = struct.pack("=Ii", _VERSION_3, 0), ctypes.create_string_buffer(24)
    _call(libc.capget, header, before)
    words = list(struct.unpack("=6I", before.raw[:24]))
    words[2 + 3 * (capability // 32)] |= (
        1 << capability % 32
    )  # inheritable, which the ambient ones have to be
    libc.capset(header, struct.pack("=6I", *words))
    _ambient(libc, _AMBIENT_RAISE, capability)
    try:
        yield
    finally:
        _ambient(libc, _AMBIENT_LOWER, capability)
        libc.capset(header, before.raw[:24])


def _ambient(libc: ctypes.CDLL, what: int, capability: int) -> int:
    found: int = libc.prctl(_PR_CAP_AMBIENT, what, capability, 0, 0)
    return found


def _wait_alone(tries: int = 200) -> None:
    """Wait until threads that are about to end have ended. Raises HostError."""
    for _ in range(tries):
        if len(os.listdir("/proc/self/task")) == 1:
            return
        time.sleep(0.005)
    raise HostError("cannot give up privileges: there are other threads")


def _call(function: object, *arguments: object) -> None:
    assert callable(function)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
