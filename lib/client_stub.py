"""Loopback name server of a client: it asks the hub for names of its domain, and others for all others.

Knows: resolv.conf, which names it first while it serves, and what others change in that file meanwhile;
bounds on questions, connections and time.
Refuses to know: which names are the hub's (client_names, dns_forward), what an answer says: it keeps none.

There is one of a process, at 127.0.117.N. It serves from the first name that a client wants to the last. The
file keeps all that was in it, below a block of ours (dns_resolv_conf): whoever kills this process leaves a
machine whose programs find nobody at the first address and ask the next one, and the next start takes the
block away.
"""

from __future__ import annotations

import errno
import glob
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.queue import Queue
from gevent.server import StreamServer

from lib import client_names_files, dns_forward, dns_resolv_conf, netlink_owners, stream_dns
from lib.addresses import join_host_port
from lib.client_names_files import RESOLV_CONF
from lib.dns_forward import Server, Zone
from lib.log_events import Entry
from lib.log_setup import over
from lib.service_scheduling import breathe
from lib.service_supervisor import Task, keep
from lib.stream_deadline import within

QUESTIONS, CONNECTIONS = 128, 32
"""Questions over UDP, and connections over TCP, at the same time. Further questions fail at once."""
TOGETHER = 8
"""Questions over UDP that are taken before packets have their turn."""
LARGEST_QUESTION = 4096
"""Bytes of a question over UDP; longer ones are cut off and get no answer."""
WAITS = 1.0, 2.5
"""Seconds for which each server is waited for before the next one is asked too, in two rounds."""
SECONDS = 8.0
"""Seconds after which a question has failed."""
IDLE_SECONDS = 10.0
"""Seconds for which a connection may be silent."""
LOOK_SECONDS = 1.0
"""How often is looked whether somebody has changed resolv.conf."""
SLOW_SECONDS = 30.0
"""For how long a server that has not answered is asked after the others."""

_NAME = "\0tunrouter/names/%d"


class Stub:
    """The server, and the file that names it."""

    def __init__(self, path: str = RESOLV_CONF) -> None:
        """Nothing is served before the first set()."""
        self.address = ""
        """Where it serves; empty while it does not."""
        self._path, self._zones = path, dict[str, Zone]()
        self._alone = _asks_all_at_once()
        self._held: Any = None
        self._udp: Any = None
        self._tcp: StreamServer | None = None
        self._tasks: list[Task] = []
        self._asked: Pool = Pool(QUESTIONS)
        self._rest = dns_resolv_conf.Servers()
        self._seen: tuple[int, ...] = ()
        self._slow: dict[str, float] = {}
        self._turn = 0

    def set(self, owner: str, zone: Zone) -> str:
        """Answer for the names of a zone from now on, in place of what `owner` had; returns why not."""
        self._zones[owner] = zone
        try:
            if not self.address:
                self._open()
            self._write()
        except OSError as error:
            self.remove(owner)
            return client_names_files.words(error, self._path)
        return ""

    def remove(self, owner: str) -> None:
        """Answer no longer for what `owner` had; with the last one the file is what it was."""
        if self._zones.pop(owner, None) is None or not self.address:
            return
        if self._zones:
            with suppress(OSError):
                self._write()
            return
        address = self.address
        self._close()
        with suppress(OSError):  # the next start takes the block away
            client_names_files.change(
                self._path,
                lambda text: client_names_files.without(text, [address], dns_resolv_conf.remove),
            )

    # --- to open and to close

    def _open(self) -> None:
        """Take an address and serve there. Raises OSError."""
        if client_names_files.is_of_others(self._path):
            raise OSError(errno.EXDEV, client_names_files.OF_OTHERS, self._path)
        number, self._held = client_names_files.take(_NAME)
        address = f"{dns_resolv_conf.NETWORK}{number}"
        try:
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.bind((address, stream_dns.PORT))
            self._tcp = StreamServer((address, stream_dns.PORT), self._serve_stream, spawn=Pool(CONNECTIONS))
            self._tcp.start()
        except OSError as error:
            self._close()
            raise OSError(error.errno, _not_bound(error), join_host_port(address, stream_dns.PORT)) from None
        self.address = address
        self._tasks = [
            keep("names are looked up", self._serve_datagrams),
            keep("resolv.conf is followed", self._follow),
        ]

    def _close(self) -> None:
        self.address = ""
        for task in self._tasks:
            task.kill(block=False)
        self._tasks = []
        self._asked.kill(block=False)
        if self._tcp is not None:
            self._tcp.stop(timeout=0)
        for one in (self._udp, self._held):
            if one is not None:
                one.close()
        self._udp = self._tcp = self._held = None
        over(Entry.NAMES_NOT_KEPT)

    # --- the file

    def _write(self) -> None:
        """Let the file name us first, and read whom it names besides. Raises OSError."""
        domains = sorted({zone.domain for zone in self._zones.values()} - {""})
        alone = self._alone

        def edit(text: str | None) -> str:
            wanted = dns_resolv_conf.add(text, self.address, domains, alone)
            is_set = dns_resolv_conf.is_set(text, self.address, alone) and wanted.split("\n", 3)[1] in (
                text or ""
            )
            return text if is_set and text is not None else wanted

        self._read(client_names_files.change(self._path, edit))

    def _read(self, seen: tuple[int, ...]) -> None:
        self._seen = seen
        self._rest = dns_resolv_conf.servers(client_names_files.read(self._path), self.address)
        self._slow.clear()

    def _follow(self) -> None:
        """Put the block back whenever somebody has written the file anew; never returns."""
        while True:
            gevent.sleep(LOOK_SECONDS)
            if client_names_files.state(self._path) == self._seen:
                continue
            try:
                self._write()
                over(Entry.NAMES_NOT_KEPT)
            except OSError as error:
                with suppress(OSError):
                    self._read(client_names_files.state(self._path))
                client_names_files.say_lost(self._path, client_names_files.words(error, self._path))

    # --- questions

    def _serve_datagrams(self) -> None:
        """Answer datagrams; never returns. While there are more, recvfrom alone lets nobody else run."""
        for number in count(1):
            if not number % TOGETHER:
                breathe()
            try:
                message, asker = self._udp.recvfrom(LARGEST_QUESTION)
            except ConnectionError:  # who asked before is gone
                continue
            if self._asked.full():
                self._reply(asker, _failed(message))
            else:
                self._asked.spawn(self._serve_datagram, message, asker)

    def _serve_datagram(self, message: bytes, asker: tuple[str, int]) -> None:
        self._reply(asker, self.answer(message, over_tcp=False))

    def _reply(self, asker: tuple[str, int], reply: bytes) -> None:
        if reply and self._udp is not None:
            with suppress(OSError):
                self._udp.sendto(reply, asker)

    def _serve_stream(self, stream: Any, _: object) -> None:
        """Answer the questions of one connection, one after the other."""
        with suppress(OSError), stream:
            while True:
                breathe()  # while there are more, a receive alone lets nobody else run
                with within(IDLE_SECONDS, lambda: TimeoutError(errno.ETIMEDOUT, "silent")):
                    message = stream_dns.received(stream)
                if not message:
                    return
                reply = self.answer(message, over_tcp=True)
                if not reply:
                    return
                with within(IDLE_SECONDS, lambda: TimeoutError(errno.ETIMEDOUT, "silent")):
                    stream.sendall(stream_dns.framed(reply))

    def answer(self, message: bytes, over_tcp: bool) -> bytes:
        """The answer to a message of a program of this host; empty where it gets none."""
        found = dns_forward.asked(message)
        if found is None:
            return _failed(message, dns_forward.FORMERR)
        servers = dns_forward.servers(found.name, self._zones.values(), self._others())
        reply = self._first(servers, message, over_tcp)
        return reply if reply is not None else dns_forward.failure(message, found.end, dns_forward.SERVFAIL)

    def _others(self) -> list[str]:
        """The servers for all other names, those last that have not answered a moment ago."""
        servers = list(self._rest.addresses)
        if self._rest.rotate:
            self._turn = (self._turn + 1) % len(servers)
            servers = servers[self._turn :] + servers[: self._turn]
        now = time.monotonic()
        return sorted(servers, key=lambda one: self._slow.get(one, now) > now)

    def _first(self, servers: Iterable[Server], message: bytes, over_tcp: bool) -> bytes | None:
        """The first answer that is no failure, else the last failure; None without any answer."""
        replies: Queue[tuple[Server, bytes | None]] = Queue()
        asking: list[gevent.Greenlet] = []
        failure: bytes | None = None
        until, waiting = time.monotonic() + SECONDS, 0
        heard: set[str] = set()
        answered: Server
        reply: bytes | None

        def ask(server: Server) -> None:
            tcp = over_tcp and not server.by_udp
            replies.put((server, stream_dns.ask(server.address, message, tcp, until - time.monotonic())))

        try:
            rounds = [(server, seconds) for seconds in WAITS for server in servers]
            for server, seconds in [*rounds, (None, SECONDS)]:
                if server is not None and server.address not in heard:
                    asking.append(gevent.spawn(ask, server))
                    waiting += 1
                end = min(until, time.monotonic() + seconds)
                while waiting:
                    try:
                        answered, reply = replies.get(timeout=max(0.0, end - time.monotonic()))
                    except gevent.queue.Empty:
                        if server is not None:
                            self._slow[server.address] = time.monotonic() + SLOW_SECONDS
                        break
                    waiting -= 1
                    heard.add(answered.address)
                    if reply is None:
                        continue
                    self._slow.pop(answered.address, None)
                    if dns_forward.code(reply) not in dns_forward.FAILURES:
                        return reply
                    failure = reply
        finally:
            gevent.killall(asking, block=False)
        return failure


def mend(path: str = RESOLV_CONF) -> None:
    """Take away what killed processes of ours have left in resolv.conf. Raises OSError."""
    client_names_files.mend(path, dns_resolv_conf.blocks, _is_dead, dns_resolv_conf.remove)


def _is_dead(address: str) -> bool:
    return not netlink_owners.is_held(_NAME % int(address.rpartition(".")[2]))


def _asks_all_at_once() -> bool:
    """Whether the C library here is musl, which takes the first answer of all servers."""
    return bool(glob.glob("/lib/ld-musl-*")) and not glob.glob("/lib*/ld-linux*")


def _failed(message: bytes, code: int = dns_forward.SERVFAIL) -> bytes:
    """An answer that says so; empty where a message is too short for one, or is an answer itself."""
    if len(message) < 12 or message[2] & 0x80:
        return b""
    found = dns_forward.asked(message)
    return dns_forward.failure(message, found.end if found else 12, code)


def _not_bound(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "a name server of this host has port 53 of all addresses: let it forward the domain to the hub"
    return error.strerror or str(error)
