"""Captures of several workers as one: each packet once, counts summed, and a worker that ends is not missed."""

from __future__ import annotations

import socket
from typing import Any

import gevent
import gevent.socket

from lib import capture_records, framing, worker_capture
from lib.capture_fate import DROPPED, FORWARDED, Fate

SPACE = bytes(16).hex()
HERE = Fate(FORWARDED, SPACE, "a", "b", "session 10.0.0.1:5").encode()
ON = Fate(FORWARDED, SPACE, "a", "b", "hub worker 2, link").encode()
LOST = Fate(DROPPED, SPACE, "a", "b", "hub worker 2, link", "no-link").encode()


def pair() -> tuple[Any, Any]:
    one, other = socket.socketpair()
    return gevent.socket.socket(fileno=one.detach()), gevent.socket.socket(fileno=other.detach())


def packets(label: bytes, *contents: bytes) -> bytes:
    return capture_records.packets(7, label, b"".join(map(framing.encode, contents)))


def merged(merge: Any, *said: bytes) -> bytes:
    """What a client gets of workers that say this and end."""
    client, ours = pair()
    streams = []
    for data in said:
        worker, theirs = pair()
        worker.sendall(data)
        worker.close()
        streams.append(theirs)
    with gevent.Timeout(5):
        merge(ours, streams)
        ours.close()
        found = bytearray()
        while data := client.recv(1 << 16):
            found += data
    client.close()
    return bytes(found)


def test_each_packet_once_and_counts_summed() -> None:
    first = packets(ON, b"1", b"2") + packets(LOST, b"3") + capture_records.counts(1, 3, 1)
    second = packets(HERE, b"1", b"2") + capture_records.counts(1, 2, 4)
    found = list(capture_records.Reader().feed(merged(worker_capture.records, first, second)))
    labels = sorted(record.label for record in found if record.kind == capture_records.PACKETS)
    assert labels == sorted([LOST, HERE]), "what went to another worker is told of there"
    counts = [record for record in found if record.kind == capture_records.COUNTS]
    assert capture_records.read_counts(counts[-1]) == (3, 5)


def test_lines_stay_whole() -> None:
    found = merged(worker_capture.lines, b"a\nb\nc", b"d\ne\n")
    assert sorted(found.decode().splitlines()) == ["a", "b", "d", "e"], (
        "half a line of a worker that died is none"
    )


def test_the_client_s_end_is_the_workers_end() -> None:
    client, ours = pair()
    worker, theirs = pair()
    merging = gevent.spawn(worker_capture.records, ours, [theirs])
    client.shutdown(socket.SHUT_WR)
    with gevent.Timeout(5):
        assert worker.recv(1) == b"", "it is told that nobody looks on any more"
        worker.sendall(capture_records.counts(1, 0, 0))
        worker.close()
        merging.join()
    assert client.recv(1 << 16)
    client.close()
