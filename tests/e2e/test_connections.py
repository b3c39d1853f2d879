"""What a connection costs a hub in memory: the figures in SECURITY.md, with fewer connections than they were made with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench import connections

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

COUNT = 60


def test_the_page_s_figures_hold(tmp_path: Path) -> None:
    """Twice as much at most: with few connections it counts how much the allocator takes at once."""
    step = "session of a tunrouter, idle"
    told = connections.written()[step]
    assert set(told) == set(connections.KINDS)
    found = connections.measure(tmp_path, COUNT, step)[step]
    assert not {kind: (kb, told[kind]) for kind, kb in found.items() if kb > 2 * told[kind] + 10}
