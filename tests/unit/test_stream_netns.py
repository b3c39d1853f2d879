"""Network namespaces by their paths: what is none is refused at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lib import stream_netns


def test_a_pipe_in_place_of_a_namespace_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes into it, and what waits for that holds up all packets."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    release = threading.Timer(5, lambda: os.close(os.open(pipe, os.O_WRONLY)))
    release.start()
    try:
        with pytest.raises(OSError, match=f"network namespace {pipe}"):
            stream_netns.made_in(str(pipe), lambda: None)
        assert release.is_alive()
    finally:
        release.cancel()
