"""The TUN device: opening, offloads (which packets the kernel may hand us), closing.

Knows: /dev/net/tun and its ioctls, what this kernel can offload, which errno of a read or a write
means what. Refuses to know: addresses, routes and link state (netlink), what the packets are
(packet_offload, packet), when to read or write (client_uplink, client_downlink).

The descriptor is non-blocking, and one read or write is one packet, with a virtio-net header of
10 bytes (little-endian, lib.packet_offload) before it where the kernel has IFF_VNET_HDR:

     0          10
    +----------+-----------------------------------------+
    | virtio   | IPv4 or IPv6 packet, 1 to 65,535 bytes  |     has_header
    +----------+-----------------------------------------+

A buffer of HEADER_SIZE + 65,535 bytes holds whatever a read can give; a shorter one may lose the end of a
packet. The buffers belong to the caller: the kernel copies them and keeps no reference.

A device that we make is not persistent. When its last descriptor is closed, by close(), a crash or kill -9,
the kernel removes the device, its addresses and routes. So a child process must not keep the descriptor,
which is why it is close-on-exec. A device that is there already is only taken over where somebody has made
it for that (`ip tuntap add`): it is persistent and nobody uses it (netlink_adopt). It stays when we close it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from gevent.monkey import get_original

from lib.errors import HostError
from lib.netlink_messages import TunState
from lib.packet_offload import CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6

HEADER_SIZE = 10
NAME_MAX = 15
"""Bytes of a device name (IFNAMSIZ without its closing zero)."""

_PATH = "/dev/net/tun"
_NODE = 10, 200  # linux/miscdevice.h: MISC_MAJOR, TUN_MINOR
_DEVICE = "device {}:{}"

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNGETIFF = 0x800454D2
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUNGETVNETHDRSZ = 0x800454D7
_TUNSETVNETLE = 0x400454DC
_TUNGETVNETLE = 0x800454DD
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_TUN_EXCL = 0x8000
"""Refuse the name of an existing device: whoever made it must have meant us to have it."""
_IFF_MULTI_QUEUE = 0x0100

_IFREQ = struct.Struct("16sH22x")
_INT = struct.Struct("=i")

# Each line is tried on top of what was accepted before. TSO and USO need CSUM, ECN needs a TSO,
# and the kernel (6.2 and later) takes the two USO bits only together.
_OFFLOAD_STEPS = (CSUM, TSO4, TSO6, TSO_ECN, USO4 | USO6)

# gevent's os.close waits for the next turn of its loop; till then the device would still be there,
# and its name taken.
_close: Callable[[int], None] = get_original("os", "close")

_FATAL = frozenset({errno.EBADFD, errno.EBADF, errno.ENODEV})

_OPEN_HINTS = {
    errno.ENOENT: f"there is no {_PATH}: modprobe tun, or give the container that device",
    errno.ENODEV: "the kernel has no tun module: modprobe tun",
    errno.ENXIO: "the kernel has no tun module: modprobe tun",
    errno.EACCES: f"no permission on {_PATH}: run as root or with CAP_NET_ADMIN and access to it",
    errno.EPERM: f"no permission on {_PATH}: give the container that device (docker run --device {_PATH})",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
}
_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
}
_CREATE_HINTS = {
    errno.EPERM: "no permission: run as root or with CAP_NET_ADMIN",
    errno.ENOTTY: f"{_PATH} makes no TUN devices here",
    errno.EBUSY: "a device of that name exists already: choose another name",
    errno.EEXIST: "a device of that name exists already: choose another name",
    errno.EINVAL: "the kernel takes no such name: no spaces, '/', ':' or '%', and not '.' or '..'",
}


def is_gone(code: int | None) -> bool:
    """Whether the errno of a read or write means that the device was deleted.

    Any other errno costs one packet (forward_drop_reasons.Reason.DEVICE_REFUSED): EIO while the device is
    down, EINVAL for bytes that are not a packet or for a bad virtio-net header, ENOBUFS or ENOMEM when memory
    is short. A read from a device that is only down waits (EAGAIN), and goes on when it is up again. A
    deleted device is always readable (EPOLLERR), so a loop that does not end here would spin.
    """
    return code in _FATAL


def accepted_offloads(try_offload: Callable[[int], bool]) -> int:
    """The offload bits that this kernel takes, found flag by flag.

    `try_offload` sets bits and returns whether the kernel took them. It is called with growing sets, and the
    last one may be refused; so afterwards the bits that are set need not be the result.
    """
    accepted = 0
    for step in _OFFLOAD_STEPS:
        if try_offload(accepted | step):
            accepted |= step
    return accepted


class TunDevice:
    """An open TUN device. Addresses, routes and MTU are set on it by netlink.

    fd            descriptor, non-blocking; each os.read and os.write is one packet (see above)
    name          the device's name in the kernel
    has_header    whether every packet has a virtio-net header before it, in both directions
    capabilities  the offload bits (packet_offload) that set_offload takes here; 0 without has_header
    refusal       why the kernel hands out single packets only (capabilities is 0); empty where it does not
    """

    __slots__ = ("_found", "capabilities", "fd", "has_header", "name", "refusal")

    def __init__(
        self, fd: int, name: str, has_header: bool, found: _Found | None = None, refusal: str = ""
    ) -> None:
        """Take over a descriptor that is attached to a device (open_tun makes one), with all offloads off.

        `found` is what the device had before, where it is persistent, `refusal` why there are no headers.
        """
        self._found, self.refusal = found, refusal
        self.fd = fd
        self.name = name
        self.has_header = has_header
        self.capabilities = accepted_offloads(self._try_offload) if has_header else 0
        if self.capabilities:
            self.refusal = ""
            self.set_offload(0)

    def set_offload(self, bits: int) -> int:
        """Set what the kernel may hand us from now on; 0 for single packets with complete checksums only.

        Returns the bits that are set: those of `bits` that this kernel takes, so any bits may be asked for.
        Packets that wait in the device stay as they are; so after bits were taken away, the reader must still
        look at each header. Writes are not affected. Raises HostError if the device is gone.
        """
        if not self.capabilities:
            return 0  # the kernel refuses even this setting, or there is nothing to set
        wanted = bits & self.capabilities
        usable = accepted_offloads(lambda some: some & wanted == some and self._try_offload(some))
        if not self._try_offload(usable):
            raise HostError(f"TUN device {self.name}: the kernel no longer takes offload settings")
        return usable

    @property
    def exists(self) -> bool:
        """Whether the kernel still has the device, perhaps under another name or in another namespace."""
        return bool(self.kernel_name())

    def kernel_name(self) -> str:
        """The device's present name, in whichever network namespace it is; empty where it is removed."""
        if self.fd < 0:
            return ""
        try:
            reply = fcntl.ioctl(self.fd, _TUNGETIFF, bytes(_IFREQ.size))
        except OSError:
            return ""
        return _name(reply)

    @property
    def persists(self) -> bool:
        """Whether the device stays when it is closed."""
        return self._found is not None

    def close(self) -> None:
        """Close the descriptor, so that the kernel removes the device with its addresses and routes.

        They are gone when this returns, after some 15 ms. Watchers of the descriptor must be closed before.
        A persistent device stays, with the flags that it had before. May be called twice.
        """
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if self._found is None:
            _close(fd)
            return
        self._detach(fd, self._found)

    def _detach(self, fd: int, found: _Found) -> None:
        try:
            if self.capabilities:
                fcntl.ioctl(fd, _TUNSETOFFLOAD, 0)
            for request, value in found.settings:
                fcntl.ioctl(fd, request, _INT.pack(value))
        except OSError:  # deleted meanwhile: nothing is left to set back
            _close(fd)
            return
        _close(fd)
        # The flags of a device are those with which it was attached last.
        with suppress(OSError):  # somebody else has it already, or we may not open the path any more
            fd = os.open(_PATH, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(self.name.encode(), found.flags))
            finally:
                _close(fd)

    def _try_offload(self, bits: int) -> bool:
        try:
            fcntl.ioctl(self.fd, _TUNSETOFFLOAD, bits)
        except OSError as refused:
            self.refusal = f"TUNSETOFFLOAD: {refused.strerror}"
            return False
        return True


def open_tun(name: str = "", state: TunState | None = None) -> TunDevice:
    """Make a TUN device; with an empty name the kernel chooses one (tun0, tun1, …).

    It is down, has no addresses, and all offloads are off. With the `state` of a persistent device that one
    is taken over, as it is. Raises HostError, which says what to do about it.
    """
    if len(name.encode()) > NAME_MAX:
        raise HostError(f"TUN device {name}: the name is longer than {NAME_MAX} bytes")
    try:
        return _create(name, _IFF_VNET_HDR, state)
    except OSError as refused:
        # EINVAL: the kernel has no virtio headers, or the name is bad. A second try without them tells which.
        if refused.errno == errno.EBUSY and state is not None:
            raise HostError(f"TUN device {name}: another program uses it") from None
        if refused.errno != errno.EINVAL and not isinstance(refused, _NoHeaders):
            raise _host_error(name, refused) from None
        refusal = f"virtio-net headers: {refused.strerror}"
    try:
        return _create(name, 0, state, refusal)
    except OSError as refused:
        raise _host_error(name, refused) from None


class _NoHeaders(OSError):
    """The device is there, but its virtio-net headers cannot be made as ours are."""


class _Found(NamedTuple):
    """A persistent device before we took it over."""

    flags: int
    """Those of TUNSETIFF."""
    settings: list[tuple[int, int]]
    """(ioctl, value) that set the rest back."""


def _create(name: str, header_flag: int, state: TunState | None, refusal: str = "") -> TunDevice:
    """Open /dev/net/tun and make the device, with virtio-net headers or not. Raises OSError, HostError."""
    fd = _open_path()
    try:
        like = _IFF_TUN_EXCL if state is None else _IFF_MULTI_QUEUE * state.has_many_queues
        flags = _IFF_TUN | _IFF_NO_PI | like | header_flag
        reply = fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
        found = None if state is None else _Found(_flags(state), _settings(fd))
        if header_flag:
            _set_headers(fd)
        return TunDevice(fd, _name(reply), bool(header_flag), found, refusal)
    except BaseException:
        _close(fd)
        raise


def _name(reply: bytes) -> str:
    name: bytes = _IFREQ.unpack(reply)[0]
    return name.rstrip(b"\0").decode(errors="surrogateescape")


def _set_headers(fd: int) -> None:
    try:
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, _INT.pack(HEADER_SIZE))
        fcntl.ioctl(fd, _TUNSETVNETLE, _INT.pack(1))  # as on our wire, whatever the host is
    except OSError as refused:
        raise _NoHeaders(refused.errno, refused.strerror) from None


def _flags(state: TunState) -> int:
    flags = _IFF_TUN | _IFF_MULTI_QUEUE * state.has_many_queues | _IFF_VNET_HDR * state.has_vnet_hdr
    return flags if state.has_pi else flags | _IFF_NO_PI


def _settings(fd: int) -> list[tuple[int, int]]:
    """What a device has of the settings that we change, as (ioctl that sets it, value)."""
    pairs = ((_TUNGETVNETHDRSZ, _TUNSETVNETHDRSZ), (_TUNGETVNETLE, _TUNSETVNETLE))
    return [(setter, _INT.unpack(fcntl.ioctl(fd, getter, _INT.pack(0)))[0]) for getter, setter in pairs]


def _open_path() -> int:
    try:
        return os.open(_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as refused:
        hint = _OPEN_HINTS.get(refused.errno or 0, f"{_PATH}: {refused.strerror}")
        raise HostError(f"no TUN device: {_what_is_wrong(refused.errno) or hint}") from None


def _what_is_wrong(code: int | None) -> str:
    """What _PATH is instead of the device; empty where it is that, or where it cannot be looked at.

    `code` is the errno of what has failed, which says little: it is ENODEV for a wrong number, and EACCES
    where the file system allows no devices.
    """
    try:
        found = os.stat(_PATH)
        flags = os.statvfs(_PATH).f_flag
    except OSError:
        return f"{_PATH} is a link to what is not there" if os.path.islink(_PATH) else ""
    number = os.major(found.st_rdev), os.minor(found.st_rdev)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), _DEVICE.format(*number))
    if not stat.S_ISCHR(found.st_mode) or number != _NODE:
        make = f"remove it, and mknod -m 666 {_PATH} c {_NODE[0]} {_NODE[1]}"
        return f"{_PATH} is {kind}, not the {_DEVICE.format(*_NODE)}: {make}"
    if code == errno.EACCES and flags & os.ST_NODEV:
        return f"{_PATH} is on a file system that is mounted with nodev, where devices cannot be opened"
    return ""


def _host_error(name: str, refused: OSError) -> HostError:
    if refused.errno == errno.ENOTTY and (wrong := _what_is_wrong(refused.errno)):
        return HostError(f"no TUN device: {wrong}")
    hint = _CREATE_HINTS.get(refused.errno or 0, str(refused.strerror))
    return HostError(f"TUN device {name or '(any name)'}: {hint}")
