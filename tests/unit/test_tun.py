"""What is in the place of /dev/net/tun, and what the error line says of it."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import tun
from lib.errors import HostError

PATH = "/dev/net/tun"
RIGHT = os.makedev(10, 200)
MAKE = "not the device 10:200: remove it, and mknod -m 666 /dev/net/tun c 10 200"


def file(path: Path) -> None:
    path.write_text("")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(lambda path: None, "there is no /dev/net/tun: modprobe tun, or give", id="nothing"),
        pytest.param(lambda path: path.symlink_to("nowhere"), "/dev/net/tun is a link to what is not there", id="link"),
        pytest.param(file, "/dev/net/tun is a regular file, " + MAKE, id="a file"),
        pytest.param(Path.mkdir, "/dev/net/tun is a directory, " + MAKE, id="a directory"),
        pytest.param(os.mkfifo, "/dev/net/tun is a pipe, " + MAKE, id="a pipe"),
        pytest.param(listening, "/dev/net/tun is a socket, " + MAKE, id="a socket"),
        pytest.param(lambda path: path.symlink_to("/dev/null"), "/dev/net/tun is device 1:3, " + MAKE, id="1:3"),
    ],
)  # fmt: skip
def test_what_is_in_the_place_of_the_device_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], told: str
) -> None:
    path = tmp_path / "tun"
    make(path)
    monkeypatch.setattr(tun, "_PATH", str(path))
    with pytest.raises(HostError) as raised:
        tun.open_tun("tr0")
    assert str(raised.value).replace(str(path), PATH).startswith(f"no TUN device: {told}")


@pytest.mark.parametrize(
    ("code", "number", "flags", "told"),
    [
        (errno.ENODEV, RIGHT, 0, "the kernel has no tun module: modprobe tun"),
        (errno.ENODEV, os.makedev(10, 201), 0, "/dev/net/tun is device 10:201, not the device 10:200"),
        (
            errno.EACCES,
            RIGHT,
            0,
            "no permission on /dev/net/tun: run as root or with CAP_NET_ADMIN and access",
        ),
        (errno.EACCES, RIGHT, os.ST_NODEV, "/dev/net/tun is on a file system that is mounted with nodev"),
        (errno.EPERM, RIGHT, 0, "no permission on /dev/net/tun: give the container that device (docker run"),
        (errno.EMFILE, RIGHT, 0, "too many open files"),
        (errno.EIO, RIGHT, 0, "/dev/net/tun: Input/output error"),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else None,
)
def test_the_device_that_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch, code: int, number: int, flags: int, told: str
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    class Found:
        st_mode, st_rdev, f_flag = stat.S_IFCHR | 0o600, number, flags

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        patched.setattr(os, "stat", lambda path: Found)
        patched.setattr(os, "statvfs", lambda path: Found)
        with pytest.raises(HostError) as raised:
            tun.open_tun("tr0")
    assert str(raised.value).startswith(f"no TUN device: {told}")
