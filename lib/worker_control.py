"""The control socket of a process with workers: each request is put to the workers, their replies are merged.

Knows: which requests go to all workers, to the one that has a host's session, or to any.
Refuses to know: how a worker is asked (worker_ask), how replies become one (worker_replies), what a worker
replies (ctl_handlers), how streams of records and lines become one (worker_capture).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lib import (
    __version__,
    ctl_order,
    ctl_status,
    ctl_tables,
    log_setup,
    worker_ask,
    worker_capture,
    worker_replies,
)
from lib.ctl_server import SECONDS, Handlers, Relayed, Streamed
from lib.hub_tables import Tables
from lib.worker_crew import Crew
from lib.worker_front import Front
from lib.worker_sources import Sources
from lib.worker_state import CLUSTER_NUMBER, Worker

Row = dict[str, Any]


class Control:
    """The requests of the control socket."""

    def __init__(
        self,
        crew: Crew,
        fronts: Mapping[str, Front],
        tables: Tables,
        sources: Sources,
        files: Callable[[], tuple[str, ...]],
        path: str,
    ) -> None:
        """`tables` are those of this process, `files` the configuration's; `path` is the control socket's."""
        self._crew, self._fronts, self._tables, self._sources = crew, fronts, tables, sources
        self._files, self._path = files, path
        self._started = time.monotonic()

    def handlers(self) -> Handlers:
        """The handlers, by the name of the request: the same as those of a process without workers."""
        return {
            "hello": self._hello,
            "explain": self._explain,
            "status": self._status,
            "health": self._health,
            "drops": self._drops,
            "routes": lambda request: self._relayed(self._any(), request),
            "kick": self._counted,
            "drain": self._counted,
            "cluster": lambda request: self._relayed(worker_ask.of_cluster(self._crew), request),
            "invite": lambda request: self._relayed(self._any(), request),
            "hosts": lambda request: worker_replies.hosts(self._ask_all(request)),
            "revoke": self._revoke,
            "capture": lambda request: self._streamed(request, worker_capture.records),
            "trace": lambda request: self._streamed(request, worker_capture.lines),
        }

    def _any(self) -> Worker:
        return worker_ask.workers(self._crew)[0]

    def _ask_all(self, request: Mapping[str, Any]) -> list[Row]:
        return worker_ask.all_at_once(self._crew, request)

    # --- requests

    def _hello(self, request: Mapping[str, Any]) -> Row:
        return {
            "software": f"tunrouter {__version__}",
            "pid": os.getpid(),
            "hubs": list(self._fronts),
            "clients": [],
            "files": list(self._files()),
        }

    def _status(self, request: Mapping[str, Any]) -> Row:
        order = ctl_order.read(request)
        merged = worker_replies.status(self._ask_all(request), order)
        now = time.monotonic()
        if "only" not in merged:
            for name, front in self._fronts.items():
                here = {why.value: count for why, count in front.refused.items()}
                merged["refused"][name] = worker_replies.added(merged["refused"].get(name, {}), here)
            mine = [*ctl_tables.rows(self._tables, now), *ctl_tables.read_here(self._sources.all(), now)]
            merged["tables"] = worker_replies.tables([*merged["tables"], *mine])
            merged["tasks"] = worker_replies.tasks([*merged["tasks"], *ctl_status.tasks(now)])
            merged["notify"] = ctl_status.receivers()
            merged["troubles"] += [one.row(now) for one in log_setup.troubles()]
        merged |= {
            "pid": os.getpid(),
            "control": self._path,
            "uptime_s": round(now - self._started, 1),
            "workers": [
                {
                    "worker": one.number,
                    "pid": one.pid,
                    "ready": one.ready,
                    "connections": one.connections(),
                    "since_s": round(now - one.since, 1),
                }
                for one in sorted(self._crew.workers.values(), key=lambda one: one.number)
                if one.number != CLUSTER_NUMBER
            ],
            "worker_deaths": self._crew.deaths,
        }
        if (member := self._crew.workers.get(CLUSTER_NUMBER)) is not None:
            since = round(now - member.since, 1)
            merged["cluster_process"] = {"pid": member.pid, "ready": member.ready, "since_s": since}
        return merged

    def _health(self, request: Mapping[str, Any]) -> Row:
        fault = self._crew.fault()
        deaf = [f"hub {name}: nothing is accepted" for name, one in self._fronts.items() if not one.listens]
        more = [*([fault] if fault else []), *deaf]
        try:
            replies = self._ask_all(request)
        except worker_ask.Nobody:
            replies = []
        return worker_replies.health(replies, more, os.getpid())

    def _drops(self, request: Mapping[str, Any]) -> Row:
        replies = self._ask_all(request)
        if not request.get("host") and not request.get("ns"):
            replies.append({"refusals": [row for one in self._fronts.values() for row in one.refusals()]})
        return worker_replies.drops(replies)

    def _counted(self, request: Mapping[str, Any]) -> Row:
        """Kick or drain: at every worker that has a session of the host."""
        return {"sessions": sum(reply["sessions"] for reply in self._ask_all(request))}

    def _revoke(self, request: Mapping[str, Any]) -> Row:
        """One changes the list of hosts; then all others have looked at it before this returns."""
        first, *others = worker_ask.workers(self._crew)
        before, _ = self._look(others, request)
        reply = worker_ask.one(first, request)
        if reply is None:
            raise worker_ask.Nobody
        if not reply["ok"]:
            raise ValueError(reply["error"])
        after, notes = self._look(others, request)
        ended = reply["sessions"] + max(0, before - after)
        return {"hosts": reply["hosts"], "sessions": ended, "notes": [*reply["notes"], *notes]}

    @staticmethod
    def _look(some: Sequence[Worker], request: Mapping[str, Any]) -> tuple[int, list[str]]:
        """Have workers look at their lists: (sessions of the host there, who cannot look and why)."""
        wanted = {"do": "look", "host": request["host"]}
        sessions, notes = 0, []
        for worker, said in worker_ask.each(some, lambda worker: worker_ask.one(worker, wanted)).items():
            if said is not None and said["ok"]:
                sessions += said["sessions"]
            else:
                why = said["error"] if said is not None else "it does not answer, and will look by itself"
                notes.append(f"{worker.name}: {why}")
        return sessions, notes

    def _explain(self, request: Mapping[str, Any]) -> Relayed:
        """Asked where the sending host has its session: there its packets are decided on."""
        worker = worker_ask.having(self._crew, str(request["from"]), str(request.get("ns") or ""))
        return self._relayed(worker, request)

    def _relayed(self, worker: Worker, request: Mapping[str, Any]) -> Relayed:
        def run(sock: Any) -> None:
            with worker_ask.connected(worker, request) as from_worker:
                piece = b""
                while not piece.endswith(b"\n"):
                    piece = from_worker.recv(worker_ask.PIECE)
                    if not piece:
                        raise OSError(71, "the worker has ended")
                    sock.settimeout(SECONDS)
                    sock.sendall(piece)

        return Relayed(run)

    def _streamed(self, request: Mapping[str, Any], merge: Callable[[Any, Sequence[Any]], None]) -> Streamed:
        """A stream of each worker, merged into one."""
        streams: list[Any] = []
        replies: list[Row] = []
        try:
            for worker in worker_ask.workers(self._crew):
                sock = worker_ask.connected(worker, request)
                streams.append(sock)
                reply = json.loads(worker_ask.line(sock))
                if not reply["ok"]:
                    raise ValueError(reply["error"])
                replies.append(reply)
        except (OSError, ValueError) as error:
            for sock in streams:
                with suppress(OSError):
                    sock.close()
            raise ValueError(str(error)) from None
        for sock in streams:
            sock.settimeout(None)
        first = {key: value for key, value in replies[0].items() if key != "ok"}
        if "recorder" in first:
            first["recorder"] = sum(reply["recorder"] for reply in replies)
        return Streamed(first, lambda client: merge(client, streams))
