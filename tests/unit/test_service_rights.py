"""What a process may: by its unit's properties, as the user that it becomes, and by modes of files."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import pytest

from lib import service_rights
from lib.errors import HostError
from lib.settings_needs import NET_ADMIN, NET_BIND_SERVICE, SYS_ADMIN
from tests.support.netns import ROOT

UNIT = ROOT / "packaging" / "systemd" / "tunrouter.service"
NOBODY = pwd.getpwnam("nobody")


def shipped(**changed: str) -> dict[str, str]:
    """The properties of the shipped unit as `systemctl show` writes them, for a user that is here."""
    lines = [line.partition("=") for line in UNIT.read_text().splitlines() if re.match(r"\w+=", line)]
    found = {name: value for name, _, value in lines if name in service_rights.PROPERTIES}
    shown = {
        name: value.lower() if "Cap" in name or "Amb" in name else value for name, value in found.items()
    }
    return (
        shown | {"LoadState": "loaded", "Environment": "XDG_STATE_HOME=/var/lib", "User": "nobody"} | changed
    )


def test_the_shipped_unit_s_capabilities() -> None:
    rights = service_rights.of_unit("u", shipped())
    assert rights.capabilities == {NET_ADMIN, NET_BIND_SERVICE}
    assert rights.enters_namespaces is False
    assert rights.state == "/var/lib/tunrouter"
    more = shipped(
        AmbientCapabilities="cap_net_admin cap_sys_admin", CapabilityBoundingSet="cap_sys_admin cap_chown"
    )
    assert service_rights.of_unit("u", more).capabilities == {SYS_ADMIN}, "both sets have to have it"
    assert service_rights.of_unit("u", shipped(User="")).capabilities == {NET_ADMIN, NET_BIND_SERVICE}
    assert service_rights.of_unit("u", shipped(AmbientCapabilities="")).capabilities == set()


@pytest.mark.parametrize(
    ("path", "changed", "why"),
    [
        ("/var/lib/tunrouter/hosts", {}, ""),
        ("/var/log/tunrouter/log", {}, ""),
        ("/run/tunrouter/x.sock", {}, ""),
        ("/var/lib/tunrouters", {}, "ProtectSystem=strict"),
        ("/srv/hosts", {}, "ProtectSystem=strict"),
        ("/etc/hosts", {}, "ProtectSystem=strict"),
        ("/etc/hosts", {"ProtectSystem": "full"}, "ProtectSystem=full"),
        ("/etc/hosts", {"ProtectSystem": "yes"}, ""),
        ("/usr/x", {"ProtectSystem": "yes"}, "ProtectSystem=yes"),
        ("/etc/hosts", {"ReadWritePaths": "/srv -/etc"}, ""),
        ("/home/x/log", {}, "ProtectHome=yes"),
        ("/tmp/log", {}, "PrivateTmp=yes"),
        ("/proc/sys/net/ipv4/ip_forward", {}, "ProtectKernelTunables=yes"),
        ("/proc/sys/net/ipv4/ip_forward", {"ReadWritePaths": "/proc/sys/net"}, ""),
        ("/proc/sys/net/ipv4/ip_forward", {"ProtectKernelTunables": "no"}, ""),
        ("/dev/net/tun", {}, ""),
        ("/dev/net/tun", {"DeviceAllow": ""}, "DevicePolicy=closed"),
        ("/dev/net/tun", {"DeviceAllow": "", "DevicePolicy": "auto"}, ""),
    ],
)  # fmt: skip
def test_what_seals_a_path(path: str, changed: dict[str, str], why: str) -> None:
    shown = shipped(**changed)
    said = service_rights.sealed(path, shown, tuple(service_rights.own_directories(shown)))
    assert said.startswith(why)
    assert bool(said) is bool(why)


def test_an_open_path_of_somebody_else_s(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir(mode=0o755)
    path = str(tmp_path / "etc" / "resolv.conf")
    shown = shipped(ReadWritePaths=str(tmp_path), PrivateTmp="no")
    wrong = service_rights.of_unit("u", shown).refused(path)
    assert "belongs to" in wrong
    assert service_rights.of_unit("u", shown | {"User": "root"}).refused(path) == ""
    Path(path).touch()
    os.chmod(path, 0o666)
    assert service_rights.of_unit("u", shown).refused(path) == ""


def test_settings_of_the_network_are_the_network_administrator_s() -> None:
    path = "/proc/sys/net/ipv4/ip_forward"
    assert service_rights.not_by_modes(path, NOBODY.pw_uid, [], frozenset()) != ""
    assert service_rights.not_by_modes(path, NOBODY.pw_uid, [], frozenset({NET_ADMIN})) == ""


@pytest.mark.parametrize(
    ("mode", "ids", "may"),
    [
        *((0o700, "owner", True), (0o070, "group", True), (0o007, "", True)),
        *((0o077, "owner", False), (0o707, "group", False), (0o770, "", False)),
    ],
)
def test_modes(tmp_path: Path, mode: int, ids: str, may: bool) -> None:
    place = tmp_path / "place"
    place.mkdir()
    owner = os.getuid() or NOBODY.pw_uid
    os.chown(place, owner, -1)
    os.chmod(place, mode)
    uid = owner if ids == "owner" else owner + 1
    groups = [os.stat(place).st_gid] if ids == "group" else []
    assert (service_rights.not_by_modes(str(place / "new"), uid, groups, frozenset()) == "") is may


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/etc/tunrouter/tunrouter.yaml", "tunrouter.service"),
        ("/etc/tunrouter/paris.yaml", "tunrouter@paris.service"),
        ("/etc/tunrouter/paris.yml", ""),
        ("/etc/tunrouter.yaml", ""),
        ("/home/x/tunrouter.yaml", ""),
    ],
)
def test_the_unit_of_a_configuration(path: str, unit: str) -> None:
    assert service_rights.unit_of(path) == unit


def test_where_no_systemd_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert service_rights.shown("tunrouter.service") == {}


def test_systemctl_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text(
        '#!/bin/sh\necho LoadState=$STATE; echo "User=x=y"; echo "DeviceAllow=a r"; echo "DeviceAllow=b rw"; echo "$@" >$ASKED\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setattr(service_rights, "SYSTEMD", str(tmp_path))
    monkeypatch.setenv("STATE", "loaded")
    assert service_rights.shown("tunrouter@a.service") == {
        "LoadState": "loaded",
        "User": "x=y",
        "DeviceAllow": "a r b rw",
    }
    assert (tmp_path / "asked").read_text().endswith("-- tunrouter@a.service\n")
    monkeypatch.setenv("STATE", "not-found")
    assert service_rights.shown("tunrouter@a.service") == {}


def test_a_systemctl_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(service_rights, "SYSTEMD", str(tmp_path))
    with pytest.raises(HostError, match=r"systemctl show t\.service: ended with status 1: Failed to"):
        service_rights.shown("t.service")


def test_this_process_and_the_user_it_becomes() -> None:
    here = service_rights.of_process(lambda path: "", "/x")
    status = Path("/proc/self/status").read_text()
    bits = int(re.findall(r"CapEff:\s+(\w+)", status)[0], 16)
    assert here.capabilities == {
        name for name, number in service_rights.NUMBERS.items() if bits >> number & 1
    }
    user = service_rights.of_user("nobody", frozenset({NET_ADMIN}))
    assert user.capabilities == {NET_ADMIN}
    assert not user.enters_namespaces
    assert not user.sets_name_servers
    assert user.refused("/etc/resolv.conf") != ""
    with pytest.raises(KeyError):
        service_rights.of_user("nobdy", frozenset())
