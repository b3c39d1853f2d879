"""Connections that a changed prefix map concerns: the kernel forgets them, so the new map counts at once.

Knows: the socket to ctnetlink; that the kernel goes on translating a connection as it did its first packet.
Refuses to know: which entries these are, messages (netfilter_entries), rules (netfilter_map).

A connection that is forgotten is not ended: its next packet begins a new entry, by the rules of that moment.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator

from gevent import socket

from lib import netfilter_entries, netlink_messages
from lib.errors import HostError
from lib.netfilter_entries import Entry
from lib.prefixes import Prefix
from lib.service_scheduling import Breaths
from lib.settings_map import PrefixMap

_NETLINK_NETFILTER = 12
_RECEIVE = 1 << 16
_SECONDS = 5.0
"""The kernel replies at once; this is only so that nothing waits for ever."""
_GONE = frozenset({0, errno.ENOENT})
"""Of a deletion: done, or the connection has ended by itself."""


def forget(maps: Collection[PrefixMap], tunnel: Collection[Prefix]) -> int:
    """Let the kernel forget what these maps concern (netfilter_entries.concerns); returns how many that were.

    Packets are forwarded meanwhile. Raises HostError where the kernel refuses.
    """
    versions = {4 if len(one.outside[0]) == 4 else 6 for one in maps}
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        ) as asking:
            asking.bind((0, 0))
            asking.settimeout(_SECONDS)
            found = [
                entry
                for version in sorted(versions)
                for entry in _entries(asking, version)
                if netfilter_entries.concerns(entry, maps, tunnel)
            ]
            for entry in found:
                _delete(asking, entry)
    except OSError as error:
        raise HostError(f"connection tracking: {error.strerror or error}") from None
    return len(found)


def _entries(asking: socket.socket, version: int) -> Iterator[Entry]:
    """All entries of a version of IP. Raises OSError."""
    asking.send(netfilter_entries.listed(version))
    step = Breaths()
    while True:
        for message in netlink_messages.messages(asking.recv(_RECEIVE)):
            if message.type in (netlink_messages.ERROR, netlink_messages.DONE):
                if wrong := netlink_messages.error(message):
                    raise OSError(wrong, errno.errorcode.get(wrong, str(wrong)))
                return
            entry = netfilter_entries.read(message.body) if message.type == netfilter_entries.ENTRY else None
            if entry is not None:
                yield entry
            step()


def _delete(asking: socket.socket, entry: Entry) -> None:
    """Delete one, unless it has ended by itself. Raises OSError."""
    asking.send(netfilter_entries.deleted(entry))
    for message in netlink_messages.messages(asking.recv(_RECEIVE)):
        wrong = netlink_messages.error(message)
        if message.type == netlink_messages.ERROR and wrong not in _GONE:
            raise OSError(wrong, errno.errorcode.get(wrong, str(wrong)))
