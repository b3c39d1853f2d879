"""Memory bound of a process with given settings, in parts, as `tunrouter check` prints it.

Knows: what each part of a hub may hold at most, and what that costs.
Refuses to know: who keeps the limits (session_budget, limits, capture_taps), how much is held now (metrics).

The figures are resident memory, measured: tests/bench/connections.py (idle connections), tests/bench/held.py
(what waits), tests/soak/hungry.py (the sum holds under attack). The rows of a source (file, Redis,
HTTP) are not in the configuration: they come on top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from lib.humanize import counted
from lib.ids import NO_NAMESPACE
from lib.settings import HubSettings, Settings, TableSettings

MAX_ASKING = 4096
"""Questions to plugins that are under way at a time about namespaces that anybody can make up."""
MAX_CLIENTS = 65536
"""Connections of a hub where its climiter names no number for all."""
ALL_FLOWS, LEAST_FLOWS = 1 << 17, 32
"""Flows that all sessions of a hub remember together, and the least that each may."""

FAR_HOSTS, MOST_FAR_HOSTS, LEAST_FAR_HOSTS = 8192, 4096, 64
"""Hosts of which a hub remembers at which hubs they are: of all namespaces, of one, and the least of one."""
FAR_FLOWS, LEAST_FAR_FLOWS = 16384, 8
"""Flows that are remembered of all hosts at other hubs, or at least so many of each."""

FAR_WAITING = 64 << 20
"""The budget of hosts at other hubs; frames of theirs that wait for a plugin or an sd may have an eighth."""

MB = 1e6
BASE = 110 * MB
"""The program with everything imported, its receive buffers, and what the allocator keeps for next time."""
HUB = 8 * MB + 65536 * 450
"""A service beside its connections: refusals, last drops, books of the metrics, handshakes of addresses."""
LOG = 10 * MB
"""Lines that wait for whoever reads the log: 4 MB for standard error, as many for a file (log_output)."""
CLIENT = 24 * MB
"""A client service: its batch, and a queue whose reader waits."""
CONNECTION = {"tcp": 280e3, "tls": 470e3, "ws": 280e3, "wss": 550e3}
"""One connection at its worst, by transport: greenlet and session, bytes that came and were not judged yet,
an unfinished frame, and OpenSSL's buffers, which stay as large as they once were. `connections.py --worst`
measures 220, 380, 220 and 440 KB; a quarter more is for what the allocator does not give back. Most
connections need a tenth of that."""
FLOW = 8 * 130
"""A flow where it is remembered: of UDP, of all else, four of the host it goes to; denied, as much as two."""
ALL_LOST, LEAST_LOST = 1 << 14, 8
"""Destinations whose last drops all namespaces of a hub remember together, and the least that each may."""
LOST = 600
"""One of them."""
LANE_FLOW = 320
"""A flow that a session with two lanes remembers in the direction to its client."""
SLACK = 1.25
"""What waits is freed in other sizes than it was asked for."""
ROUTE = 420
"""A route with its row (tests/bench/trie.py)."""
QUESTION = 16e3
"""A question to a plugin that is under way, with its greenlet."""
PLUGIN = 65536 * 400 + 1024 * QUESTION
"""What a plugin has said about one namespace that the configuration names, and what it is being asked."""
FRAGMENTS = 4096 * 900
"""Datagrams of one such namespace of which some fragments have come."""
CONNECTIONS_TABLE = 65536 * 300 + FRAGMENTS
"""What the access lists of one such namespace have let through."""
COMMONS = 64 << 20
"""The same of all namespaces of a domain together that anybody can make up (namespace_commons); and of every
namespace who was there, and which of several gateways a flow has."""
LEASE = 1000
"""An address that a host got from a pool."""
SHARED_LEASE = 900
"""What it takes besides in the list that hubs of a cluster share, while that is changed (push_shared)."""
MAX_LEASES = 65536
PRESENCE = 4 * 65536 * 450
"""Hosts of which `notify` remembers what it has told."""
CAPTURES = 8 * 9 * MB
"""Listeners of a capture, each with what it has not read yet."""
BODIES = 2 * 20 * (1 << 20) + (4 * 9 << 20) + 2 * (1 << 19) * 150 + 256 * 4096 * 28
"""Bodies of requests to the web API: the bytes of all (api_bodies), of those that have their turn the text
and the values (api_json), and small ones."""
API = 5000 * 15e3 + 4 * 32 * 400e3 + 64 * 400e3 + 32 * 300e3 + 10 * 1.5e6 + 256 * 64e3 + BODIES + CAPTURES
"""The last hour of as many hosts as are kept (api_hosts), the differences that pages get or wait for
(api_board), one on its way to each, replies that they share (api_shared), lists on their way to who reads
slowly, on each connection an answer being compressed (api_gzip), bodies; traces and captures of its own."""
FAR_HOST = 6000
"""A host at another hub that packets go to."""
_FAR_FLOW = 5 * 130
"""A flow where it is remembered: as that of a session, but of one gateway alone."""
_FAR = (7 * FAR_FLOWS + FAR_HOSTS * LEAST_FAR_FLOWS) * _FAR_FLOW
"""Flows of hosts at other hubs: each new host has a part of what there is, older ones keep theirs."""
CLUSTER = 200_000 * 500 + FAR_HOSTS * 2 * FAR_HOST + _FAR + (104 << 20) * 1.25 + (1280 + 256) * 150e3
"""Names of hosts at other hubs, those that packets go to with their flows, links and what waits for them."""
ENTRYPOINT = _FAR + FAR_WAITING / 8 * 1.25
"""Flows of hosts at other hubs; the hosts are in COMMONS."""


class Part(NamedTuple):
    """One part of the memory: what holds it, for people, and its size in bytes."""

    what: str
    size: float


def parts(settings: Settings) -> list[Part]:
    """The parts of the memory that a process with these settings holds at most."""
    found = [Part("the program", BASE + LOG)]
    routes = sum(len(table.routes) for table in settings.tables)
    lease = LEASE + (SHARED_LEASE if settings.cluster is not None else 0)
    tables: float = routes * ROUTE + sum(
        min(MAX_LEASES, _addresses(table)) * lease for table in settings.tables
    )
    domains = _domains(settings.hubs)
    kinds = _kinds(settings.tables)
    tables += sum(_named(kinds, hubs) for hubs in domains)
    if tables:
        found.append(Part(f"tables with {counted(routes, 'route')}", tables))
    if domains:
        found.append(
            Part("namespaces that anybody can make up", len(domains) * (COMMONS + MAX_ASKING * QUESTION))
        )
    for hub in settings.hubs:
        found += _hub(hub)
    if settings.notify:
        found.append(Part("notify: hosts that have gone", len(settings.notify) * PRESENCE))
    if settings.clients:
        found.append(Part(counted(len(settings.clients), "client"), len(settings.clients) * CLIENT))
    if settings.cluster is not None:
        found.append(Part("the cluster: hosts at other hubs, and links to these", CLUSTER))
    if settings.control:
        found.append(Part("captures", CAPTURES))
    if settings.api:
        found.append(Part("the web API: the last hour of its hosts", API))
    if settings.recorder:
        found.append(Part("the recorder", settings.recorder * SLACK))
    return found


def bound(settings: Settings) -> float:
    """Bytes of resident memory that a process with these settings stays under: the sum of the parts."""
    return sum(part.size for part in parts(settings))


def share_of(everything: int, least: int, most: int, among: int) -> int:
    """What each of so many has of everything, within bounds."""
    return max(least, min(most, everything // max(1, among)))


def connections(hub: HubSettings) -> int:
    """The most connections that a hub has at once."""
    return min([MAX_CLIENTS, *(row.most for row in hub.limits.connections if row.key == "$")])


def _domains(hubs: Iterable[HubSettings]) -> list[list[HubSettings]]:
    """The hubs that share their namespaces, together."""
    found: dict[tuple[str, str], list[HubSettings]] = {}
    for hub in hubs:
        found.setdefault(("domain", hub.domain) if hub.domain else ("service", hub.name), []).append(hub)
    return list(found.values())


class _Kind(NamedTuple):
    """What the tables of a namespace have together; of many namespaces there are few kinds."""

    has_list: bool = False
    has_own: bool = False
    plugins: int = 0

    def with_table(self, table: TableSettings) -> _Kind:
        return _Kind(
            self.has_list or table.acl is not None,
            self.has_own or bool(table.own),
            self.plugins + (table.plugin is not None),
        )


def _kinds(tables: Iterable[TableSettings]) -> Counter[_Kind]:
    """How many namespaces have tables of which kind: those with a router, and that of who names none."""
    named = {NO_NAMESPACE: _Kind()}
    for table in tables:
        if table.namespace is not None:
            named[table.namespace] = named.get(table.namespace, _Kind()).with_table(table)
    return Counter(named.values())


def _named(kinds: Mapping[_Kind, int], hubs: Sequence[HubSettings]) -> float:
    """What the namespaces of one domain hold in tables of their own."""
    size = 0.0
    default = [hub.default_table for hub in hubs if hub.default_table is not None]
    for own, count in kinds.items():
        whole = own
        for table in default:
            whole = whole.with_table(table)
        size += count * PLUGIN * whole.plugins
        size += count * (CONNECTIONS_TABLE if whole.has_list else FRAGMENTS if whole.has_own else 0)
    return size


def _addresses(table: TableSettings) -> int:
    """How many hosts can get an address from its pool."""
    return sum(1 << min(8 * len(prefix) - length, 17) for prefix, length in table.pool)


def _hub(hub: HubSettings) -> Iterator[Part]:
    count, kind = connections(hub), hub.transport.kind
    yield Part(f"service {hub.name}: what waits for its clients (queueMemory)", hub.queue_memory * SLACK)
    yield Part(
        f"service {hub.name}: {counted(count, 'connection')} over {kind} (climiter)", count * CONNECTION[kind]
    )
    if hub.lanes > 1:
        more = min(count, MAX_CLIENTS - count) * CONNECTION[kind]
        flows = max(ALL_FLOWS, count * LEAST_FLOWS) * LANE_FLOW
        yield Part(f"service {hub.name}: second lanes of its sessions (lanes)", more + flows)
    if hub.entrypoint is not None:
        yield Part(f"service {hub.name}: flows of hosts at other hubs (entrypoint)", ENTRYPOINT)
    flows, lost = max(ALL_FLOWS, count * LEAST_FLOWS) * FLOW, max(ALL_LOST, count * LEAST_LOST) * LOST
    yield Part(f"service {hub.name}: flows and counts", flows + lost + HUB)
