"""What the tests of the whole program share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import program
from tests.support.netns import Namespace, Topology, connect


@pytest.fixture(scope="session", autouse=True)
def quick_starts() -> Iterator[None]:
    """Let tests start copies of a loaded process (tests.support.forkserver), which costs a third of a start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "COPIES", True)
        yield


@pytest.fixture
def real_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the program itself: for tests of its first moments, its memory, its rights and its end."""
    monkeypatch.setattr(program, "COPIES", False)


@pytest.fixture
def no_traceback(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does, no program of it may end up in a traceback."""
    yield
    for log in sorted(tmp_path.glob("*.log")):
        text = log.read_text(errors="replace")
        assert "Traceback" not in text, f"{log.name}:\n{text}"
        assert "this must not happen" not in text, f"{log.name}:\n{text}"


@pytest.fixture
def more_hosts(topology: Topology, tmp_path: Path) -> Iterator[list[Namespace]]:
    """Two more namespaces beside the topology: 10.77.3.2 and 10.77.4.2, the hub's side ends in .1."""
    with ExitStack() as stack:
        made = []
        for number in (3, 4):
            host = stack.enter_context(Namespace(f"host-{number}", tmp_path))
            connect(
                *(topology.hub, f"to-host-{number}", f"10.77.{number}.1/24"),
                *(host, "uplink", f"10.77.{number}.2/24"),
            )
            made.append(host)
        yield made


@pytest.fixture
def hosts_file(topology: Topology) -> Iterator[Path]:
    """What `ip netns exec` shows programs of host-1 as /etc/hosts."""
    directory = Path("/etc/netns") / topology.host_1.name
    parent_was_there = directory.parent.exists()
    directory.mkdir(parents=True)
    path = directory / "hosts"
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    path.write_text("")
    yield path
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    if not parent_was_there and not any(directory.parent.iterdir()):
        directory.parent.rmdir()
