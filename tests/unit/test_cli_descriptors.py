"""Standard output and standard error that cannot be written: a full disk, a pipe that nobody reads."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import cli_descriptors, cli_main, cli_process, ctl_client
from tests.support.program import killed_after, wait_for

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, str(ROOT / "tunrouter.py"))
HUB = ("-L", "router://127.0.0.1:0", "--control", "none")
CLIENT = ("-L", "tun:///host-1?net=10.0.0.1/24", "-F", "router://hub:8443")
CANNOT = "error: the output cannot be written: No space left on device\n"


@pytest.fixture
def full() -> Iterator[io.TextIOWrapper]:
    """Standard output on a full disk."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with cli_descriptors.output(descriptor, sys.__stdout__) as stream:
        yield stream
    os.close(descriptor)


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("--help",),
        ("man",),
        ("completion", "zsh"),
        ("licences",),
        ("hash",),
        ("check", *CLIENT),
        ("check", "--json", *HUB),
        ("check", "--json", "-L", "nonsense://"),
        (*CLIENT, "-O", "yaml"),
        ("lint", str(ROOT / "packaging" / "examples" / "server.yml")),
        ("explain", "-L", "router://:1", "--from", "host-1", "10.0.0.1"),
        ("explain", "--json", "-L", "router://:1", "--from", "host-1", "10.0.0.1"),
        ("status", "--json"),
        ("status", "--json", "--watch"),
        ("drops",),
        ("routes",),
        ("kick", "host-1"),
    ],
    ids=" ".join,
)
def test_output_to_a_full_disk_is_one_error_line_and_status_1(
    words: tuple[str, ...],
    full: io.TextIOWrapper,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reply = {"sessions": 1, "drops": [], "refusals": [], "destinations": [], "routes": [], "tables": []}
    monkeypatch.setattr(cli_process, "path", lambda *_: "/control")
    monkeypatch.setattr(ctl_client, "ask", lambda *_: reply)
    monkeypatch.setattr(ctl_client, "stream", lambda *_: iter([b"{" + b" " * 100_000 + b"}"]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"password\n")))
    monkeypatch.setattr(sys, "stdout", full)
    assert cli_main.main(words) == 1
    assert capsys.readouterr().err == CANNOT
    full.flush()  # Python does that at the end: status 120 where it fails


def test_version_to_a_full_disk() -> None:
    """What Python itself makes of it at its end is seen from outside only."""
    with open("/dev/full", "wb") as full:
        told = subprocess.run((*PROGRAM, "--version"), stdout=full, stderr=subprocess.PIPE, text=True)
        assert (told.returncode, told.stderr) == (1, CANNOT)
        assert subprocess.run((*PROGRAM, "--version"), stdout=full, stderr=full).returncode == 1
        assert subprocess.run((*PROGRAM, "kick"), stderr=full).returncode == 2


def test_a_hub_whose_standard_error_nobody_reads_any_more_ends_with_status_0() -> None:
    with killed_after(subprocess.Popen((*PROGRAM, *HUB), stderr=subprocess.PIPE, text=True)) as hub:
        assert hub.stderr is not None
        assert any("listening on" in line for line in hub.stderr)
        hub.stderr.close()
        hub.send_signal(signal.SIGUSR1)
        hub.terminate()
        assert hub.wait(20) == 0


def test_a_hub_whose_standard_error_is_a_full_disk_ends_with_status_0(tmp_path: Path) -> None:
    control = tmp_path / "control"
    words = ("-L", "router://127.0.0.1:0", "--control", str(control))
    with (
        open("/dev/full", "wb") as full,
        killed_after(subprocess.Popen((*PROGRAM, *words), stdout=full, stderr=full, text=True)) as hub,
    ):
        wait_for(lambda: control.exists() or hub.poll() is not None, 30)
        hub.terminate()
        assert hub.wait(20) == 0
