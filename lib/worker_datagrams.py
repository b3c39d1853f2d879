"""Datagrams of sessions in a worker: the main process has opened the UDP port, and hands a socket.

Knows: that only labels of this worker's part come to its socket, so its keys have no others.
Refuses to know: how the kernel chooses a socket (datagram_group), when there is a port (worker_ports), what
is done with datagrams (hub_datagram).
"""

from __future__ import annotations

import errno
import os
from typing import Any

from lib import datagram_group, worker_channel
from lib.datagram_part import Part
from lib.hub_datagram import HubDatagrams
from lib.settings import HubSettings


class HandedDatagrams(HubDatagrams):
    """The socket of one hub in one worker, and the channels of its sessions there."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.table.part = part
        self._connect = datagram_group.connected
        self._descriptor = -1
        """That of the main process's socket; below 0 while it has none."""
        self._last: tuple[HubSettings, Any] | None = None

    def open(self, settings: HubSettings, listener: Any) -> None:
        """As HubDatagrams.open; nothing is said of a busy port, as the main process has said it."""
        self._last = settings, listener
        super().open(settings, listener)

    def hand(self, descriptor: int = -1) -> None:
        """Use this socket of the main process from now on; without one there is none any more."""
        if self._descriptor >= 0:
            worker_channel.shut(self._descriptor)
        self._descriptor = descriptor
        if self._last is not None:
            self.open(*self._last)

    def listen(self, listener: Any, name: str, netns: str = "") -> None:
        """Listen by the socket that was handed over. Raises OSError: there is none."""
        if self._descriptor < 0:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        # A copy: the settings of a reload may end it, and begin again with what was handed over.
        self.use(datagram_group.handed(os.dup(self._descriptor)), name, netns)

    def tell_busy(self, settings: HubSettings, number: int, error: OSError) -> None:
        """Say nothing."""
