"""A relay of TCP connections that holds back what it passes on: a hub that is farther away.

Knows: threads and queues. Refuses to know: what is passed on.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

from tests.support.netns import Namespace, in_namespace


class Delayed:
    """Passes on what comes to a port, each way `seconds` later; these may be changed."""

    def __init__(self, server: socket.socket, namespace: Namespace, target: tuple[str, int]) -> None:
        self.seconds = 0.0
        self._namespace, self._target = namespace, target
        self._server = server
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    with in_namespace(self._namespace.name):
                        far = socket.create_connection(self._target)
                except OSError:  # nobody is there now
                    near.close()
                    continue
                for one, other in ((near, far), (far, near)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()
                    for run, end in ((self._read, one), (self._write, other)):
                        threading.Thread(target=run, args=(end, waiting), daemon=True).start()

    def _read(self, sock: socket.socket, waiting: queue.Queue[tuple[float, bytes]]) -> None:
        data = b"x"
        while data:
            try:
                data = sock.recv(65536)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self.seconds, data))

    def _write(self, sock: socket.socket, waiting: queue.Queue[tuple[float, bytes]]) -> None:
        with sock, contextlib.suppress(OSError):
            while True:
                at, data = waiting.get()
                time.sleep(max(0.0, at - time.monotonic()))
                if not data:
                    sock.shutdown(socket.SHUT_WR)
                    return
                sock.sendall(data)


@contextlib.contextmanager
def delayed(namespace: Namespace, port: int, target: int) -> Iterator[Delayed]:
    """A relay in a namespace, from a port on every address to one on loopback."""
    with in_namespace(namespace.name):
        server = socket.create_server(("", port))
    with server:
        yield Delayed(server, namespace, ("127.0.0.1", target))
