"""Problems of `tunrouter check` with `nat` and `killswitch` here: no nft, settings that cannot be written.

Knows: what a start would fail at. Refuses to know: what they set (client_nat, client_killswitch).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lib import config_exit, netfilter_table, service_command
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.netfilter_nat import SWITCHES, shown
from lib.settings import ClientSettings, Settings

LEAST_KERNEL = (5, 7)
"""The first Linux in which a rule of postrouting knows where a packet came in."""
_SETTINGS = Path("/proc/sys/net")
_UNIT = "under the unit of the package also ReadWritePaths=/proc/sys/net (systemctl edit)"


def look(config: Config, settings: Settings, found: Findings) -> None:
    """Add what this host lacks for the clients that want to set something in nftables."""
    services = {service.name: service for service in config.services}
    for client in settings.clients:
        service = services[client.name]
        for key in (
            key for key, wanted in (("nat", client.nat), ("killswitch", client.killswitch)) if wanted
        ):
            if service_command.find(netfilter_table.PROGRAM) is None:
                text = f"{key!r} sets its rules by nft(8), which is not here"
                found.error(config_exit.place(service, key), text, "install the package nftables")
        if client.nat and _release() < LEAST_KERNEL:
            text = f"'nat': Linux {os.uname().release} masquerades nothing by the device that it came from"
            found.error(config_exit.place(service, "nat"), text, "it needs Linux 5.7 or later")
        for name in _unwritable(client):
            text = f"'nat': {name} is 0, and this user may not set it"
            found.warn(config_exit.place(service, "nat"), text, f"sysctl -w {name}=1; {_UNIT}")


def _release() -> tuple[int, ...]:
    """The kernel's major and minor number."""
    return tuple(int(word) for word in re.findall(r"\d+", os.uname().release)[:2])


def _unwritable(client: ClientSettings) -> Iterator[str]:
    """The settings that an exit needs, and that are off and cannot be set by this user."""
    if not client.nat:
        return
    device = client.device
    for version in sorted({one.version for one in (*device.addresses, *(net for net, _ in device.routes))}):
        path = _SETTINGS / SWITCHES[version]
        try:
            if path.read_text(encoding="ascii").strip() == "0" and not os.access(path, os.W_OK):
                yield shown(SWITCHES[version])
        except OSError:
            continue  # this version of IP is not here
