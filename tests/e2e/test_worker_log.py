"""The log file of a hub with workers: rotated by whichever process finds it full, with every line of all."""

from __future__ import annotations

import gzip
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_workers import HUB, Hub
from tests.support.netns import Topology
from tests.support.program import OVERLAY_2, reach, start, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
FILLER = "x" * 99 + "\n"


def test_a_full_log_is_put_aside_and_later_workers_log_as_the_others(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    hub = Hub(topology, write, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    path = out / "hub.log"

    def configure(output: Path, more: str) -> None:
        rotation = f"log: {{output: {output}, rotation: {{maxSize: 1, compress: true{more}}}}}\n"
        hub.file = write("hub.yml", HUB.format(kind="tcp", more="", rest=rotation))

    def old() -> list[Path]:
        return sorted(out.glob("hub-*.log.gz"))

    def fill() -> None:
        """What is left of a megabyte, so that the next line finds no room."""
        with path.open("a") as file:
            file.write(FILLER * ((1 << 20) // 100 + 1))

    configure(path, "")
    hub.process = start(topology.hub, "-C", hub.file, "--control", hub.control)
    wait_for(lambda: path.exists() and "2 workers, in processes" in path.read_text())
    clients = []
    for number in (1, 2):  # one at each worker
        fill()
        clients.append(hub.host(number))
        wait_for(lambda number=number: len(old()) == number)  # type: ignore[misc]
        assert f"is host host-{number}" in path.read_text(), "the one that had no room is in the new file"
    reach(topology.host_1, OVERLAY_2)
    text = b"".join(gzip.decompress(name.read_bytes()) for name in old()).decode()
    assert "listening on" in text
    assert text.count(FILLER) == 2 * ((1 << 20) // 100 + 1)
    assert sorted(row["connections"] for row in hub.status()["workers"]) == [1, 1]
    configure(path, ", maxBackups: 1")
    hub.process.send(signal.SIGHUP)
    wait_for(lambda: len(old()) == 1)
    moved = tmp_path / "out" / "other.log"
    configure(moved, "")
    hub.process.send(signal.SIGHUP)
    wait_for(lambda: moved.exists() and "reload: done" in moved.read_text())
    before = path.read_text()
    for number in (1, 2):
        hub.kill(number)
    for name in ("host-1", "host-2"):
        wait_for(lambda name=name: f"is host {name}" in moved.read_text())  # type: ignore[misc]
    assert path.read_text() == before, "a worker that is made later logs there, too"
    assert all(client.returncode is None for client in clients)
