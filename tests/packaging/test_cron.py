"""packaging/cron/tunrouter, read by a real cron."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.debian import Booted, Root, boot
from tests.support.netns import ROOT

LOG, PID_FILE = "/var/log/tunrouter.log", "/run/tunrouter.pid"


def wait_listening(machine: Booted, count: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while machine.run("cat", LOG, check=False).count("listening on") < count:
        assert time.monotonic() < until, machine.run("journalctl", "--no-pager", "--unit=cron")
        time.sleep(0.2)


def test_it_starts_with_the_machine_and_again_within_a_minute(
    unmounted_root: Root, package: Path, tmp_path: Path
) -> None:
    root = unmounted_root
    root.run("dpkg", "-i", root.copy(package, "/opt"))
    root.copy(ROOT / "packaging" / "cron" / "tunrouter", "/etc/cron.d/tunrouter")
    with boot(root, tmp_path / "console.log") as machine:
        wait_listening(machine, 1, 20)
        first = machine.run("cat", PID_FILE).strip()
        machine.kill("KILL", first)
        wait_listening(machine, 2, 75)
        second = machine.run("cat", PID_FILE).strip()
        assert second != first
        # A minute later the line does nothing, and says nothing.
        said = machine.run("cat", LOG)
        assert machine.run("sh", "-c", next(
            line.split("root", 1)[1].strip() for line in machine.read("/etc/cron.d/tunrouter").splitlines() if line.startswith("* ")
        )) == ""  # fmt: skip
        assert machine.run("cat", LOG) == said
        assert "No MTA" not in machine.run("journalctl", "--no-pager", "--unit=cron")
        machine.kill("TERM", second)
