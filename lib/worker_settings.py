"""Settings as one worker has them, and on their way from the main process to the others.

Knows: what a worker does not have (a second lane, ports for metrics and the web API, and logins
for these, hooks, receivers and observers, a place in a cluster or an entrypoint, which the cluster's process
has), its part of the memory for queues; that big tables are packed and unpacked in pieces, so packets pass.
Refuses to know: what else a reload needs (worker_reload), how bytes reach another process (worker_channel).

The bytes are pickles. They come from a process of the same program, by a socket that nobody else has.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lib.settings import Settings, TableSettings
from lib.settings_hooks import NO_HOOKS
from lib.settings_limits import HubLimits
from lib.settings_workers import entrypoint

ROWS = 1024
"""Routes that are packed and unpacked in one step."""


def outside(settings: Settings) -> tuple[object, ...]:
    """What one process more than the workers has, for all of them: it is there where this is not empty."""
    return tuple(one for one in (settings.cluster, entrypoint(settings)) if one is not None)


def of_worker(settings: Settings, workers: int) -> Settings:
    """The settings of one of so many workers."""
    hubs = tuple(
        replace(
            hub,
            lanes=1,
            queue_memory=hub.queue_memory // workers,
            entrypoint=None,
            hooks=NO_HOOKS,
            observe=replace(hub.observe, service=None, handler=None) if hub.observe is not None else None,
            limits=_of_sessions(hub.limits),
        )
        for hub in settings.hubs
    )
    return replace(
        settings, hubs=hubs, control="", user="", notify=(), metrics=None, api=None, cluster=None, authers=()
    )


def _of_sessions(limits: HubLimits) -> HubLimits:
    """Limits without those by address of connections and handshakes: the main process counts these."""
    return replace(
        limits, connections=tuple(row for row in limits.connections if row.key == "$"), handshakes=()
    )


class _Packer(pickle.Pickler):
    """Packs settings without their tables, which are named instead."""

    def persistent_id(self, obj: Any) -> str | None:
        """The name of a table; None for everything else."""
        return obj.name if isinstance(obj, TableSettings) else None


class _Unpacker(pickle.Unpickler):
    tables: dict[str, TableSettings]

    def persistent_load(self, pid: Any) -> TableSettings:
        """The table of that name."""
        return self.tables[pid]


def pack(settings: Settings, step: Callable[[], None] = lambda: None) -> bytes:
    """Settings as bytes. Calls `step` after each little piece of work."""
    out = io.BytesIO()
    every = {id(table): table for table in settings.tables}
    every |= {id(hub.default_table): hub.default_table for hub in settings.hubs if hub.default_table}
    _dump(out, len(every))
    for table in every.values():
        _dump(out, (replace(table, routes=()), len(table.routes)))
        for start in range(0, len(table.routes), ROWS):
            _dump(out, table.routes[start : start + ROWS])
            step()
    _Packer(out, pickle.HIGHEST_PROTOCOL).dump(settings)
    return out.getvalue()


def _dump(out: io.BytesIO, value: object) -> None:
    pickle.dump(value, out, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes, step: Callable[[], None] = lambda: None) -> Settings:
    """The settings that were packed; `step` as for pack."""
    source = io.BytesIO(data)
    tables: dict[str, TableSettings] = {}
    for _ in range(pickle.load(source)):
        table, size = pickle.load(source)
        routes: list[Any] = []
        while len(routes) < size:
            routes += pickle.load(source)
            step()
        tables[table.name] = replace(table, routes=tuple(routes))
    whole = _Unpacker(source)
    whole.tables = tables
    found: Settings = whole.load()
    return found
