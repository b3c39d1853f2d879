"""Links of a hub to the other hubs of its cluster: one a pair, dialled on demand, closed when idle.

Knows: which hub has a link, who dials, what waits meanwhile, which of two links stays.
Refuses to know: what is said over a link (cluster_link), where a hub is (cluster_registry), certificates.

    frames for hub X    a link that is ready: sent.  None: X is dialled, and the frames wait for a moment
    X dials us          its certificate says that it is X
    both dial at once   the link that the hub with the smaller name has dialled stays
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pool import Pool

from lib.addresses import host_port
from lib.cluster_datagram import LinkDatagrams
from lib.cluster_identity import LinkIdentity
from lib.cluster_link import Link, Receiver
from lib.cluster_registry import MAX_HUBS
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.hub_accept import ALL, Server
from lib.limits import stranger
from lib.log_dedup import BUSY, OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.namespace import Attachment
from lib.packet import Buffer
from lib.packet_offload import count_packets
from lib.service_places import Places
from lib.service_supervisor import Task
from lib.session_budget import PARKED_BYTES, Budget
from lib.session_cost import Cost
from lib.settings_transport import STREAM
from lib.stream_bounded import Bounds
from lib.stream_deadline import within
from lib.stream_dial import dial
from lib.stream_layer import AnyStream, Layered
from lib.stream_listen import listen
from lib.stream_tcp import Stream, format_peer
from lib.stream_tls import TlsCodec

if TYPE_CHECKING:
    from lib.cluster_trust import Trust

DIAL_SECONDS = 5.0
"""Seconds until a link is there: name, connection, TLS."""
IDLE_SECONDS = 60.0
RACE_SECONDS = 2.0
"""In this time after a link was made by us, another one by the far hub is of the same moment."""
BACKOFF = 0.25, 4.0
"""Seconds until a hub is dialled again: at first, and at most (doubling). Frames meanwhile are dropped."""
WAITING_BYTES, ALL_WAITING = 256 << 10, 32 << 20
"""Bytes of frames that may wait for one link to be made, and for all of them."""
MAX_STRANGERS = 256
"""Connections that have not shown yet that they are of a hub; one more makes an older one go."""
MAX_LINKS, LINKS_OF_ONE = MAX_HUBS + 256, 4
"""Links at a time, and those with one hub: one that is used, and others that end."""
MAX_PEERS = 2 * MAX_HUBS
"""Hubs of which something is kept; of more those go with which there is no link."""
QUEUE_MEMORY = 64 << 20
"""Bytes that may wait for all other hubs together."""
BEAT_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class _Peer:
    """What is kept of one other hub."""

    link: Link | None = None
    """The link that frames go by."""
    waiting: deque[tuple[Attachment, bytes]] = field(default_factory=deque)
    bytes: int = 0
    """Of the frames that wait."""
    is_dialling: bool = False
    failed: str = ""
    """Why the last dial has failed; empty where it has not."""
    next_at: float = 0.0
    pause: float = BACKOFF[0]


class Links:
    """All links of this hub."""

    def __init__(
        self,
        name: str,
        identity: LinkIdentity | Trust,
        where: tuple[str, int],
        instance: bytes,
        address_of: Callable[[str], str],
        receiver: Callable[[str], Receiver],
        counts: Callable[[str], Traffic],
        channel: str = STREAM,
        datagram: str = "",
        sock: Any = None,
    ) -> None:
        """Listen at `where` (host, port), unless `sock` does so already. Raises HostError.

        `address_of` gives a hub's HOST:PORT, or "" where it is not known; `receiver` what takes the frames of
        a link with it, `counts` where drops are counted. `channel` and `datagram` as in the settings.
        """
        self.name, self._identity, self._instance = name, identity, instance
        self._address_of, self._receiver, self._counts = address_of, receiver, counts
        self.all: dict[Link, None] = {}
        """Every link, also those that are not ready, or leave."""
        self.budget = Budget(QUEUE_MEMORY)
        self.alive: Callable[[str], None] = lambda name: None
        """Is told of each hub that has given a sign of life by a link."""
        self.unreachable: Callable[[str, bool], None] = lambda name, is_it: None
        """Is told whether a hub is one with which a link was lost or cannot be had, when that changes."""
        self._peers: dict[str, _Peer] = {}
        self._waiting = 0
        """Bytes of the frames that wait for links to be made."""
        self._heard: dict[Link, int] = {}
        self._pool = Pool()
        self._strangers = Places(MAX_STRANGERS)
        label = f"links of cluster {name}"
        self._server = Server(sock or listen(*where), self._serve, self._pool, name, label, ALL)
        self.datagrams = LinkDatagrams(name, channel, datagram)
        self.datagrams.open(self._server.socket, self.address)
        self._beating = Task(f"{label}: links are looked after", self._beat)
        self._dialling: set[gevent.Greenlet] = set()

    def start(self) -> None:
        """Begin to accept links."""
        self._server.start()
        self.datagrams.start()
        self._beating.start()

    def stop(self) -> None:
        """End all links."""
        self._beating.kill(block=False)
        self._server.close()
        gevent.killall([*self._dialling], timeout=1)
        self._pool.kill(timeout=1)
        self.datagrams.close()

    @property
    def address(self) -> str:
        """Where it listens."""
        return format_peer(self._server.socket.getsockname())

    def link_with(self, name: str) -> Link | None:
        """The link that frames for a hub go by now."""
        peer = self._peers.get(name)
        return peer.link if peer is not None else None

    def in_use(self) -> list[Link]:
        """The links that frames go by now."""
        return [peer.link for peer in self._peers.values() if peer.link is not None]

    def failed(self, name: str) -> str:
        """Why a hub could not be reached the last time; empty where it could."""
        peer = self._peers.get(name)
        return peer.failed if peer is not None else ""

    def would_take(self, name: str, namespace: bytes, frame: Buffer) -> bool:
        """Whether a frame for a host at another hub would go by datagrams now, for those who look on."""
        link = self.link_with(name)
        return link is not None and link.channel is not None and link.channel.would_take_of(namespace, frame)

    # --- sending

    def send(self, name: str, attachment: Attachment, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames for an attachment at another hub, or let it wait, or drop it."""
        peer = self._peer(name)
        link = peer.link
        if link is not None and not link.is_leaving:
            link.send(attachment.namespace.id, buffers)
            return
        run = b"".join(buffers)
        now = time.monotonic()
        if not peer.is_dialling and now < peer.next_at:
            attachment.drop(Reason.NO_LINK, count_packets(run), peer.failed, b"", now)
            return
        self._keep(peer, attachment, run)
        if not peer.is_dialling:
            peer.is_dialling = True
            self._spawn(self._dial, name, peer)

    def _keep(self, peer: _Peer, attachment: Attachment, run: bytes) -> None:
        """Let frames wait for a link; where there is no room, those go that have waited longest for it."""
        peer.waiting.append((attachment, run))
        self._count(peer, len(run) + PARKED_BYTES)
        while peer.waiting and (peer.bytes > WAITING_BYTES or self._waiting > ALL_WAITING):
            oldest, run = peer.waiting.popleft()
            self._count(peer, -len(run) - PARKED_BYTES)
            why = "too much waits for the link"
            oldest.drop(Reason.NO_LINK, count_packets(run), why, b"", time.monotonic())

    def _count(self, peer: _Peer, size: int) -> None:
        peer.bytes += size
        self._waiting += size

    def _taken(self, peer: _Peer) -> deque[tuple[Attachment, bytes]]:
        """What has waited for a link with this hub; nothing waits any more."""
        waiting, peer.waiting = peer.waiting, deque()
        self._count(peer, -peer.bytes)
        return waiting

    def _peer(self, name: str) -> _Peer:
        """What is kept of a hub; made where there is nothing yet. Hubs that are of no more use make room."""
        peer = self._peers.get(name)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                linked = {link.name for link in self.all}
                for other, known in list(self._peers.items()):
                    if other not in linked and not known.is_dialling and not known.waiting:
                        del self._peers[other]
            peer = self._peers[name] = _Peer()
        return peer

    def probe(self, name: str) -> None:
        """Dial a hub that has no link, without frames for it, as soon as it may be dialled again."""
        peer = self._peer(name)
        if peer.link is None and not peer.is_dialling and time.monotonic() >= peer.next_at:
            peer.is_dialling = True
            self._spawn(self._dial, name, peer)

    def _spawn(self, run: Callable[..., None], *arguments: object) -> None:
        greenlet = gevent.spawn(run, *arguments)
        self._dialling.add(greenlet)
        greenlet.rawlink(self._dialling.discard)

    def _use(self, link: Link) -> None:
        """A link is ready: frames go by it from now on, unless another one stays."""
        peer = self._peer(link.name)
        other = peer.link
        if other is not None and not self._replaces(link, other):
            link.drain()
            return
        peer.link, peer.failed, peer.pause, peer.next_at = link, "", BACKOFF[0], 0.0
        if other is not None:
            other.drain()
        settle(Entry.LINK_FAILED, link.name)
        text = "link with hub %s: %s, %s"
        how = "dialled" if link.is_dialled else "accepted"
        say(
            Entry.LINK_OPENED,
            text,
            *(link.name, link.stream.peer, how),
            fold=link.name,
            habit=BUSY,
            hub=link.name,
            peer=link.stream.peer,
        )
        self.unreachable(link.name, False)
        for attachment, run in self._taken(peer):
            link.send(attachment.namespace.id, [run])

    def _replaces(self, link: Link, other: Link) -> bool:
        """Whether a link replaces another one with the same hub: a later one does, but for a race."""
        is_race = link.is_dialled != other.is_dialled and time.monotonic() - other.since < RACE_SECONDS
        return not is_race or (self.name < link.name) == link.is_dialled

    # --- the life of a link

    def _dial(self, name: str, peer: _Peer) -> None:
        """Dial a hub, in a greenlet of its own, and read the link until it ends."""
        stream: Stream | None = None
        link: Link | None = None
        try:
            host, port = host_port(self._address_of(name))
            late = f"no link within {DIAL_SECONDS:g} s"
            with within(DIAL_SECONDS, lambda: TimeoutError(110, late)):
                sock = dial(host, port, Bounds(DIAL_SECONDS, 1 << 20))
                stream = Stream(sock, format_peer(sock.getpeername()))
                top = _layer(stream, TlsCodec(self._identity.client, False))
                top.open()
                found = self._identity.name_of(top.certificate)
                if found != name:
                    raise ProtocolError(f"{stream.peer} is hub {found[:64]!r}")
            link = self._link(name, stream, top, True)
            self._run(link, peer)
        except (OSError, ValueError, ProtocolError) as error:
            self._fail(name, peer, str(getattr(error, "strerror", "") or error))
        finally:
            if link is None or not link.is_ready:  # else another dial may be under way since it was
                peer.is_dialling = False
            if stream is not None:
                stream.close()

    def _fail(self, name: str, peer: _Peer, why: str) -> None:
        now = time.monotonic()
        peer.failed, peer.next_at = why, now + peer.pause
        peer.pause = min(BACKOFF[1], 2 * peer.pause)
        self.unreachable(name, True)
        self._drop_waiting(peer, why)
        text = "hub %s cannot be reached: %s"
        say(Entry.LINK_FAILED, text, name, why, fold=name, habit=OUTAGE, hub=name, reason=why)

    def _drop_waiting(self, peer: _Peer, why: str) -> None:
        for attachment, run in self._taken(peer):
            attachment.drop(Reason.NO_LINK, count_packets(run), why, b"", time.monotonic())

    def _serve(self, sock: Any, address: Any) -> None:
        """One connection, in its own greenlet: the handshake, then the link."""
        where = format_peer(address)
        stream: Stream | None = None
        try:
            with self._strangers.hold(stranger(where)) as held:
                if not held:
                    return
                stream = Stream(sock, where)
                top = self._met(stream)
            name = self._identity.name_of(top.certificate)
            if not name or name == self.name:
                raise ProtocolError("it has this hub's own name")
            self._run(self._link(name, stream, top, False), self._peer(name))
        except (OSError, ProtocolError) as error:
            reason = str(getattr(error, "strerror", "") or error)
            text = "link from %s refused: %s"
            say(Entry.LINK_REFUSED, text, where, reason, fold="link", habit=OUTAGE, peer=where, reason=reason)
        finally:
            (stream or sock).close()

    def _met(self, stream: Stream) -> AnyStream:
        """The stream within TLS, once both ends have shown certificates. Raises OSError, ProtocolError."""
        stream.count(Cost(), stranger(stream.peer), self.budget)
        with within(DIAL_SECONDS, lambda: ProtocolError(f"no TLS handshake within {DIAL_SECONDS:g} s")):
            stream.wait_readable()
            top = _layer(stream, TlsCodec(self._identity.server, True))
            top.open()
        stream.end_turn()
        stream.cost = None
        return top

    def _link(self, name: str, stream: Stream, top: AnyStream, is_dialled: bool) -> Link:
        """A link with a hub, by the uppermost layer of a stream. Raises OSError where there are too many."""
        if sum(link.name == name for link in self.all) >= LINKS_OF_ONE:
            raise OSError(23, f"there are {LINKS_OF_ONE} links with this hub already")
        if len(self.all) >= MAX_LINKS:
            raise OSError(23, f"there are {MAX_LINKS} links already")
        more = self._receiver(name), self._instance, self._counts(name)
        cost = Cost()
        cost.admit("link")
        stream.count(cost, ("hub", name), self.budget)
        return Link(name, top, is_dialled, self.budget, *more, self.datagrams)

    def _run(self, link: Link, peer: _Peer) -> None:
        """Read a link until it ends."""
        self.all[link] = None
        why = "closed by the far hub"

        def ready(link: Link) -> None:
            peer.is_dialling = False
            self._use(link)

        try:
            link.run(ready)
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            del self.all[link]
            self._heard.pop(link, None)
            link.ended()
            if peer.link is link:
                peer.link = None
                if not link.is_leaving:
                    self.unreachable(link.name, True)
        why = link.sender.closed_because or why
        if not link.is_ready:
            raise OSError(71, f"{why}, before it was ready: perhaps it has another secret, or no trust in us")
        text = "link with hub %s ended: %s"
        say(Entry.LINK_CLOSED, text, link.name, why, hub=link.name, reason=why)

    def _beat(self) -> None:
        while True:
            gevent.sleep(BEAT_SECONDS)
            now = time.monotonic()
            for link in list(self.all):
                self._beating.attempt(self._look_after, link, now)

    def _look_after(self, link: Link, now: float) -> None:
        link.beat(now)
        heard = link.traffic.received_packets
        if heard != self._heard.get(link) and link.is_ready:
            self._heard[link] = heard
            self.alive(link.name)
        peer = self._peer(link.name)
        if link.is_leaving and peer.link is link:
            peer.link = None
        if peer.link is link and link.is_dialled and now - link.used_at > IDLE_SECONDS:
            peer.link = None  # what comes now finds no link, and dials
            link.drain()


def _layer(stream: Stream, codec: Any) -> Layered:
    """A layer over a stream, not opened yet."""
    return Layered(stream, codec)
