"""Runs the commands in a page of the documentation, exactly as they are written there.

Knows: the markers on the line before a fenced block, which are invisible when the page is rendered; how the
blocks of a page are run in order. Refuses to know: what a page is about.

    <!-- file PLACE: NAME -->    the block is that file, in PLACE's own directory
    <!-- run PLACE -->           its commands run there to their end, one after another; each must succeed
    <!-- start PLACE -->         each command is started there and stays; ready when it says that it
                                 listens or is connected

A place is a network namespace with a directory of its own, in which its commands run, and with /run/tunrouter
and /var/lib/tunrouter of its own, as a machine has. `tunrouter` on the path is a script that starts the
program under test.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.netns import ROOT, Namespace, Process
from tests.support.program import TUNROUTER

DOCS = ROOT / "packaging" / "docs"
READY = r"listening on|connected to"
INVITATION = "tunrouter1-…"
"""In a page, where the reader puts the line that `tunrouter invite` has printed."""
_SYSTEMCTL = """\
#!/bin/sh
# systemctl enable --now tunrouter[@NAME], where no systemd runs: what the unit starts, in the foreground.
name=${3#tunrouter}; name=${name#@}; name=${name:-tunrouter}
exec tunrouter -C "/etc/tunrouter/$name.yaml" --control "/run/tunrouter/$name.sock"
"""

_MARKED = re.compile(
    r"^<!-- (file|run|start) ([\w-]+)(?:: ([\w./-]+))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A marked block of a page."""

    kind: str
    """file, run or start."""
    place: str
    name: str
    """Of a file, else empty."""
    text: str
    heading: str
    """The nearest heading above."""

    def commands(self) -> list[str]:
        """Its commands, one a line, continued lines joined; comments are left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")]


def blocks(page: Path, heading: str = "") -> list[Block]:
    """The marked blocks of a page, or of those under one heading, in order."""
    text = page.read_text(encoding="utf-8")
    fences = [found.span() for found in _FENCED.finditer(text)]  # a `# comment` in one is no heading
    headings = [
        (found.start(), found[1])
        for found in _HEADING.finditer(text)
        if not any(start <= found.start() < end for start, end in fences)
    ]
    found = []
    for marked in _MARKED.finditer(text):
        above = [title for place, title in headings if place < marked.start()]
        found.append(Block(marked[1], marked[2], marked[3] or "", marked[4], above[-1] if above else ""))
    return [block for block in found if not heading or block.heading == heading]


def markers(page: Path) -> int:
    """How many markers stand in a page, well-formed or not: as many as there are blocks."""
    return len(re.findall(r"<!-- (?:file|run|start)\b", page.read_text(encoding="utf-8")))


def invitation(said: str) -> str:
    """The line for `tunrouter join` in what `tunrouter invite` has printed; empty where there is none."""
    found = re.search(r"^tunrouter1-\S+$", said, re.MULTILINE)
    return found[0] if found else ""


def with_systemctl(work: Path) -> None:
    """Put a stand-in for systemctl beside the program, for pages that start the unit."""
    script = program_directory(work) / "systemctl"
    script.write_text(_SYSTEMCTL)
    script.chmod(0o755)


def program_directory(work: Path) -> Path:
    """A directory with nothing but `tunrouter` in it."""
    directory = work / "bin"
    if not directory.exists():
        directory.mkdir()
        script = directory / "tunrouter"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(TUNROUTER)} "$@"\n')
        script.chmod(0o755)
    return directory


class Player:
    """Runs blocks in their places; programs that it starts live as long as the places' namespaces."""

    def __init__(self, work: Path, places: Mapping[str, Namespace]) -> None:
        self.work = work
        self.started: list[Process] = []
        self.said: list[str] = []
        """What each `run` block printed."""
        self.invitation = ""
        """The line of the last invitation, which a page cannot know."""
        self.environment = os.environ | {
            "PATH": f"{program_directory(work)}:{os.environ['PATH']}:{Path(sys.executable).parent}",
            "PYTHONUNBUFFERED": "1",
            "HOME": str(work),
        }
        self.places = places
        self._machines: dict[str, int] = {}

    def directory(self, place: str) -> Path:
        """The directory of a place, with its files, in which its commands run."""
        directory = self.work / f"at-{place}"
        directory.mkdir(exist_ok=True)
        return directory

    def play(self, page: Iterable[Block]) -> None:
        """Run blocks in order. Raises AssertionError with a command's output where it fails."""
        for block in page:
            block = replace(block, text=block.text.replace(INVITATION, self.invitation))
            if block.kind == "file":
                path = self.directory(block.place) / block.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.kind == "run":
                self.said.append(self.run(block.place, "\n".join(block.commands())))
                self.invitation = invitation(self.said[-1]) or self.invitation
            else:
                for command in block.commands():
                    self.start(block.place, command)

    def run(self, place: str, commands: str) -> str:
        """Run shell commands to their end; returns their output."""
        process = self.popen(place, commands)
        status = process.wait(30)
        assert status == 0, f"at {place}, status {status}: {commands}\n{process.text()}"
        return process.text()

    def start(self, place: str, command: str) -> Process:
        """Start a command that stays; returns once it logs that it is ready."""
        process = self.popen(place, f"exec {command}")
        process.wait_line(READY, timeout=20)
        self.started.append(process)
        return process

    def popen(self, place: str, commands: str) -> Process:
        """Start shell commands; nothing is awaited."""
        enter = ("nsenter", f"--mount=/proc/{self._machine(place)}/ns/mnt", "sh", "-euc")
        text = f"cd {shlex.quote(str(self.directory(place)))}\n{commands}"
        return self.places[place].popen(*enter, text, env=self.environment)

    def _machine(self, place: str) -> int:
        """A process that keeps the mounts of a place: `ip netns exec` gives every program its own."""
        if place not in self._machines:
            own = "for d in /run/tunrouter /var/lib/tunrouter; do mkdir -p $d; mount -t tmpfs tmpfs $d; done"
            keeper = self.places[place].popen("sh", "-euc", f"{own}; echo own; exec sleep 600")
            keeper.wait_line("^own$")
            self._machines[place] = keeper.pid
        return self._machines[place]
