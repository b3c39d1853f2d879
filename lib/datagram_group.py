"""UDP sockets of one port, one for each worker: the kernel gives each datagram to one of them by its label.

Knows: in which order they are bound, how the program is attached, how one for a single address joins.
Refuses to know: the program (datagram_part), who reads which socket (worker_datagrams).

The kernel keeps the sockets of one port that have SO_REUSEPORT as a group, in the order in which they were
bound, and what the program returns is a place in it. Where one is closed, the last one takes its place. So
the main process keeps all of them open, whatever becomes of workers. Others of the port come after them, and
no label leads there.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from array import array
from typing import Any

from gevent import monkey

from lib import datagram_open, datagram_part
from lib.datagram_socket import RECEIVE_BUFFER, Address, DatagramSocket, size_buffers
from lib.stream_netns import made_in

_ATTACH_REUSEPORT_CBPF = 51
"""SO_ATTACH_REUSEPORT_CBPF (asm-generic/socket.h), since Linux 4.5 for UDP."""
_SOCK_FPROG = struct.Struct("HP")
"""sock_fprog (linux/filter.h): how many instructions there are, and where."""
_INSTRUCTION_SIZE = 8
_LEAST_BUFFER = 1 << 20
"""Bytes that the kernel may hold for one of many: together they get what one socket would."""
_OriginalSocket = monkey.get_original("socket", "socket")


def opened(listener: Any, count: int, netns: str = "") -> list[Any]:
    """So many sockets on the address and port of a stream listener, in the network namespace of that.

    Datagrams go by their labels to them. Raises OSError: the port is busy, or the kernel cannot do that.
    """
    group: list[Any] = []
    try:
        for _ in range(count):
            sock = made_in(netns, lambda: _OriginalSocket(listener.family, socket.SOCK_DGRAM))
            group.append(sock)
            datagram_open.be_as(sock, listener)
            if len(group) > 1:  # of the first one not before: where the port is busy, that is an error
                sock.setsockopt(*datagram_open.REUSE)
            sock.bind(listener.getsockname())
            sock.setsockopt(*datagram_open.REUSE)
            size_buffers(sock, max(_LEAST_BUFFER, RECEIVE_BUFFER // count))
        if count > 1:
            _attach(group[0], datagram_part.program(count))
    except BaseException:
        close(group)
        raise
    return group


def close(group: list[Any]) -> None:
    """Close our descriptors of them; workers have their own."""
    for sock in group:
        sock.close()


def _attach(sock: Any, program: bytes) -> None:
    """Let a program choose among all sockets of the group of this one."""
    code = array("B", program)  # the kernel copies it in the call
    address, size = code.buffer_info()
    value = _SOCK_FPROG.pack(size // _INSTRUCTION_SIZE, address)
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, value)


def handed(descriptor: int) -> DatagramSocket:
    """One of them in the process that reads it, by a descriptor that becomes its own."""
    return DatagramSocket(_OriginalSocket(fileno=descriptor), receive_buffer=None)


def connected(port: DatagramSocket, address: Address, receive_buffer: int, netns: str = "") -> DatagramSocket:
    """As datagram_open.connected(), beside a group.

    It is bound as the group is, so nothing comes to it before it is connected: no label leads there. Bound to
    the address that was asked, it would take for a moment what is for others, in other processes. Raises
    OSError as well where the kernel would send from another address of ours than that one.
    """
    wanted = address.near_name(port.sock.getsockname())
    made = datagram_open.connected(port, address, receive_buffer, netns, port.sock.getsockname())
    if _host(made.sock.getsockname()) != _host(wanted):
        made.close()
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return made


def _host(name: tuple[Any, ...]) -> str:
    return str(name[0]).partition("%")[0]
