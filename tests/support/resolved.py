"""A systemd-resolved in a network namespace, with a D-Bus of its own (dbus-daemon), as nobody but the test has it.

Knows: what it needs to run beside no systemd: a bus, a directory under /run, a user, some capabilities.
Refuses to know: what it is told, and asked for.

The package is not installed, for that would make it the machine's own resolver: `make tools-resolved` unpacks it
into build/tools, from where tests take it where the machine has none.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.netns import Namespace

UNPACKED = Path(__file__).resolve().parents[2] / "build" / "tools" / "systemd-resolved"
NO_RESOLVED = "no systemd-resolved, or no dbus-daemon"
BUS = "unix:abstract=tunrouter-test-bus"
"""Abstract: it is one of the network namespace, and all programs there reach it."""

_BUS_CONFIG = f"""<busconfig>
  <type>system</type><listen>{BUS}</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>
  </policy>
</busconfig>
"""
_START = """set -e
mount -t tmpfs tmpfs /run  # `ip netns exec` has given us mounts of our own
mkdir -p /run/systemd/resolve
chown 65534 /run/systemd/resolve
export DBUS_SYSTEM_BUS_ADDRESS={bus}
dbus-daemon --config-file={config} --nofork --nopidfile --print-address &
until {resolvectl} --version >/dev/null && grep -q tunrouter-test-bus /proc/net/unix; do sleep 0.01; done
capabilities=+net_raw,+net_bind_service,+setpcap
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps $capabilities --ambient-caps $capabilities \\
  {resolved}
"""


def _found(name: str, *places: str) -> str:
    """Where a program is: the machine's own, else the one that was unpacked; empty for none."""
    for place in (*places, *(f"{UNPACKED}{place}" for place in places)):
        if os.access(f"{place}/{name}", os.X_OK):
            return f"{place}/{name}"
    return ""


RESOLVED = _found("systemd-resolved", "/usr/lib/systemd", "/lib/systemd")
RESOLVECTL = _found("resolvectl", "/usr/bin", "/bin")
needs_resolved = pytest.mark.skipif(
    not (RESOLVED and RESOLVECTL and shutil.which("dbus-daemon")), reason=NO_RESOLVED
)


def start_resolved(namespace: Namespace, directory: Path) -> Path:
    """Start it in a namespace; returns a directory with a `resolvectl` that asks it, for PATH."""
    config, script, program = (
        directory / "bus.xml",
        directory / "resolved.sh",
        directory / "bin" / "resolvectl",
    )
    config.write_text(_BUS_CONFIG)
    script.write_text(_START.format(bus=BUS, config=config, resolvectl=RESOLVECTL, resolved=RESOLVED))
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nDBUS_SYSTEM_BUS_ADDRESS={BUS} exec {RESOLVECTL} "$@"\n')
    program.chmod(0o755)
    namespace.popen("sh", str(script)).wait_line("Using system hostname")
    return program.parent
