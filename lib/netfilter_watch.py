"""Notifications over nfnetlink of tables of nftables that somebody deletes, as `nft flush ruleset` does.

Knows: the socket, its multicast group, and the one message that matters (linux/netfilter/nfnetlink.h).
Refuses to know: whose table it was, and what is done about it (client_exit,
netfilter_keep).
"""

from __future__ import annotations

import errno

from gevent import socket

from lib import netlink_messages
from lib.service_scheduling import breathe

_NETLINK_NETFILTER = 12
_NFTABLES = 1 << 6
"""NFNLGRP_NFTABLES, as a bit."""
_DELETED = 10 << 8 | 2
"""NFNL_SUBSYS_NFTABLES, NFT_MSG_DELTABLE."""
_RECEIVE = 1 << 16


class Watch:
    """A subscription to changes of nftables in this network namespace."""

    def __init__(self) -> None:
        """Subscribe. Raises OSError without the right to, or where the kernel has no nftables."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, _NFTABLES))
        except BaseException:
            self._socket.close()
            raise

    def wait(self) -> None:
        """Wait until somebody has deleted a table. What was lost (ENOBUFS) may have been that."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except OSError as lost:
                if lost.errno == errno.ENOBUFS:
                    return
                raise
            if any(message.type == _DELETED for message in netlink_messages.messages(data)):
                return
            breathe()  # a large firewall is loaded in thousands of messages

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()
