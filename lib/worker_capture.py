"""Captures and traces of several workers, made one stream for whoever looks on.

Knows: that a packet which goes from one worker to another is seen by both, and counts once: where it leaves.
Refuses to know: what a capture is (capture_service), how workers are asked (worker_control).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from lib import capture_fate, capture_records
from lib.cluster_hosts import LINK
from lib.errors import ProtocolError

PIECE = 1 << 18
_LINK = f", {LINK}"

Read = Callable[[Any, int], None]


def records(client: Any, streams: Sequence[Any]) -> None:
    """Send the records of all streams to `client` until it closes, with the sums of their counts."""
    counts: dict[int, tuple[int, int]] = {}
    passed_on: dict[int, int] = {}
    """Packets of each stream that are left out, since the other worker tells of them."""
    one = BoundedSemaphore(1)

    def read(stream: Any, number: int) -> None:
        reader = capture_records.Reader()
        while data := _received(stream):
            out = []
            for record in reader.feed(data):
                if record.kind == capture_records.COUNTS:
                    counts[number] = capture_records.read_counts(record)
                    continue
                if goes_on(record):
                    frames = sum(1 for _ in capture_records.contents(record))
                    passed_on[number] = passed_on.get(number, 0) + frames
                    continue
                out.append(capture_records.packets(record.when, record.label, record.body, record.snap))
            fitted = sum(count for count, _ in counts.values()) - sum(passed_on.values())
            lost = sum(count for _, count in counts.values())
            out.append(capture_records.counts(time.time_ns(), max(0, fitted), lost))
            with one:
                client.sendall(b"".join(out))

    _read_all(client, streams, read)


def _received(stream: Any) -> bytes:
    """What comes next of a worker; nothing where it has ended: the others go on."""
    try:
        data: bytes = stream.recv(PIECE)
    except OSError:
        return b""
    return data


def goes_on(record: capture_records.Record) -> bool:
    """Whether these packets went to another worker, which has a record of them as well."""
    fate = capture_fate.decode(record.label)
    return fate.what == capture_fate.FORWARDED and fate.way.endswith(_LINK)


def lines(client: Any, streams: Sequence[Any]) -> None:
    """Send the lines of all streams to `client` until it closes."""
    one = BoundedSemaphore(1)

    def read(stream: Any, number: int) -> None:
        rest = b""
        while data := _received(stream):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                with one:
                    client.sendall(whole + newline)

    _read_all(client, streams, read)


def _read_all(client: Any, streams: Sequence[Any], read: Read) -> None:
    """Read all streams until they end. Once the client has closed its half, each of them is told so."""

    def until_closed() -> None:
        with suppress(OSError):
            while client.recv(4096):
                pass
        for stream in streams:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_WR)

    def guarded(stream: Any, number: int) -> None:
        try:
            read(stream, number)
        except (OSError, ProtocolError):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # whoever looks on has gone: all of it ends

    leaving = gevent.spawn(until_closed)
    reading = [gevent.spawn(guarded, stream, number) for number, stream in enumerate(streams)]
    try:
        gevent.joinall(reading)
    finally:
        gevent.killall(reading)
        leaving.kill()
        for stream in streams:
            stream.close()
