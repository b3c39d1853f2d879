"""The units under a real systemd, PID 1 of namespaces of its own, out of the installed package."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.debian import Booted, Root, boot, call

UNIT, CLIENT = "tunrouter.service", "tunrouter@host-1.service"


@pytest.fixture
def machine(unmounted_root: Root, package: Path, tmp_path: Path) -> Iterator[Booted]:
    """A machine with the package, a client's configuration beside the hub's, and a watchdog of two seconds."""
    root = unmounted_root
    root.run("dpkg", "-i", root.copy(package, "/opt"))
    example = root.run(
        "tunrouter",
        "-L",
        "tun:///host-1?net=192.168.123.1/24&route=192.168.200.0/24",
        "-F",
        "router://127.0.0.1:8443",
        "-O",
        "yaml",
    )
    root.write("/etc/tunrouter/host-1.yaml", example)
    root.run("chgrp", "tunrouter", "/etc/tunrouter/host-1.yaml")
    (root.path / "etc/systemd/system/tunrouter.service.d").mkdir()
    root.write(
        "/etc/systemd/system/tunrouter.service.d/test.conf", "[Service]\nWatchdogSec=2\nRestartSec=100ms\n"
    )
    with boot(root, tmp_path / "console.log") as booted:
        yield booted


def child(machine: Booted, unit: str = UNIT) -> str:
    """The process below the main one, which does the work; the main one where there is none."""
    main = machine.show(unit, "MainPID")
    return machine.run("cat", f"/proc/{main}/task/{main}/children").strip() or main


def test_a_hub_and_a_client_as_services(machine: Booted, newer: Callable[[str], Path]) -> None:
    machine.start(UNIT)  # returns once READY=1 has come
    assert machine.show(UNIT, "ActiveState") == "active"
    assert machine.show(UNIT, "StatusText") == "hub with 0 sessions"
    machine.start(CLIENT)
    machine.wait_journal(CLIENT, "connected to")
    machine.wait(UNIT, "StatusText", lambda text: text == "hub with 1 session")
    machine.wait(CLIENT, "StatusText", lambda text: text == "host-1 connected to 127.0.0.1:8443")

    # Who they are, and what they may.
    status = machine.run("cat", f"/proc/{child(machine, CLIENT)}/status")
    assert re.search(r"CapEff:\s+0000000000001400", status), status
    assert re.search(r"NoNewPrivs:\s+1", status)
    assert re.search(r"Seccomp:\s+2", status)
    assert machine.run("stat", "-c", "%U", f"/proc/{child(machine)}").strip() == "tunrouter"
    machine.run("systemd-analyze", "security", "--threshold=25", UNIT)

    # The control socket is where it is looked for, for root.
    (session,) = json.loads(
        machine.run("tunrouter", "status", "--json", "--control", "/run/tunrouter/tunrouter.sock")
    )["sessions"]
    assert session["host"] == "host-1"
    assert (
        "192.168.200.0/24" in Path(f"/proc/{machine.leader}/net/route").read_text()
        or "00C8A8C0" in Path(f"/proc/{machine.leader}/net/route").read_text()
    )

    # Reload: the session stays.
    config = machine.read("/etc/tunrouter/tunrouter.yaml")
    machine.write("/etc/tunrouter/tunrouter.yaml", config.replace("192.168.200.0/24", "192.168.201.0/24"))
    machine.run("systemctl", "reload", UNIT)
    machine.wait_journal(UNIT, "reload: done")
    machine.wait(UNIT, "ActiveState", lambda text: text == "active")
    assert machine.journal(CLIENT).count("connected to") == 1

    # Signs of life have come from the child all the while, for one that the loader's pid waits for.
    assert machine.show(UNIT, "WatchdogUSec") == "2s"
    machine.run("sleep", "2.5")
    assert machine.journal(UNIT).count("listening on") == 1

    # A restart drains: the client is told, and has no need to find out.
    machine.run("systemctl", "restart", UNIT)
    machine.wait_journal(CLIENT, "asks for another session")
    machine.wait_journal(CLIENT, "connected to", 2)

    # An upgrade restarts what runs.
    before = machine.show(UNIT, "MainPID"), machine.show(CLIENT, "MainPID")
    machine.run("dpkg", "--force-confold", "-i", machine.copy(newer(""), "/opt"))
    machine.wait_journal(CLIENT, "connected to", 3)
    after = machine.show(UNIT, "MainPID"), machine.show(CLIENT, "MainPID")
    assert all(old != new for old, new in zip(before, after, strict=True))

    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "ExecMainStatus") == "0"
    assert machine.show(UNIT, "Result") == "success"
    machine.run("systemctl", "stop", CLIENT)
    assert "tun0" not in machine.run("cat", "/proc/net/dev")


@pytest.mark.parametrize("whom", ["main", "child"])
def test_it_comes_back_after_kill_9(machine: Booted, whom: str) -> None:
    machine.start(UNIT)
    before = machine.show(UNIT, "MainPID")
    machine.kill("KILL", before if whom == "main" else child(machine))
    machine.wait(UNIT, "MainPID", lambda pid: pid not in ("0", before))
    machine.wait_journal(UNIT, "listening on", 2)
    machine.wait(UNIT, "ActiveState", lambda text: text == "active")
    assert machine.show(UNIT, "NRestarts") == "1"


def test_one_that_stands_still_is_started_anew(machine: Booted) -> None:
    machine.start(UNIT)
    machine.kill("STOP", child(machine))
    machine.wait(UNIT, "NRestarts", lambda count: count == "1", 30)
    machine.wait(UNIT, "ActiveState", lambda text: text == "active")
    machine.wait_journal(UNIT, "Watchdog timeout")


def test_a_wrong_configuration_is_not_tried_again(machine: Booted) -> None:
    machine.write("/etc/tunrouter/tunrouter.yaml", "nonsense: 1\n")
    machine.run("systemctl", "start", UNIT, check=False)
    machine.wait(UNIT, "ActiveState", lambda text: text == "failed")
    assert machine.show(UNIT, "ExecMainStatus") == "2"
    assert machine.show(UNIT, "NRestarts") == "0"
    assert "tunrouter.yaml:1:1" in machine.journal(UNIT)


def test_a_made_certificate_is_kept_for_the_service_only(machine: Booted) -> None:
    text = machine.read("/etc/tunrouter/tunrouter.yaml").replace("type: tcp", "type: tls")
    machine.write("/etc/tunrouter/tunrouter.yaml", text)
    machine.start(UNIT)
    said = machine.run("stat", "-c", "%a %U", "/var/lib/tunrouter", "/var/lib/tunrouter/key.pem")
    assert said == "700 tunrouter\n600 tunrouter\n"


ENROLLING = """\
services:
- name: hub
  addr: 127.0.0.1:8443
  handler: {type: router, metadata: {router: r, enrol: /var/lib/tunrouter/hosts}}
  listener: {type: tls}
routers:
- {name: r, address: 10.20.0.1/24, pool: 10.20.0.0/24}
"""
CONFIG = "/etc/tunrouter/tunrouter.yaml"


def outside(machine: Booted, *argv: str) -> str:
    """Run a program of this machine in the network of that one."""
    return call("nsenter", "--target", str(machine.leader), "--net", *argv)


def test_from_invite_to_a_ping_by_two_commands_and_systemd(machine: Booted) -> None:
    machine.write(CONFIG, ENROLLING)
    machine.start(UNIT)
    outside(machine, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    began = time.monotonic()
    said = machine.run(
        *("tunrouter", "invite", "box-a", "--address", "127.0.0.1:8443", "--gateway", "fd07::/64"),
    )
    line = next(line for line in said.splitlines() if line.startswith("tunrouter1-"))
    said = machine.run("tunrouter", "join", "--now", line)
    assert re.search(r"connected to 127.0.0.1:8443, with the address 10\.20\.0\.\d+", said)
    assert "tunrouter@box-a runs, and starts with this machine" in said
    assert "1 received" in outside(machine, "ping", "-c", "1", "-W", "2", "10.20.0.1")
    assert time.monotonic() - began < 5.0
    unit = "tunrouter@box-a.service"
    assert machine.run("systemctl", "is-enabled", unit).strip() == "enabled"
    # The unit's process sees the settings of the kernel: it does not take a host that forwards for one that does not.
    assert "does not forward" not in machine.journal(unit)
    until = time.monotonic() + 5
    while "fd07::/64" not in (
        status := machine.run("tunrouter", "status", "--json", "--control", "/run/tunrouter/box-a.sock")
    ):
        assert time.monotonic() < until, status
    assert "does not forward" not in status
    assert "box-a" in machine.run("cat", "/var/lib/tunrouter/hosts")
    machine.run("systemctl", "restart", UNIT, unit)
    machine.wait_journal(unit, "connected to", 2)
    assert "1 host revoked, 1 session ended" in machine.run(
        "tunrouter", "revoke", "box-a", "--control", "/run/tunrouter/tunrouter.sock"
    )


def test_check_names_what_the_unit_lacks_and_its_lines_are_enough(machine: Booted) -> None:
    """What `check` makes of `systemctl show` is what systemd does."""
    assert "tunrouter.service" not in machine.run("tunrouter", "check")
    text = ENROLLING.replace("  addr:", "  metadata: {netns: blue}\n  addr:")
    machine.write(CONFIG, text.replace("/var/lib/tunrouter/hosts", "/srv/tunrouter/hosts"))
    machine.run("install", "-d", "-o", "tunrouter", "/srv/tunrouter")
    machine.run("sh", "-c", "mkdir -p /run/netns; touch /run/netns/blue; unshare --net=/run/netns/blue true")
    machine.run("systemctl", "start", UNIT, check=False)
    machine.wait_journal(UNIT, "network namespace blue")
    machine.run("systemctl", "stop", UNIT)
    said = machine.run("tunrouter", "check")
    lines = [line.partition("below [Service]: ")[2] for line in said.splitlines() if "[Service]" in line]
    assert len(lines) == 3, said
    dropped = "\n".join(["[Service]", *(word for line in lines for word in line.split("  ")), ""])
    machine.write("/etc/systemd/system/tunrouter.service.d/more.conf", dropped)
    machine.run("systemctl", "daemon-reload")
    assert "[Service]" not in machine.run("tunrouter", "check")
    machine.start(UNIT)
    said = machine.run("tunrouter", "invite", "box-b", "--address", "127.0.0.1:8443")
    assert "tunrouter1-" in said
    assert "box-b" in machine.run("cat", "/srv/tunrouter/hosts")
