"""Files for service managers as they stand in packaging: what systemd says of its units, what comments promise."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib import config_read, config_resolve
from tests.support.netns import ROOT

FOLDER = ROOT / "packaging" / "systemd"
UNITS = ("tunrouter.service", "tunrouter@.service")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed: make tools-test, as root",
)


def settings(unit: str) -> list[str]:
    lines = (FOLDER / unit).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_template_is_the_unit_with_a_name() -> None:
    one, many = map(settings, UNITS)
    differing = {(a, b) for a, b in zip(one, many, strict=True) if a != b}
    assert {
        (a.replace("tunrouter.yaml", "%i.yaml").replace("tunrouter.sock", "%i.sock"), b) for a, b in differing
    } == {
        ("Description=tunrouter, a routing tunnel", "Description=tunrouter, a routing tunnel (%i)"),
        *((b, b) for _, b in differing if "%i." in b),
    }


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_verify(unit: str, tmp_path: Path) -> None:
    text = (FOLDER / unit).read_text().replace("/usr/bin/tunrouter", sys.executable)
    path = tmp_path / unit.replace("@", "@one")
    path.write_text(text)
    done = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", str(path)), capture_output=True, text=True
    )
    ours = [
        line for line in done.stderr.splitlines() if "tunrouter" in line
    ]  # not what else is on this machine
    assert ours == []


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_security(unit: str) -> None:
    argv = (
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=25",
        str(FOLDER / unit),
    )
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_the_program_counts_on() -> None:
    lines = settings("tunrouter.service")
    for line in ("Type=notify", "NotifyAccess=all", "KillMode=mixed", "RestartPreventExitStatus=2"):
        assert line in lines
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert start.endswith(" --control /run/tunrouter/tunrouter.sock")  # where root's `tunrouter status` looks


@pytest.mark.parametrize("unit", UNITS)
def test_what_the_unit_asks_for(unit: str) -> None:
    """What SECURITY.md says of it; that systemd does it is systemd's own promise."""
    lines = settings(unit)
    for line in (
        "User=tunrouter",
        "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE",
        "NoNewPrivileges=yes",
        "SystemCallFilter=@system-service",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "DevicePolicy=closed",
        "MemoryDenyWriteExecute=yes",
    ):
        assert line in lines
    assert [line for line in lines if line.startswith("DeviceAllow=")] == ["DeviceAllow=/dev/net/tun rw"]
    assert not [line for line in lines if line.startswith("ReadWritePaths=")]


def test_what_crons_file_says_of_rotation_is_a_configuration() -> None:
    """Nothing rotates what `>>` appends to, and the file says what does."""
    text = (ROOT / "packaging" / "cron" / "tunrouter").read_text()
    assert ">>/var/log/tunrouter.log" in text
    (log,) = re.findall(r"^#   (log: .*)$", text, re.MULTILINE)
    hub = "services: [{name: hub, addr: ':1', handler: {type: router}, listener: {type: tcp}}]\n"
    settings = config_resolve.resolve(config_read.read([("cron", f"{log}\n{hub}")]))
    assert settings.log_output == "/var/log/tunrouter.log"
    assert settings.log_rotation is not None
    (logrotate,) = re.findall(r"^#   /var/log/tunrouter.log \{ (.*) \}$", text, re.MULTILINE)
    assert "copytruncate" in logrotate.split(), "cron's >> keeps the file open"


def test_what_supervisords_file_says_of_a_start_that_fails_is_what_it_sets() -> None:
    text = (ROOT / "packaging" / "supervisord" / "tunrouter.conf").read_text()
    (retries,) = re.findall(r"^startretries=(\d+)$", text, re.MULTILINE)
    (promised,) = re.findall(r"and so on, (\d+) s in all", text)
    assert int(promised) == sum(range(1, int(retries) + 1))
