"""Problems of `tunrouter check` that a start would have on this host: paths, addresses, a user.

Knows: what a start opens, and how to find out whether it could without opening or making anything.
Refuses to know: what the files of tables hold (config_check); networks, for a check connects to nothing; and
rights, which another user may have: a port below 1024 or a device is only warned of.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from lib import (
    config_check_map,
    config_check_socket,
    config_dial,
    config_metadata,
    ctl_find,
    service_command,
    service_socket,
    stream_interface,
    stream_listen,
)
from lib.addresses import is_address, join_host_port, without_zone, zoned
from lib.config_findings import Findings
from lib.config_schema import Config, File, Hop, Node, Service
from lib.config_section import walk
from lib.ctl_path import weak_spot
from lib.errors import Position
from lib.settings import ClientSettings, HubSettings, Settings
from lib.settings_hooks import PRE_UP

_TUN, _NET = "/dev/net/tun", "/sys/class/net"
_NO_FILES = ("stdout", "stderr", "none")
Services = Mapping[str, Service]
"""By name; settings have only services that the configuration has."""


def look(config: Config, settings: Settings, given: Mapping[str, str], found: Findings) -> None:
    """Add what a start with these settings would fail at, and what is odd on this host.

    `config` is what the settings were resolved from; it has the places. `given` has the options of the
    command line that take the place of a key, `--control` and `--user`, where they are written.
    """
    services = {service.name: service for service in config.services}
    _addresses(config, services, settings, found)
    _paths(config, settings, given, found)
    _user(config, settings, given, found)
    _sources(config, settings, found)
    _devices(config, services, settings, found)
    config_check_socket.look(config, services, settings, found)
    config_check_map.look(services, settings, found)
    _hooks(config, services, settings, found)


# --- addresses ----------------------------------------------------------------------------------


def _addresses(config: Config, services: Services, settings: Settings, found: Findings) -> None:
    for hub in settings.hubs:
        _address(hub.host, hub.port, hub.transport.reuse_port, services[hub.name].where("addr"), found)
    for what, served, where in config_check_socket.served(config, settings):
        if served.socket:
            continue
        _address(served.host, served.port, False, where, found)
        for hub in settings.hubs:
            is_same = hub.host == served.host or "" in (hub.host, served.host)
            if is_same and 0 < hub.port == served.port:
                text = f"{what} would be served where service {hub.name} listens: {served.address}"
                found.error(where, text)


def _address(host: str, port: int, reuse_port: bool, where: Position, found: Findings) -> None:
    """See whether an address is one of this host's. Names are not looked up: that would ask a name server."""
    if host and not is_address(host.partition("%")[0]):
        return
    address = join_host_port(host, port)
    try:
        stream_listen.bind(host, port, reuse_port).close()
    except OSError as error:
        remedy = stream_listen.listen_remedy(error.errno, port)
        if error.errno == errno.EADDRINUSE:
            found.warn(where, f"somebody listens on {address} now, and a second one cannot", remedy)
        elif error.errno in (errno.EACCES, errno.EPERM):
            found.warn(where, f"this user may not listen on {address}", remedy)
        elif error.errno == errno.EADDRNOTAVAIL:
            found.error(where, f"cannot listen on {address}", remedy)
        elif error.errno != errno.EAFNOSUPPORT or host:
            found.error(where, f"cannot listen on {address}: {error.strerror or error}")


# --- paths --------------------------------------------------------------------------------------


def _paths(config: Config, settings: Settings, given: Mapping[str, str], found: Findings) -> None:
    control, log = settings.control, settings.log_output
    if control:
        wrong = _no_socket(control, private=True)
        where = Position("--control") if given.get("--control") else Position("control socket")
        if wrong and control == ctl_find.default_path():
            found.warn(where, f"{control}: {wrong}", "it runs without one; nobody can ask it")
        elif wrong:
            found.error(where, f"{control}: {wrong}")
    for _, served, where in config_check_socket.served(config, settings):
        wrong = _no_socket(served.socket, private=False) if served.socket else ""
        if wrong:
            found.error(where, f"'addr': {served.socket}: {wrong}")
        elif served.socket == control != "":
            found.error(where, f"'addr': {served.socket} is the control socket")
    if log not in _NO_FILES and config.log is not None:
        wrong = cannot_be_made(log)
        if wrong:
            found.error(config.log.where("output"), f"'output': {log}: {wrong}")
    audit = settings.api.audit_log if settings.api is not None else ""
    wrong = cannot_be_made(audit) if audit else ""
    if wrong and config.api is not None:
        found.error(config.api.where("audit_log"), f"'auditLog': {audit}: {wrong}")


def _no_socket(path: str, private: bool) -> str:
    """Why no unix socket can be made at a path (service_socket.take_path); empty where one can."""
    if len(os.fsencode(path)) > service_socket.MAX_PATH:
        return f"a socket's path has at most {service_socket.MAX_PATH} bytes"
    parent = str(Path(path).parent)
    try:
        weak = weak_spot(parent) if private else ""
        if weak:
            return weak
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return "is there already, and is no socket"
    except FileNotFoundError:
        return cannot_be_made(path, with_directory=True)
    except OSError as error:
        return error.strerror or str(error)
    return _no_writing(parent)


def cannot_be_made(path: str, with_directory: bool = False) -> str:
    """Why a file cannot be opened for writing; empty where it can be. Nothing is opened.

    `with_directory` is for a file whose directory is made as well.
    """
    path = os.path.abspath(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        place = os.path.dirname(path)
        while with_directory and not os.path.lexists(place):
            place = os.path.dirname(place)
        return _no_writing(place)
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "is a directory"
    return "" if os.access(path, os.W_OK) else "this user may not write to it"


def _no_writing(directory: str) -> str:
    if not os.path.lexists(directory):
        return f"there is no directory {directory}"
    if not os.path.isdir(directory):
        return f"{directory} is no directory"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"this user may not write to {directory}"
    kind = _filesystem(directory)
    return (
        f"{directory} is of the kernel's own ({kind}): no files can be made there"
        if kind in _KERNEL_S
        else ""
    )


_KERNEL_S = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "debugfs", "tracefs", "securityfs", "bpf"}
)
"""File systems in which nobody can make a file, although access(2) grants it to root."""


def _filesystem(directory: str) -> str:
    """The type of the file system of a directory (proc(5), mountinfo); empty where that is not known."""
    number = os.stat(directory).st_dev
    device = ":".join(map(str, (os.major(number), os.minor(number))))
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found = (line.split(" - ", 1)[1].split()[0] for line in mounts if line.split()[2] == device)
    return next(found, "")


# --- the user and devices -----------------------------------------------------------------------


def _user(config: Config, settings: Settings, given: Mapping[str, str], found: Findings) -> None:
    if settings.user:
        try:
            pwd.getpwnam(settings.user)
        except KeyError:
            where = Position("--user") if given.get("--user") else config.where("user")
            found.error(where, f"there is no user {settings.user[:64]!r} here")


def _sources(config: Config, settings: Settings, found: Findings) -> None:
    """Warn of files with rows that the user of the settings may not read: they are read after the change."""
    try:
        account = pwd.getpwnam(settings.user) if settings.user and os.geteuid() == 0 else None
    except KeyError:
        return  # it is an error already
    if account is None or account.pw_uid == 0:
        return
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    for section in walk(config):
        if isinstance(section, File) and section.path:
            wrong = _unreadable(os.path.abspath(section.path), account.pw_uid, groups)
            if wrong:
                text = f"'path': {section.path}: user {settings.user} may not {wrong}"
                found.warn(section.where("path"), text, "it is read after the change of the user")


def _unreadable(path: str, user: int, groups: list[int]) -> str:
    """What a user may not do on the way to a file, by its modes; empty for nothing, or for no such file."""
    parents = list(Path(path).parents)[::-1]
    try:
        for place, bit in (*((one, 1) for one in parents), (Path(path), 4)):
            status = place.stat()
            shift = 6 if status.st_uid == user else 3 if status.st_gid in groups else 0
            if not status.st_mode >> shift & bit:
                return f"enter {place}" if bit == 1 else "read it"
    except OSError:
        pass  # config_check tells of a file that is not there
    return ""


def _devices(config: Config, services: Services, settings: Settings, found: Findings) -> None:
    _interfaces(config, settings, found)
    for client in settings.clients:
        service, name = services[client.name], client.device.name
        if not os.path.exists(_TUN):
            hint = "load the kernel module tun, or give the device to the container"
            found.warn(service.where("listener"), f"there is no {_TUN} here", hint)
        if client.device.netns:
            continue
        if name and os.path.exists(f"{_NET}/{name}") and not os.path.exists(f"{_NET}/{name}/tun_flags"):
            listener = service.listener or service
            text = f"there is a network device {name} already, and it is no TUN device"
            found.error(listener.where("metadata.name"), text)


def _interfaces(config: Config, settings: Settings, found: Findings) -> None:
    """Warn of devices and addresses to dial hubs from that are not there; they may come later."""
    nodes = [node for client in settings.clients for node in client.nodes]
    dials = [one for node in nodes for one in node.first.dial.in_turn() if not one.netns]
    gone = {
        name: f"there is no network device {name} here now"
        for name in {dial.device for dial in dials} - {""}
        if not os.path.exists(f"{_NET}/{name}")
    }
    gone |= {
        source: f"{source} is no address of this host now"
        for source in {dial.source for dial in dials} - {""}
        if not stream_interface.is_ours(source)
    }
    if not gone:
        return
    for section in walk(config):
        if isinstance(section, Hop | Node):
            for item in config_dial.interface_items(section, found):
                name = item.text.removesuffix("!")
                name = zoned(name) if is_address(without_zone(name)) else name
                if name in gone:
                    found.warn(item.where, f"'interface': {gone[name]}")


# --- hooks --------------------------------------------------------------------------------------


def _hooks(config: Config, services: Services, settings: Settings, found: Findings) -> None:
    """Commands whose program is not here. Only a preUp keeps its service from starting."""
    every: tuple[HubSettings | ClientSettings, ...] = (*settings.hubs, *settings.clients)
    for one in every:
        for phase, commands in one.hooks.commands:
            tree = config_metadata.find(services[one.name], phase)
            where = tree.where if tree else services[one.name].where()
            for program in dict.fromkeys(words[0] for words in commands):
                if service_command.find(program) is None:
                    tell = found.error if phase == PRE_UP else found.warn
                    tell(where, f"{phase!r}: there is no program {program[:64]!r}")
    for section, receiver in zip(config.notify, settings.notify, strict=True):
        if receiver.command and service_command.find(receiver.command[0]) is None:
            text = f"'command': there is no program {receiver.command[0][:64]!r}"
            found.warn(section.where("command"), text)
