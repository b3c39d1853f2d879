"""Packets of all workers, shown to a tap of the main process: each worker captures for it (capture_service).

Knows: that a packet which goes from one worker to another counts once; that one which is made meanwhile is
asked too. Refuses to know: what the tap keeps (capture_taps), who looks on (api_x_trace).
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import gevent

from lib import capture_fate, capture_records, worker_ask, worker_capture
from lib.api_hubs import Watching
from lib.capture_records import Record
from lib.errors import ProtocolError
from lib.service_scheduling import breathe
from lib.worker_crew import Crew
from lib.worker_state import Worker

LOOK_SECONDS = 1.0
"""How often is looked for workers that are new."""


class Watch:
    """Shows packets to a tap, from now on until stop()."""

    def __init__(self, crew: Crew, tap: Watching, host: str, ns: str, expression: str) -> None:
        """The packets of a host, a namespace and a filter expression.

        Raises ValueError with the words of a worker that cannot show any, or where there is none.
        """
        self._crew, self._tap = crew, tap
        self._request = {"do": "capture", "host": host, "ns": ns, "filter": expression}
        self._reading: dict[Worker, tuple[Any, Any]] = {}
        """Each worker's connection, and who reads it."""
        try:
            for worker in worker_ask.workers(crew):
                self._begin(worker)
        except BaseException:
            self._close()
            raise
        self._looking = gevent.spawn(self._look)

    def stop(self) -> None:
        """Show no more."""
        self._looking.kill(block=False)
        self._close()

    def _close(self) -> None:
        for sock, reading in self._reading.values():
            reading.kill(block=False)
            sock.close()
        self._reading.clear()

    def _begin(self, worker: Worker) -> None:
        """Begin with one worker. Raises ValueError with its words; one that has just died is left out."""
        with suppress(OSError):
            sock = worker_ask.connected(worker, self._request)
            try:
                reply = json.loads(worker_ask.line(sock))
                if not reply["ok"]:
                    raise ValueError(reply["error"])
                sock.settimeout(None)
            except BaseException:
                sock.close()
                raise
            self._reading[worker] = sock, gevent.spawn(self._read, sock)

    def _look(self) -> None:
        while True:
            gevent.sleep(LOOK_SECONDS)
            for worker in [one for one in self._reading if one not in self._crew.workers.values()]:
                self._reading.pop(worker)[0].close()
            for worker in [one for one in self._crew.ready() if one not in self._reading]:
                with suppress(ValueError):  # others capture there: it may have room later
                    self._begin(worker)

    def _read(self, sock: Any) -> None:
        reader, lost = capture_records.Reader(), 0
        with suppress(OSError, ProtocolError, ValueError):  # the others go on
            while data := sock.recv(worker_capture.PIECE):
                for record in reader.feed(data):
                    if record.kind == capture_records.COUNTS:
                        _, now = capture_records.read_counts(record)
                        self._tap.missed(max(0, now - lost))
                        lost = now
                    else:
                        self._show(record)
                    breathe()

    def _show(self, record: Record) -> None:
        if not worker_capture.goes_on(record):
            fate = capture_fate.decode(record.label)
            self._tap.take(record.when, fate, record.body, 0, len(record.body))
