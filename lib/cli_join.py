"""`tunrouter join LINE`: join the hub that an invitation is for, keep the login, write a configuration.

Knows: which files are written, with which modes, and in which order, so that a broken-off try can go on.
Refuses to know: what is said to the hub (client_enrol), what a line holds (enrol_token).

    DIR/HOST.login    user name and password, mode 0600, written before the hub is asked (as HOST.login.new)
    DIR/HOST.yaml     the configuration, which names it
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from lib import client_enrol, ctl_client, enrol_book, enrol_token, ids, prefixes
from lib.addresses import join_host_port
from lib.cli_descriptors import complain
from lib.enrol_token import Token
from lib.errors import ConfigError, HostError, Position, Problem
from lib.printable import printable
from lib.service_files import write_whole
from lib.wire_enrol import Reply

PASSWORD_BYTES = 24
USER = "tunrouter"
"""The user of the systemd unit, who has to be able to read both files."""
UNIT = tuple(
    f"{folder}/systemd/system/tunrouter@.service"
    for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
"""Where the unit may be (systemd.unit(5)): the script puts it below /usr/local, the package below /lib."""
CONTROL = "/run/tunrouter"
"""Where the unit has its control socket."""
CONNECT_SECONDS = 10.0
"""How long --now waits until the service has a session."""
ADDRESS_SECONDS = 3.0
"""How long it waits in this time for the addresses that the hub tells."""
MARK = "# Written by `tunrouter join`"
_SYSTEMD = "systemctl enable --now tunrouter@"


def run(
    arguments: Mapping[str, Any],
    first_line: Callable[[BinaryIO], str],
    serve: Callable[[Mapping[str, Any]], int],
) -> int:
    """Join, and with --now start; returns the exit status. Raises HostError, ConfigError.

    `first_line` reads a line of a file; `serve` runs the program by such arguments.
    """
    line = first_line(sys.stdin.buffer) if arguments["LINE"] == "-" else arguments["LINE"]
    try:
        token = enrol_token.decode(line)
    except ValueError as wrong:
        raise ConfigError([Problem(Position("LINE"), str(wrong))]) from None
    directory = Path(arguments["--into"] or _directory())
    name = re.sub(r"[^A-Za-z0-9._@-]", "_", token.host)
    config, login = directory / f"{name}.yaml", directory / f"{name}.login"
    try:
        _check_free(config, token)
        directory.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        password = _password(token, login)
        reply = client_enrol.enrol(token, enrol_book.hashed(password.encode()))
        os.replace(_pending(login), login)
        _keep_old(config)
        write_whole(str(config), _text(token, login).encode(), 0o640, _owner())
        _give(login)
    except client_enrol.Refused:
        _pending(login).unlink(missing_ok=True)
        if login.exists() and config.exists():
            complain(printable(f"note: this host has joined before as {token.host}: tunrouter -C {config}"))
        raise
    except OSError as error:
        raise HostError(f"{error.filename or directory}: {error.strerror or error}") from None
    _tell(token, config, login, reply)
    return _start(config, name, arguments, serve) if arguments["--now"] else 0


def _directory() -> Path:
    return Path("/etc/tunrouter") if os.geteuid() == 0 else Path.home() / ".tunrouter"


def _pending(login: Path) -> Path:
    return login.with_name(f"{login.name}.new")


def _check_free(config: Path, token: Token) -> None:
    """Raise HostError for a configuration that is somebody's work, or whose login this would take away."""
    with suppress(FileNotFoundError):
        text = config.read_text(encoding="utf-8", errors="replace")
        if not text.startswith(MARK):
            hint = "move it away, or choose another directory with --into DIR"
            raise HostError(f"{config} is there already, and was not written by `tunrouter join`; {hint}")
        if why := _other(text, token):
            raise HostError(
                f"{config} is {why}, whose login would be lost; ask for an invitation under another name, "
                f"move it and {config.stem}.login away, or choose another directory with --into DIR"
            )


def _other(text: str, token: Token) -> str:
    """Of what else a configuration is that join has written; empty where it is of the same host and hub.

    A hub may have another address by now, or another certificate, but not both.
    """
    first = text.partition("\n")[0].removeprefix(f"{MARK} for the hub ").removesuffix(".")
    is_same = token.pin and f"sha256:{token.pin.hex()}" in text
    if not is_same and first != join_host_port(token.address, token.port):
        return f"of another hub, {first}"
    named = ids.format_uuid(token.namespace) in text
    if not named if token.namespace != ids.NO_NAMESPACE else "router.id" in text:
        return "of another namespace of this hub"
    return "" if f"- name: {json.dumps(token.host)}\n" in text else "of another host name"


def _keep_old(config: Path) -> None:
    with suppress(FileNotFoundError):
        os.replace(config, config.with_name(f"{config.name}.before"))


def _password(token: Token, login: Path) -> str:
    """The password of this host, on the disk before the hub has its hash.

    Where a try with this line was broken off, perhaps after the hub had let it in, that password counts.
    """
    pending, mark = _pending(login), f"# of invitation {token.invitation.hex()}"
    with suppress(FileNotFoundError):
        lines = pending.read_text(encoding="utf-8").split("\n")
        if len(lines) > 1 and lines[1] == mark and len(lines[0].split()) == 2:
            return lines[0].split()[1]
    password = base64.urlsafe_b64encode(os.urandom(PASSWORD_BYTES)).decode()
    write_whole(str(pending), f"{token.host} {password}\n{mark}\n".encode())
    return password


def _owner() -> int:
    """The user who has to read the files, -1 for who runs this."""
    try:
        return pwd.getpwnam(USER).pw_uid if os.geteuid() == 0 else -1
    except KeyError:
        return -1


def _give(path: Path) -> None:
    if (owner := _owner()) >= 0:
        os.chown(path, owner, -1, follow_symlinks=False)


# --- the configuration


def _text(token: Token, login: Path) -> str:
    """The configuration, in YAML whose values are JSON. The hub tells the rest: addresses, routes, MTU."""
    connector: dict[str, Any] = {"type": "router", "auth": {"file": str(login.absolute())}}
    if token.namespace != ids.NO_NAMESPACE:
        connector["metadata"] = {"router.id": ids.format_uuid(token.namespace)}
    dialer: dict[str, Any] = {"type": token.kind}
    metadata = {"path": token.path, "pin": f"sha256:{token.pin.hex()}" if token.pin else ""}
    if not token.pin:
        dialer["tls"] = {"secure": True, "serverName": token.address}
    dialer["metadata"] = {key: value for key, value in metadata.items() if value}
    node: dict[str, Any] = {"name": "hub", "addr": join_host_port(token.address, token.port)}
    node |= {"connector": connector, "dialer": {key: value for key, value in dialer.items() if value}}
    return "\n".join(
        [
            f"{MARK} for the hub {join_host_port(token.address, token.port)}.",
            f"# The login is in {login.absolute()}; only this host has it.",
            "# The hub tells the rest (acceptRoutes); net or route here take the place of what it tells.",
            "services:",
            f"- name: {json.dumps(token.host)}",
            "  handler: {type: tun, chain: hub}",
            "  listener: {type: tun}",
            f"  forwarder: {{nodes: [{{name: host, addr: {json.dumps(token.host)}}}]}}",
            "chains:",
            "- name: hub",
            "  hops:",
            "  - name: hub",
            "    nodes:",
            f"    - {json.dumps(node)}",
            "",
        ]
    )


def _addresses(reply: Reply) -> str:
    """The addresses of this host in the tunnel that the hub knows already."""
    texts = (prefixes.text(address, length) for address, length in reply.own if length == 8 * len(address))
    return ", ".join(text.partition("/")[0] for text in texts)


# --- afterwards


def _tell(token: Token, config: Path, login: Path, reply: Reply) -> None:
    hub = join_host_port(token.address, token.port)
    print(printable(f"joined hub {hub} as host {token.host}; the login is in {login}"))
    addresses = _addresses(reply)
    given = (
        f"its address is {addresses}" if addresses else "the hub gives it an address" if reply.gives else ""
    )
    print(printable(f"the configuration is {config}" + (f"; {given}" if given else "")))
    print(
        printable(
            f"start it: tunrouter -C {config}"
            + (f", or {_SYSTEMD}{config.stem}" if _is_unit_s(config) else "")
        )
    )
    if os.geteuid() != 0:
        complain("note: only root may make its TUN device (CAP_NET_ADMIN): start it as root")
    if not given:
        complain("note: no route of the hub leads to an address of this host yet: see `tunrouter invite`")
    behind = [prefixes.text(*one) for one in reply.own if one[1] < 8 * len(one[0])]
    if behind:
        complain(
            f"note: {', '.join(behind)} is routed to this host: let it forward (sysctl -w "
            "net.ipv4.ip_forward=1, IPv6: net.ipv6.conf.all.forwarding=1); machines there need a route back"
        )
    if difference := client_enrol.clock_difference(reply, time.time()):
        complain(f"note: {difference}")


def _start(
    config: Path, name: str, arguments: Mapping[str, Any], serve: Callable[[Mapping[str, Any]], int]
) -> int:
    """Start the client: as a service of systemd where the unit is there, else in this process."""
    sys.stdout.flush()
    if _is_unit_s(config):
        done = subprocess.run(("systemctl", "enable", "--now", f"tunrouter@{name}"), check=False)
        return _await(name) if done.returncode == 0 else 1
    return serve({**arguments, "-C": [str(config)]})


def _await(name: str) -> int:
    """Wait until the service is connected and has its addresses, and say so; returns the exit status."""
    path, unit, why = f"{CONTROL}/{name}.sock", f"tunrouter@{name}", "it does not reply"
    began = time.monotonic()
    while (waited := time.monotonic() - began) < CONNECT_SECONDS:
        with suppress(HostError, *ctl_client.WRONG_SHAPE):
            (row,) = ctl_client.ask(path, {"do": "status", "host": "", "ns": ""}, 1.0)["clients"]
            if row["hub"] and (row["addresses"] or waited > ADDRESS_SECONDS):
                own = ", ".join(map(str, row["addresses"])) or "none yet"
                print(printable(f"connected to {row['hub']}, with the address {own}"))
                print(f"{unit} runs, and starts with this machine")
                return 0
            why = str(row["away"]["reason"] if row["away"] else why)
        time.sleep(0.05)
    complain(printable(f"{unit} runs and goes on trying: {why}; `tunrouter doctor` looks for the cause"))
    return 1


def _is_unit_s(config: Path) -> bool:
    """Whether systemd runs, and its unit would read this configuration."""
    if (
        config.parent != Path("/etc/tunrouter")
        or os.geteuid() != 0
        or not os.path.isdir("/run/systemd/system")
    ):
        return False
    return bool(shutil.which("systemctl")) and any(map(os.path.exists, UNIT))
