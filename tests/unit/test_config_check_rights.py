"""What `check` says of rights that a process would lack: by the unit, the user of the settings, this process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lib import config_check_rights, config_read, config_resolve, service_rights
from lib.config_findings import Findings
from lib.settings_needs import NET_ADMIN, Rights
from tests.unit.test_service_rights import shipped

HUB = """\
services:
- name: hub
  addr: :8443
  metadata: {netns: blue}
  handler: {type: router, metadata: {router: r, enrol: ENROL}}
  listener: {type: tls}
routers: [{name: r, pool: 10.9.0.0/24}]
"""
CLIENT = """\
services:
- name: host
  handler: {type: tun, chain: c}
  listener: {type: tun, metadata: {name: tunrouter-none}}
  forwarder: {nodes: [{addr: host-1}]}
chains:
- name: c
  hops: [{nodes: [{addr: "192.0.2.1:1", connector: {type: router}, dialer: {type: tls, metadata: {pin: "sha256:PIN"}}}]}]
"""
NOTHING = Rights("the user x", frozenset(), lambda path: "it is read-only", False, False)


def told(text: str, files: tuple[str, ...] = ()) -> list[str]:
    """Warnings, and notices with a mark."""
    config = config_read.read([("f", text.replace("PIN", "0" * 64))])
    settings, found = config_resolve.resolve(config), Findings()
    config_check_rights.look(config, replace(settings, files=files), found)
    return [*map(str, found.warnings), *(f"note: {one}" for one in found.notices)]


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The properties of every unit, to be changed: those that are shipped."""
    found = shipped()
    monkeypatch.setattr(service_rights, "shown", lambda unit: found)
    monkeypatch.setattr(config_check_rights, "RESOLVECTL", "sh")  # as if it were here
    modes = service_rights.not_by_modes
    monkeypatch.setattr(
        service_rights, "not_by_modes", lambda path, *rest: modes(path, *rest) if "tmp" in path else ""
    )
    return found


def test_the_unit_s_drop_in_is_written_out(unit: dict[str, str], tmp_path: Path) -> None:
    lines = told(HUB.replace("ENROL", "/srv/hosts"), ("/etc/tunrouter/paris.yaml",))
    edit = "`systemctl edit tunrouter@paris`, below [Service]:"
    assert lines == [
        (
            "f:4:21: 'netns' of a service: tunrouter@paris.service has no CAP_SYS_ADMIN; "
            f"{edit} AmbientCapabilities=CAP_SYS_ADMIN  CapabilityBoundingSet=CAP_SYS_ADMIN"
        ),
        (
            "f:4:21: 'netns' of a service: tunrouter@paris.service may enter no other network namespace; "
            f"{edit} RestrictNamespaces=net"
        ),
        (
            "f:5:56: 'enrol': tunrouter@paris.service cannot write to /srv/hosts: ProtectSystem=strict; then nobody "
            f"can be invited, and who is connected is not noted; {edit} ReadWritePaths=/srv"
        ),
    ]
    unit |= {"AmbientCapabilities": "cap_sys_admin", "CapabilityBoundingSet": "cap_sys_admin"}
    unit |= {"RestrictNamespaces": "net", "User": "root", "ReadWritePaths": "/srv"}
    assert told(HUB.replace("ENROL", "/srv/hosts"), ("/etc/tunrouter/paris.yaml",)) == []


def test_a_list_that_the_unit_s_user_may_not_write(unit: dict[str, str], tmp_path: Path) -> None:
    unit["ReadWritePaths"], unit["PrivateTmp"] = str(tmp_path), "no"
    unit["RestrictNamespaces"] = "no"
    (tmp_path / "state").mkdir(mode=0o755)
    found = told(HUB.replace("ENROL", f"{tmp_path}/state/hosts"), ("/etc/tunrouter/tunrouter.yaml",))
    assert found[-1].endswith(f"let its user write there: chown nobody {tmp_path}/state")


def test_what_a_hub_tells_of_names_takes_a_rule_of_polkit(
    unit: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_check_rights, "RESOLVECTL", "not-here")
    (line,) = told(CLIENT, ("/etc/tunrouter/tunrouter.yaml",))
    assert line.startswith(
        "note: f:2:3: names without systemd-resolved: tunrouter.service cannot write to /etc/resolv.conf"
    )
    assert line.endswith("below [Service]: User=root  ReadWritePaths=/etc/resolv.conf")
    monkeypatch.setattr(config_check_rights, "RESOLVECTL", "sh")
    (line,) = told(CLIENT, ("/etc/tunrouter/tunrouter.yaml",))
    assert "systemd-resolved takes none from tunrouter.service" in line
    assert line.endswith("tunrouter.rules as /etc/polkit-1/rules.d/tunrouter.rules")


def test_the_shipped_unit_gives_a_client_and_a_hub_what_they_need(
    unit: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_rights, "has_rule", lambda user: True)
    assert told(CLIENT, ("/etc/tunrouter/tunrouter.yaml",)) == []
    plain = HUB.replace("ENROL", "/var/lib/tunrouter/hosts").replace("{netns: blue}", "{}")
    assert told(plain, ("/etc/tunrouter/tunrouter.yaml",)) == []


@pytest.mark.parametrize(("value", "lines"), [("0", 1), ("1", 0)])
def test_an_exit_needs_a_setting_of_the_kernel_that_is_off(
    unit: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, lines: int
) -> None:
    monkeypatch.setattr(service_rights, "has_rule", lambda user: True)
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, **how: value if "ip_forward" in str(path) else read(path, **how),
    )
    text = CLIENT.replace("chain: c}", "chain: c, metadata: {nat: true}}")
    found = told(text, ("/etc/tunrouter/tunrouter.yaml",))
    assert len(found) == lines
    assert all(one.endswith("below [Service]: ReadWritePaths=/proc/sys/net") for one in found)
    unit["ReadWritePaths"] = "/proc/sys/net"
    assert told(text, ("/etc/tunrouter/tunrouter.yaml",)) == []


def test_a_device_that_only_root_may_open(unit: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_rights, "has_rule", lambda user: True)
    monkeypatch.setattr(
        service_rights, "not_by_modes", lambda path, *rest: f"{path} belongs to root" if "tun" in path else ""
    )
    (line,) = told(CLIENT, ("/etc/tunrouter/tunrouter.yaml",))
    assert line.endswith("let everybody open it, as udev does: chmod 0666 /dev/net/tun")


def test_a_unit_that_systemctl_knows_nothing_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_rights, "shown", lambda unit: shipped(User="no-such-user"))
    (line,) = told(CLIENT, ("/etc/tunrouter/tunrouter.yaml",))
    assert line.startswith("note: /etc/tunrouter/tunrouter.yaml: what tunrouter.service may is not known")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_the_user_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = Rights("root here", frozenset({NET_ADMIN, "CAP_SYS_ADMIN"}), lambda path: "")
    monkeypatch.setattr(service_rights, "of_process", lambda refused, state: everything)
    text = HUB.replace("ENROL", "/etc/hosts.list") + "user: nobody\n"
    found = told(text, ("/srv/tunrouter.yaml",))
    assert any(
        "'pool': user nobody cannot write to /var/lib/tunrouter: " in one and "chown" in one for one in found
    )
    assert not [one for one in found if "'enrol'" in one], "config_check_enrol tells of it"
    assert any(
        "'netns' of a service: user nobody has no CAP_SYS_ADMIN; leave out `user`" in one for one in found
    )
    assert told(CLIENT + "user: nobdy\n") == [], "an error of another check"


def test_who_is_not_root_is_told_in_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_rights, "of_process", lambda refused, state: NOTHING)
    found = told(CLIENT)
    assert all(one.startswith("note: f:2:3: ") for one in found)
    assert "a TUN device: the user x has no CAP_NET_ADMIN" in found[0]
    assert "a TUN device: the user x cannot write to /dev/net/tun: it is read-only" in found[1]


@pytest.mark.parametrize("section", ["metrics", "api"])
def test_a_low_port_beside_the_hubs_has_its_place(monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    monkeypatch.setattr(service_rights, "of_process", lambda refused, state: NOTHING)
    plain = (
        HUB.replace(", enrol: ENROL", "").replace("{netns: blue}", "{}").replace(", pool: 10.9.0.0/24", "")
    )
    assert told(plain) == []
    (line,) = told(f"{plain}{section}: {{addr: '127.0.0.1:81'}}\n")
    assert line.startswith(
        f"note: f:8:{len(section) + 10}: a port below 1024: the user x has no CAP_NET_BIND_SERVICE"
    )


def test_a_device_that_was_made_for_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "owner").write_text(f"{os.geteuid()}\n")
    monkeypatch.setattr(
        service_rights, "of_process", lambda refused, state: replace(NOTHING, refused=lambda path: "")
    )
    monkeypatch.setattr(config_check_rights, "OWNER", f"{tmp_path}/owner")
    assert not [one for one in told(CLIENT) if "a TUN device" in one]
