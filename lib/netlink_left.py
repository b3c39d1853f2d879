"""What a killed client has left on a persistent TUN device: addresses, routes, a note on how it was before.

Knows: our origin (`ip route show proto 117`), by which addresses and routes of ours are told from all others,
and the note in the device's alias (`ip link`) that says how the device was before.
Refuses to know: when a device is taken over and given back (netlink_adopt).

A device that is not persistent goes with its process, and everything on it. The kernel keeps the origin of an
address since Linux 5.18; before, addresses that a killed client has left stay.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from lib.errors import HostError
from lib.netlink_request import ask, opened, refusal

PROTOCOL = 117
"""The origin of addresses and routes that we set (rtm_protocol, IFA_PROTO)."""

_NOTE = "tunrouter found it {} mtu {} txqlen {} gso {}/{} mode {}"
_NAMES = " names"
_NOTED = re.compile(
    rf"tunrouter found it (up|down) mtu (\d+) txqlen (\d+) gso (\d+)/(\d+) mode (-?\d+)(?P<names>{_NAMES})?"
)
_GONE = (3, 99, 2, 101)  # ESRCH, EADDRNOTAVAIL, ENOENT, ENETUNREACH: it went with something else
_MAIN = 254


class Before(NamedTuple):
    """How a device was before a client took it over."""

    up: bool
    mtu: int
    queue_length: int
    gso_max_size: int
    gso_max_segs: int
    address_mode: int
    has_names: bool = False
    """Whether a client has told systemd-resolved name servers of it since, and has not taken them back."""


def sweep(index: int) -> Before | None:
    """Remove what a killed client has left; returns how it had found the device, None where no one noted it.

    Raises HostError. Where nothing was left nothing is changed, so that no privilege is needed.
    """
    with opened(strict=True) as ip:
        alias = ip.get_links(index)[0].get_attr("IFLA_IFALIAS") or ""
        addresses = [one for one in ip.get_addr(index=index) if _is_ours(one.get_attr("IFA_PROTO"))]
        routes = [one for version in (2, 10) for one in _routes(ip, version, index)]
    noted = _NOTED.fullmatch(alias)
    if addresses or routes or noted:
        with opened() as ip:
            for one in routes:
                destination = one.get_attr("RTA_DST") or ("0.0.0.0" if one["family"] == 2 else "::")
                which = {"dst": f"{destination}/{one['dst_len']}", "family": one["family"], "oif": index}
                ask("a route that was left", ip.route, "del", ignore=_GONE, scope=255, **which)
            for one in addresses:
                local = one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")
                fields = {"address": local, "prefixlen": one["prefixlen"], "family": one["family"]}
                ask("an address that was left", ip.addr, "del", ignore=_GONE, index=index, **fields)
    if noted is None:
        return None
    mtu, txqlen, size, segments, mode = map(int, noted.groups()[1:6])
    return Before(noted[1] == "up", mtu, txqlen, size, segments, mode, bool(noted["names"]))


def note(index: int, before: Before | None) -> None:
    """Note on a device how it was found, unless it has an alias of somebody else's; None takes the note away.

    Raises HostError where that is refused.
    """
    with opened() as ip:
        alias = ip.get_links(index)[0].get_attr("IFLA_IFALIAS") or ""
        wanted = _NOTE.format("up" if before.up else "down", *before[1:6]) if before is not None else ""
        if alias != wanted and (not alias or _NOTED.fullmatch(alias)):
            ask("its alias", ip.link, "set", index=index, ifalias=wanted)


def note_names(index: int, has_names: bool) -> None:
    """Note on a device beside how it was found that it has name servers of ours, or has none any more.

    A device without such a note goes with its process, and its name servers too. Raises HostError.
    """
    with opened() as ip:
        alias = ip.get_links(index)[0].get_attr("IFLA_IFALIAS") or ""
        wanted = alias.removesuffix(_NAMES) + _NAMES * has_names
        if _NOTED.fullmatch(alias) and alias != wanted:
            ask("its alias", ip.link, "set", index=index, ifalias=wanted)


def _is_ours(protocol: int | None) -> bool:
    return protocol == PROTOCOL


def _routes(ip: Any, version: int, index: int) -> list[Any]:
    """Our routes of the main table out of a device."""
    try:
        found = list(ip.get_routes(family=version, table=_MAIN, oif=index))
    except refusal():  # no IPv6 here
        return []
    except OSError as error:
        raise HostError(f"netlink: {error.strerror or error}") from None
    return [one for one in found if one["proto"] == PROTOCOL and one.get_attr("RTA_OIF") == index]
