"""Network of the demo: three network namespaces joined by veth pairs, made by system calls alone.

Knows: how a process gets the right to make namespaces, and what the demo's network looks like.
Refuses to know: what runs in it (demo), what is measured there (demo_probe).

    host-1                               hub                                 host-2
    lo      192.168.100.1/24                                   192.168.200.1/24  lo
    uplink  10.77.1.2 ------- to-host-1 10.77.1.1
                              to-host-2 10.77.2.1 ------- 10.77.2.2      uplink

The address on lo stands for a host's LAN. A namespace has no name. It lives as long as a descriptor of it is
open or a process is in it, so nothing can be left behind. Only `publish` gives it a name, for `ip netns`. The
command `ip` is not needed. The current namespace belongs to a thread, not to a greenlet: while a thread is in
another namespace, no greenlet that opens sockets may run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lib.errors import HostError

NAMES = Path("/run/netns")
"""Where iproute2 looks for the names of namespaces."""

_PREFIX = 24
_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MS_BIND = 0x1000  # linux/mount.h
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the demo, with the addresses of packaging/examples."""

    name: str
    overlay: str
    """The address of its TUN device."""
    lan: str
    """Its own address on its LAN, a /24."""
    uplink: str
    """Its own address on the way to the hub."""
    hub: str
    """The hub's address on the host's side."""


HOSTS = (
    Host("host-1", "192.168.123.1", "192.168.100.1", "10.77.1.2", "10.77.1.1"),
    Host("host-2", "192.168.123.2", "192.168.200.1", "10.77.2.2", "10.77.2.1"),
)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace, alive while its descriptor is open."""

    name: str
    fd: int


def gain_rights() -> bool:
    """Let this process make network namespaces; returns whether it took a user namespace for that.

    In that case the whole process has moved into the user namespace, as its root, and cannot come back.
    Raises HostError, which says what to do, where the kernel allows neither.
    """
    try:
        _make().close()
        return False
    except PermissionError:
        pass
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", _CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
        _call("unshare", _CLONE_NEWNET)
    except OSError as refused:
        raise HostError(_advice(refused)) from None
    return True


def build(stack: ExitStack) -> dict[str, Namespace]:
    """Make the namespaces "hub", "host-1" and "host-2" and join them; they are removed when the stack ends.

    Raises HostError where the kernel has no veth devices.
    """
    made = {}
    for name in ("hub", *(host.name for host in HOSTS)):
        home = stack.enter_context(_make())
        made[name] = Namespace(name, home.fileno())
    for host in HOSTS:
        _join(made["hub"], made[host.name], host)
    return made


@contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """Run the block in a namespace: every socket and device that it opens belongs there from then on."""
    with _here() as home:
        _call("setns", namespace.fd, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", home.fileno(), _CLONE_NEWNET)


def entrance(namespace: Namespace) -> Callable[[], None]:
    """A function for a forked child: it enters the namespace, and lets the child end when its parent ends."""
    return partial(_enter, namespace.fd, os.getpid())


def publish(namespace: Namespace, stack: ExitStack) -> str:
    """Give a namespace a name for `ip netns exec`, until the stack ends; returns the name.

    Raises HostError where the name is taken.
    """
    name = f"tunrouter-{namespace.name}"
    path = NAMES / name
    try:
        NAMES.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
        stack.callback(_withdraw, path)
        _call("mount", f"/proc/self/fd/{namespace.fd}".encode(), bytes(path), b"none", _MS_BIND, None)
    except FileExistsError:
        raise HostError(
            f"a namespace {name} exists: end the demo that was kept (the kill command it printed), "
            f"or ip netns del {name}"
        ) from None
    except OSError as refused:
        raise HostError(f"cannot name namespace {name}: {refused.strerror}") from None
    return name


def _make() -> Any:
    """A new network namespace, as an open file. Raises OSError."""
    with _here() as home:
        _call("unshare", _CLONE_NEWNET)
        try:
            return _here()
        finally:
            _call("setns", home.fileno(), _CLONE_NEWNET)


def _here() -> Any:
    return open("/proc/thread-self/ns/net", "rb")


def _enter(fd: int, parent: int) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent may have put signals off
    _call("setns", fd, _CLONE_NEWNET)
    _call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be noticed
        os._exit(1)


def _withdraw(path: Path) -> None:
    try:
        _call("umount2", bytes(path), _MNT_DETACH)
    except OSError:
        pass  # never mounted, or somebody removed it
    path.unlink(missing_ok=True)


def _join(hub: Namespace, side: Namespace, host: Host) -> None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    device = f"to-{host.name}"
    try:
        with inside(hub), IPRoute() as ip:
            ip.link("add", ifname=device, kind="veth", peer={"ifname": "uplink", "net_ns_fd": side.fd})
            _set_up(ip, device, host.hub)
        with inside(side), IPRoute() as ip:
            _set_up(ip, "uplink", host.uplink)
            _set_up(ip, "lo", host.lan)
    except NetlinkError as refused:
        hint = ": modprobe veth" if refused.code == errno.EOPNOTSUPP else ""
        raise HostError(f"veth pair hub - {host.name}: {os.strerror(refused.code)}{hint}") from None


def _set_up(ip: Any, device: str, address: str) -> None:
    index = ip.link_lookup(ifname=device)[0]
    ip.addr("add", index=index, address=address, prefixlen=_PREFIX)
    ip.link("set", index=index, state="up")


_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
)
"""Settings that forbid user namespaces: (file in /proc/sys, value that forbids, setting that allows)."""


def _advice(refused: OSError) -> str:
    allow = [setting for path, bad, setting in _SWITCHES if _sysctl(path) == bad]
    ways = ["run it as root (sudo tunrouter demo)"]
    if allow:
        ways.append(f"allow user namespaces (sudo sysctl -w {' '.join(allow)})")
    ways.append("in a container, give it --privileged and --device /dev/net/tun")
    return f"the demo may not make network namespaces here ({refused.strerror}): " + ", or ".join(ways)


def _sysctl(path: str) -> str:
    try:
        return Path("/proc/sys", path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _call(name: str, *arguments: Any) -> None:
    """Call a function of libc that returns 0 on success. Raises OSError."""
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
