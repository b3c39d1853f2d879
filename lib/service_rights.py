"""Rights of a process on this host: of this one, of the user that it becomes, of a unit of systemd.

Knows: capabilities of a process (proc(5)), modes of files, what a unit's settings leave (systemd.exec(5)).
Refuses to know: what needs them (settings_needs), what is told of it (config_check_rights).

A unit is judged by `systemctl show`, so that drop-ins count. Nothing is started or changed.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from lib import service_command, service_environment, service_privileges
from lib.errors import HostError
from lib.settings_needs import FIRST_FREE_PORT, NET_ADMIN, NET_BIND_SERVICE, SYS_ADMIN, Rights

NUMBERS = {
    NET_BIND_SERVICE: service_privileges.NET_BIND_SERVICE,
    NET_ADMIN: service_privileges.NET_ADMIN,
    SYS_ADMIN: service_privileges.SYS_ADMIN,
}
"""The capabilities that tunrouter knows, by name."""
SYSTEMD = "/run/systemd/system"
"""There where systemd runs (sd_booted(3))."""
SECONDS = 3.0
"""How long systemctl may take."""
MAX_SHOWN = 1 << 16
"""Bytes of what it prints that are read."""
PROPERTIES = (
    *("LoadState", "User", "Group", "SupplementaryGroups", "AmbientCapabilities", "CapabilityBoundingSet"),
    *("ProtectSystem", "ProtectHome", "ProtectKernelTunables", "ProtectControlGroups", "ReadWritePaths"),
    *("StateDirectory", "LogsDirectory", "RuntimeDirectory", "CacheDirectory", "ConfigurationDirectory"),
    *("Environment", "PrivateTmp", "PrivateDevices", "DevicePolicy", "DeviceAllow", "RestrictNamespaces"),
)
"""What is asked of a unit."""
PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
"""The first port that everybody may listen on."""
RULES = "/etc/polkit-1/rules.d/tunrouter.rules"
_RULES = (
    RULES,
    "/usr/share/polkit-1/rules.d/tunrouter.rules",
    "/usr/local/share/polkit-1/rules.d/tunrouter.rules",
)
"""Where packaging/polkit/tunrouter.rules may be installed: it lets the user tunrouter set name servers."""
RULES_USER = "tunrouter"
_SYSTEM = ("/usr", "/boot", "/efi")
_API = ("/dev", "/proc", "/sys")
"""File systems of the kernel, which ProtectSystem=strict leaves as they are."""
_TUNABLES = ("/proc/sys", "/sys")
_NET_SETTINGS = "/proc/sys/net/"
"""CAP_NET_ADMIN may write these as root may (net_ctl_permissions in the kernel)."""
_HOMES = ("/home", "/root", "/run/user")
_NAMED = (
    *(("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log"), ("RuntimeDirectory", "/run")),
    *(("CacheDirectory", "/var/cache"), ("ConfigurationDirectory", "/etc")),
)
_WRITING = 0o3
"""Of a directory's mode: to make files in it, and to enter it."""


# --- this process, and the user that it becomes -------------------------------------------------


def of_process(refused: Callable[[str], str], state: str) -> Rights:
    """What this process may. `refused` says why a path cannot be written; `state` is its state directory."""
    is_root, bits = os.geteuid() == 0, service_privileges.effective()
    return Rights(
        who="root here" if is_root else f"the user {_name(os.geteuid())}",
        capabilities=frozenset(name for name, number in NUMBERS.items() if bits >> number & 1),
        refused=refused,
        first_free_port=_first_free_port(),
        sets_name_servers=is_root or has_rule(_name(os.geteuid())),
        state=state,
    )


def of_user(user: str, capabilities: frozenset[str]) -> Rights:
    """What is left after the change to another user, which keeps these capabilities. Raises KeyError."""
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return Rights(
        who=f"user {user}",
        capabilities=capabilities,
        refused=lambda path: not_by_modes(path, account.pw_uid, groups, capabilities),
        enters_namespaces=False,
        first_free_port=_first_free_port(),
        sets_name_servers=account.pw_uid == 0 or has_rule(user),
    )


def _first_free_port() -> int:
    try:
        return int(PORTS.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return FIRST_FREE_PORT


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def has_rule(user: str) -> bool:
    return user == RULES_USER and any(map(os.path.exists, _RULES))


def not_by_modes(path: str, uid: int, groups: Iterable[int], capabilities: frozenset[str]) -> str:
    """Why a user may not write a file, or make it, by owners and modes; empty where it may."""
    if uid == 0 or (path.startswith(_NET_SETTINGS) and NET_ADMIN in capabilities):
        return ""
    place = next((one for one in (Path(path), *Path(path).absolute().parents) if one.exists()), Path("/"))
    status = place.stat()
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
    wanted = _WRITING if place.is_dir() else 0o2
    return "" if status.st_mode >> shift & wanted == wanted else f"{place} belongs to {_name(status.st_uid)}"


# --- a unit of systemd --------------------------------------------------------------------------


def unit_of(config: str) -> str:
    """The unit of packaging/systemd that would run this configuration file; empty for none."""
    path = Path(config)
    if str(path.parent) != "/etc/tunrouter" or path.suffix != ".yaml":
        return ""
    return "tunrouter.service" if path.stem == "tunrouter" else f"tunrouter@{path.stem}.service"


def shown(unit: str) -> Mapping[str, str]:
    """The properties of a unit; empty where there is no systemd here, or no such unit. Raises HostError."""
    if not os.path.isdir(SYSTEMD):
        return {}
    words = ("systemctl", "show", "--property", ",".join(PROPERTIES), "--", unit)
    environ = service_environment.whole(os.environ)
    outcome = service_command.run(words, environ, SECONDS, keep=MAX_SHOWN)
    if outcome.is_missing:
        return {}
    if outcome.failure:
        raise HostError(f"systemctl show {unit}: {outcome}")
    found: dict[str, str] = {}
    for name, equals, value in (line.partition("=") for line in outcome.output.splitlines()):
        if equals:  # a setting with several values may have a line for each
            found[name] = f"{found[name]} {value}" if name in found else value
    return found if found.get("LoadState") == "loaded" else {}


def of_unit(unit: str, shown: Mapping[str, str]) -> Rights:
    """What a unit's process may, by its properties. Raises KeyError for a user that is not here."""
    user = shown.get("User") or "root"
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    bounds = _capabilities(shown.get("CapabilityBoundingSet", ""))
    kept = bounds if account.pw_uid == 0 else bounds & _capabilities(shown.get("AmbientCapabilities", ""))
    own = tuple(own_directories(shown))

    def refused(path: str) -> str:
        return sealed(path, shown, own) or (
            "" if _within(path, own) else not_by_modes(path, account.pw_uid, groups, kept)
        )

    return Rights(
        who=unit,
        capabilities=kept,
        refused=refused,
        enters_namespaces=_enters_namespaces(shown.get("RestrictNamespaces", "")),
        first_free_port=_first_free_port(),
        sets_name_servers=account.pw_uid == 0 or has_rule(user),
        state=_state(shown, account.pw_uid),
    )


def sealed(path: str, shown: Mapping[str, str], own: tuple[str, ...]) -> str:
    """Which setting of a unit keeps its process from writing to a path; empty for none.

    `own` are directories that the unit has for itself.
    """
    opened = (*own, *(one.lstrip("-+") for one in shown.get("ReadWritePaths", "").split()))
    if path.startswith("/dev/"):
        closed = shown.get("DevicePolicy", "auto") in ("closed", "strict")
        return f"DevicePolicy={shown['DevicePolicy']}" if closed and path not in shown["DeviceAllow"] else ""
    if _within(path, opened):
        return ""
    if shown.get("PrivateTmp") == "yes" and _within(path, ("/tmp", "/var/tmp")):
        return "PrivateTmp=yes gives it a /tmp of its own"
    return next((f"{setting}={value}" for setting, value in _seals(path, shown)), "")


def _seals(path: str, shown: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(setting, its value) of everything that makes a path read-only."""
    for setting, places in (("ProtectKernelTunables", _TUNABLES), ("ProtectHome", _HOMES)):
        value = shown.get(setting, "no")
        if value not in ("no", "") and _within(path, places):
            yield setting, value
    system = shown.get("ProtectSystem", "no")
    sealed_by = {"yes": _SYSTEM, "full": (*_SYSTEM, "/etc"), "strict": ("/",)}
    if _within(path, sealed_by.get(system, ())) and not (system == "strict" and _within(path, _API)):
        yield "ProtectSystem", system


def _within(path: str, places: Iterable[str]) -> bool:
    return any(one == "/" or path == one or path.startswith(f"{one.rstrip('/')}/") for one in places if one)


def own_directories(shown: Mapping[str, str]) -> Iterator[str]:
    """The directories that a unit's process has for itself."""
    for setting, parent in _NAMED:
        for name in shown.get(setting, "").split():
            yield f"{parent}/{name.partition(':')[0]}"


def _capabilities(text: str) -> frozenset[str]:
    """Capabilities as systemctl shows them: `cap_net_admin cap_net_bind_service`."""
    return frozenset(text.upper().split()) & NUMBERS.keys()


def _enters_namespaces(text: str) -> bool:
    """Whether RestrictNamespaces lets a process into another network namespace."""
    return text in ("", "no") or "net" in text.split()


def _state(shown: Mapping[str, str], uid: int) -> str:
    if uid == 0:
        return "/var/lib/tunrouter"
    words = (word.strip('"') for word in shown.get("Environment", "").split())
    homes = [word.partition("=")[2] for word in words if word.startswith("XDG_STATE_HOME=")]
    return f"{homes[-1]}/tunrouter" if homes else f"{pwd.getpwuid(uid).pw_dir}/.local/state/tunrouter"
