"""Memory bound of a process with given settings, in parts, as `tunrouter check` prints it.

Knows: what each part of a hub may hold at most, and what that costs.
Refuses to know: who keeps the limits (session_budget, limits, capture_taps), how much is held now (metrics).

The figures are resident memory, measured: tests/bench/connections.py (idle connections), tests/bench/held.py
(what waits), tests/soak/hungry.py (the sum holds under attack). The rows of a source (file, Redis,
HTTP) are not in the configuration: they come on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lib.humanize import counted
from lib.settings import HubSettings, Settings

MAX_CLIENTS = 65536
"""Connections of a hub where its climiter names no number for all."""
ALL_FLOWS, LEAST_FLOWS = 1 << 17, 32
"""Flows that all sessions of a hub remember together, and the least that each may."""

FAR_HOSTS, MOST_FAR_HOSTS, LEAST_FAR_HOSTS = 8192, 4096, 64
"""Hosts of which a hub remembers at which hubs they are: of all namespaces, of one, and the least of one."""
FAR_FLOWS = 16384
"""Flows that are remembered of all hosts at other hubs, or LEAST_FLOWS of each."""

MB = 1e6
BASE = 110 * MB
"""The program with everything imported, its receive buffers, and what the allocator keeps for next time."""
HUB = 8 * MB
"""A service beside its connections: refusals, last drops, books of the metrics."""
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
PLUGIN = 65536 * 400
"""The replies of a router's plugin."""
CONNECTIONS_TABLE = 65536 * 300
"""What one namespace's access list has let through."""
API = 5000 * 15e3 + 2 * 32 * 400e3 + 32 * 300e3 + 256 * 64e3
"""The last hour of as many hosts as are kept (api_hosts), the differences that pages get (api_board), replies
that they share (api_shared), and on each connection (api_server) an answer being compressed (api_gzip)."""
CLUSTER = 200_000 * 500 + 8192 * 6e3 + 8192 * 32 * 400 + 2 * (64 << 20) + 1024 * 150e3
"""Names of hosts at other hubs, those that packets go to with their flows, links and what waits for them."""
ENTRYPOINT = 2 * FAR_HOSTS * 6e3 + 8 * FAR_FLOWS * 400
"""Hosts at other hubs and their flows: each new one has a part of what there is, older ones keep theirs."""
CAPTURES = 8 * 9 * MB
"""Listeners of a capture, each with what it has not read yet."""


class Part(NamedTuple):
    """One part of the memory: what holds it, for people, and its size in bytes."""

    what: str
    size: float


def parts(settings: Settings) -> list[Part]:
    """The parts of the memory that a process with these settings holds at most."""
    found = [Part("the program", BASE + LOG)]
    routes = sum(len(table.routes) for table in settings.tables)
    tables = routes * ROUTE
    for table in settings.tables:
        tables += PLUGIN if table.plugin else 0
        tables += CONNECTIONS_TABLE if table.acl is not None else 0
    if tables:
        found.append(Part(f"tables with {counted(routes, 'route')}", tables))
    for hub in settings.hubs:
        found += _hub(hub)
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


def connections(hub: HubSettings) -> int:
    """The most connections that a hub has at once."""
    return min([MAX_CLIENTS, *(row.most for row in hub.limits.connections if row.key == "$")])


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
        yield Part(f"service {hub.name}: hosts at other hubs (entrypoint)", ENTRYPOINT)
    flows, lost = max(ALL_FLOWS, count * LEAST_FLOWS) * FLOW, max(ALL_LOST, count * LEAST_LOST) * LOST
    yield Part(f"service {hub.name}: flows and counts", flows + lost + HUB)
