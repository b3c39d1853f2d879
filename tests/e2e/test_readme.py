"""README.md and the page for those who come from GOST: their commands and files, taken out and run as they
stand."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, ROOT, Namespace, Topology
from tests.support.page import DOCS, Block, Player, blocks, program_directory
from tests.support.program import EXAMPLES, pings

pytestmark = pytest.mark.usefixtures("no_traceback")

README = ROOT / "README.md"
EXECUTABLE = ROOT / "build" / "dist" / "tunrouter"
HUB = "203.0.113.10"


def at(place: str) -> list[Block]:
    return [block for block in blocks(README) if block.place == place]


def test_check_and_run_what_was_downloaded(namespace: Namespace, tmp_path: Path) -> None:
    """The executable and its sums where they are built; else a script in its place."""
    player = Player(tmp_path, {"download": namespace})
    here = player.directory("download")
    sums = EXECUTABLE.with_name("SHA256SUMS")
    if EXECUTABLE.exists() and sums.exists():
        shutil.copy(EXECUTABLE, here)
        shutil.copy(sums, here)
    else:
        shutil.copy(program_directory(tmp_path) / "tunrouter", here)
        digest = hashlib.sha256((here / "tunrouter").read_bytes()).hexdigest()
        (here / "SHA256SUMS").write_text(f"{digest}  tunrouter\n{'0' * 64}  not-downloaded\n")
    os.chmod(here / "tunrouter", 0o644)
    player.play(at("download"))
    assert re.search(r"tunrouter: OK\n.*tunrouter \d", player.said[0], re.DOTALL)
    (here / "tunrouter").write_bytes(b"#!/bin/sh\necho tunrouter 6.6.6\n")
    with pytest.raises(AssertionError, match="FAILED"):
        player.play(at("download"))


def test_a_tunnel_in_a_minute(topology: Topology, tmp_path: Path) -> None:
    topology.hub.ip("addr", "add", f"{HUB}/32", "dev", "lo")
    topology.host_1.ip("route", "add", HUB, "via", HUB_TO_HOST_1)
    topology.host_2.ip("route", "add", HUB, "via", HUB_TO_HOST_2)
    places = {"hub": topology.hub, "host-1": topology.host_1, "host-2": topology.host_2}
    player = Player(tmp_path, places)
    topology.host_2.ip("addr", "add", "192.168.200.7/32", "dev", "lo")
    player.play(block for block in blocks(README) if block.place in places)
    ping, asked = player.said
    assert "3 received" in ping
    assert "host-1" in asked
    assert "host-2" in asked
    assert pings(topology.host_1, "192.168.200.7") == 5, "the network behind host-2"


def test_every_place_is_played() -> None:
    """A block at a place that no test here knows would be run by nobody."""
    assert {block.place for block in blocks(README)} == {"download", "hub", "host-1", "host-2"}


def test_the_make_targets_it_names_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z][\w-]*)", README.read_text(encoding="utf-8")))
    targets = set(
        re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"demo", "test", "bench", "binary"} <= named
    assert named - {"them"} <= targets


def test_the_commands_it_shows_are_commands() -> None:
    """Indented lines that start with `tunrouter` are not run; their commands are in the usage text."""
    from lib.cli_usage import USAGE

    pages = (README, *DOCS.glob("*.md"))
    shown = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    commands = set(re.findall(r"^    tunrouter ([a-z]+)", "\n".join(shown), re.MULTILINE))
    assert commands
    assert not {name for name in commands if not re.search(rf"tunrouter \(?.*\b{name}\b", USAGE)}


def test_lint_and_check_for_those_who_come_from_gost(namespace: Namespace, tmp_path: Path) -> None:
    player = Player(tmp_path, {"here": namespace})
    shutil.copy(EXAMPLES / "server.yml", player.directory("here") / "gost.yml")
    player.play(blocks(DOCS / "coming-from-gost.md"))
    assert "host-1" in player.said[0]
