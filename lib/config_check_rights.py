"""Warnings of `tunrouter check` about rights: what a feature needs, and the process that will run has not.

Knows: which process that will be (this one, the user of the settings, a unit of systemd), where in the
configuration a feature is asked for, and the lines that give a process what it lacks.
Refuses to know: what features need (settings_needs), what a process may (service_rights).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lib import config_metadata, service_rights, settings_needs, stream_certificates
from lib.config_check_start import cannot_be_made
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.errors import HostError, Position
from lib.settings import Settings
from lib.settings_needs import Kind, Missing, Rights

Mend = Callable[[Missing], str]
"""What gives a process what it lacks, in words or lines."""
_MAYBE = (Kind.RESOLVED, Kind.RESOLV_CONF)
"""Needs that only arise where the hub has a `dnsDomain`, which its clients' configuration does not say."""
RESOLVECTL = "resolvectl"
"""The program of systemd-resolved; where it is not, nothing is set by it."""
OWNER = "/sys/class/net/{}/owner"
"""The user for whom a TUN device was made (`ip tuntap add … user NAME`), by the device's name."""


def look(config: Config, settings: Settings, found: Findings) -> None:
    """Warn of every need that would not be met. Nothing is started or changed."""
    has_resolved = shutil.which(RESOLVECTL) is not None
    for rights, mend in _processes(config, settings, found):
        tell = found.notice if rights.who.startswith("the user ") else found.warn
        for one in settings_needs.missing(settings, rights):
            if one.need.kind is Kind.CAPABILITY and _has_device(settings, one.use.service):
                continue
            if _is_set(one) or one.need.kind is (Kind.RESOLV_CONF if has_resolved else Kind.RESOLVED):
                continue
            if one.use.path and mend in (_by_root, _by_no_user):
                continue  # config_check_start and config_check_enrol tell of files that we cannot write
            text = f"{one.feature.name}: {one.why}"
            then = f"then {one.feature.instead}; " if one.feature.instead else ""
            told = found.notice if one.need.kind in _MAYBE else tell
            told(_where(config, one), f"{text}; {then}{mend(one)}")


def _processes(config: Config, settings: Settings, found: Findings) -> Iterator[tuple[Rights, Mend]]:
    """What will run by these settings, and how it is given more: units where there are some, else we."""
    units = list(_units(config, settings, found))
    yield from units
    if not units:
        yield service_rights.of_process(_refused, str(stream_certificates.state_directory())), _by_root
    if settings.user and os.geteuid() == 0 and not units:
        try:
            yield service_rights.of_user(settings.user, settings_needs.kept(settings)), _by_no_user
        except KeyError:
            pass  # it is an error already


def _units(config: Config, settings: Settings, found: Findings) -> Iterator[tuple[Rights, Mend]]:
    for path in settings.files:
        unit = service_rights.unit_of(path)
        try:
            shown = service_rights.shown(unit) if unit else {}
            if shown:
                yield service_rights.of_unit(unit, shown), _by_drop_in(unit, shown.get("User") or "root")
        except (HostError, KeyError) as wrong:
            found.notice(Position(path), f"what {unit} may is not known: {wrong}")


def _refused(path: str) -> str:
    """Why this process cannot write a file; empty also where another check tells that it is not there."""
    if path.startswith("/dev/") and not os.path.exists(path):
        return ""
    return cannot_be_made(path, with_directory=True)


def _is_set(one: Missing) -> bool:
    """Whether a setting of the kernel is as it has to be already, so that nobody has to write it."""
    if not one.need.what.startswith("/proc/sys/") or one.need.kind is not Kind.WRITE:
        return False
    try:
        return Path(one.need.what).read_text(encoding="ascii").strip() != "0"
    except OSError:
        return False


def _has_device(settings: Settings, service: str) -> bool:
    """Whether a client's device was made for us before, by `ip tuntap add … user NAME`."""
    names = [client.device.name for client in settings.clients if client.name == service]
    try:
        return bool(names and names[0]) and int(Path(OWNER.format(names[0])).read_text()) == os.geteuid()
    except (OSError, ValueError):
        return False


_FIELDS = {"log": "output", settings_needs.AUDIT: "audit_log"}
"""Key of a feature, or of its section -> the field of the section that asks for it."""


def _where(config: Config, one: Missing) -> Position:
    section = getattr(config, one.use.section) if one.use.section else None
    for service in config.services if not one.use.section else ():
        if service.name == one.use.service:
            for layer in (service, service.handler, service.listener):
                tree = config_metadata.find(layer, one.feature.key) if layer and one.feature.key else None
                if tree is not None:
                    return tree.where
            return service.where()
    if section is None:
        return Position("the settings")
    where: Position = section.where(_FIELDS.get(one.feature.key or one.use.section, "addr"))
    return where


# --- what mends it


def _by_root(one: Missing) -> str:
    if os.geteuid() == 0:
        return "let what starts it give it more, as cap_add and devices do of a container"
    return "start it as root, or by the unit of the package"


def _by_no_user(one: Missing) -> str:
    """What to do where `user:` is in the way."""
    if one.need.kind is Kind.WRITE:
        return f"let that user write there (chown), or leave out `user`: {one.need.what}"
    return "leave out `user`, or run it by the unit of the package"


def _by_drop_in(unit: str, user: str) -> Mend:
    return lambda one: _drop_in(unit, user, one)


def _drop_in(unit: str, user: str, one: Missing) -> str:
    """The lines of a drop-in that give a unit what it lacks, and nothing else."""
    if one.need.kind is Kind.RESOLVED:
        return f"install packaging/polkit/tunrouter.rules as {service_rights.RULES}"
    edit = f"`systemctl edit {unit.removesuffix('.service')}`, below [Service]:"
    lines = {
        Kind.CAPABILITY: f"AmbientCapabilities={one.need.what}  CapabilityBoundingSet={one.need.what}",
        Kind.NAMESPACE: "RestrictNamespaces=net",
        Kind.DEVICE: f"DeviceAllow={one.need.what} rw",
        Kind.WRITE: f"ReadWritePaths={_directory(one.need.what)}",
    }
    if one.need.what in _OF_ROOT:
        return f"{edit} User=root  ReadWritePaths={one.need.what}"
    if one.need.kind is Kind.DEVICE and "belongs to" in one.why:
        return f"let everybody open it, as udev does: chmod 0666 {one.need.what}"
    if one.need.kind is Kind.WRITE and "belongs to" in one.why:
        return f"let its user write there: chown {user} {_directory(one.need.what)}"
    return f"{edit} {lines[one.need.kind]}"


_OF_ROOT = ("/etc/resolv.conf", "/etc/hosts")
"""Files that belong to root and are written in place where their directory is read-only."""


def _directory(path: str) -> str:
    """What a unit opens for a file: its directory, as files are replaced; for sysctls their tree."""
    if path.startswith("/proc/sys/net/"):
        return "/proc/sys/net"
    return path if os.path.isdir(path) else os.path.dirname(path)
