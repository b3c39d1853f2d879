"""Debian root file systems for one test each, as a chroot or booted by systemd.

Knows: packaging/debian.sh, overlays, chroot, what a root must have mounted, namespaces of a PID 1 of its own.
Refuses to know: what is installed there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.netns import ROOT, Process

EXECUTABLE = ROOT / "build" / "dist" / "tunrouter"
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,cron,dbus"
MOUNTS = (("proc", "-t proc proc"), ("dev", "--rbind /dev"), ("sys", "--rbind /sys"))


def call(*argv: str, check: bool = True, timeout: float = 120.0) -> str:
    """Run a program to its end; returns what it said. Raises AssertionError with that where it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    said = done.stdout + done.stderr
    assert not check or done.returncode == 0, f"{' '.join(argv)}: exit status {done.returncode}\n{said}"
    return said


class Root:
    """A Debian root file system in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program in it."""
        return call(*self.argv(*argv), check=check)

    def argv(self, *argv: str) -> tuple[str, ...]:
        """The command line that runs a program in it, with nothing of our environment."""
        path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return (
            "chroot",
            str(self.path),
            "env",
            "-i",
            path,
            "LC_ALL=C",
            "DEBIAN_FRONTEND=noninteractive",
            *argv,
        )

    def copy(self, source: Path, target: str = "/tmp") -> str:
        """Copy a file into it; returns its path there."""
        where = self.path / target.lstrip("/")
        where = where / source.name if where.is_dir() else where
        shutil.copy(source, where)
        return f"/{where.relative_to(self.path)}"

    def write(self, path: str, text: str) -> None:
        """Write a file in it; one that is there keeps its owner and mode."""
        (self.path / path.lstrip("/")).write_text(text)

    def read(self, path: str) -> str:
        """Read a file in it."""
        return (self.path / path.lstrip("/")).read_text()

    def files(self) -> set[str]:
        """Every path in it, but for what is mounted, what dpkg notes down, caches, and copies of the account files."""
        found = self.run("find", "/", "-xdev", "-print").splitlines()
        ignored = re.compile(
            r"/(proc|sys|dev|tmp|run/systemd|var/(lib/dpkg|log|cache))(/|$)|/etc/(passwd|group|shadow|gshadow|sub[ug]id)-$"
        )
        return {path for path in found if not ignored.match(path)}


def kept_root(suite: str, packages: str = "") -> Path:
    """A root as debootstrap makes it, made once and kept. Use it by copies and overlays; never change it."""
    script = str(ROOT / "packaging" / "debian.sh")
    said = subprocess.run(
        (script, suite, packages), stdout=subprocess.PIPE, text=True, check=True, timeout=900
    )
    return Path(said.stdout.strip())


@contextmanager
def throwaway_root(scratch: Path, mounted: bool = True) -> Iterator[Root]:
    """A root like that of a machine just installed; it is removed at the end of the `with` block."""
    base = kept_root(SUITE, PACKAGES)
    target = scratch / "root"
    for name in ("root", "upper", "work"):
        (scratch / name).mkdir()
    options = f"lowerdir={base},upperdir={scratch / 'upper'},workdir={scratch / 'work'}"
    layered = subprocess.run(
        ("mount", "-t", "overlay", "overlay", "-o", options, str(target)), capture_output=True
    )
    if layered.returncode:  # not everywhere
        call("cp", "-a", f"{base}/.", str(target))
    try:
        for name, how in MOUNTS if mounted else ():
            call("mount", *how.split(), str(target / name))
            call("mount", "--make-rslave", str(target / name))
        yield Root(target)
    finally:
        for name, _ in MOUNTS if mounted else ():
            call("umount", "--recursive", "--lazy", str(target / name), check=False)
        if layered.returncode == 0:
            call("umount", str(target))
        shutil.rmtree(scratch, ignore_errors=True)


class Booted(Root):
    """A Debian root in which systemd runs as PID 1."""

    def __init__(self, path: Path, console: Process, leader: int) -> None:
        super().__init__(path)
        self.console, self.leader = console, leader

    def argv(self, *argv: str) -> tuple[str, ...]:
        """The command line that runs a program in it, inside its namespaces."""
        inside = ("nsenter", "--target", str(self.leader), "--all")
        return (
            *inside,
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C",
            "DEBIAN_FRONTEND=noninteractive",
            *argv,
        )

    def kill(self, signal: str, pid: str) -> None:
        """Send a signal to a process in it."""
        self.run("sh", "-c", f"kill -{signal} {pid}")

    def start(self, unit: str) -> None:
        """Start a unit. Raises AssertionError with its journal where that fails."""
        said = self.run("systemctl", "start", unit, check=False)
        assert said == "", f"{said}\n{self.journal(unit)}"

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def wait(self, unit: str, name: str, fits: Callable[[str], bool], seconds: float = 20.0) -> str:
        """Wait until a property of a unit fits; returns it."""
        until = time.monotonic() + seconds
        while not fits(value := self.show(unit, name)):
            assert time.monotonic() < until, f"{unit}: {name} is {value}\n{self.journal(unit)}"
            time.sleep(0.1)
        return value

    def journal(self, unit: str) -> str:
        """The log of a unit."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    def wait_journal(self, unit: str, pattern: str, count: int = 1, seconds: float = 20.0) -> None:
        """Wait until so many places of its journal match."""
        until = time.monotonic() + seconds
        while len(re.findall(pattern, said := self.journal(unit))) < count:
            assert time.monotonic() < until, f"{unit}: no {pattern} in its journal:\n{said}"
            time.sleep(0.1)


@contextmanager
def boot(root: Root, log: Path) -> Iterator[Booted]:
    """Boot a root with systemd; skips the test where this machine does not allow it."""
    mounts = Path("/proc/self/mounts").read_text()
    unified = re.search(r"^\S+ (\S+) cgroup2 rw", mounts, re.MULTILINE)
    if unified is None:
        pytest.skip("no cgroup2 is mounted for writing: systemd cannot be PID 1 of a namespace")
    group = Path(unified[1]) / f"tunrouter-test-{os.getpid()}"
    console = Process((str(ROOT / "tests" / "support" / "boot.sh"), str(root.path), str(group)), log)
    try:
        until = time.monotonic() + 30
        state = ""
        while state not in ("running", "degraded"):
            assert time.monotonic() < until, f"not booted, {state}\n{console.text()}"
            assert console.returncode is None, console.text()
            time.sleep(0.1)
            children = Path(f"/proc/{console.pid}/task/{console.pid}/children").read_text().split()
            if children:
                booted = Booted(root.path, console, int(children[0]))
                state = call(*booted.argv("systemctl", "is-system-running"), check=False).strip()
        yield booted
    finally:
        console.stop(9)
        _remove(group)


def _remove(group: Path) -> None:
    """Remove a cgroup and those in it, once their processes have ended."""
    for _ in range(100):
        for path, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                pass
        if not group.exists():
            return
        time.sleep(0.05)
