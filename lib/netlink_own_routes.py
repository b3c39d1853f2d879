"""Host routes that tunrouters have set in the kernel: set, removed, those of processes that have ended swept.

Knows: how they are told from all others (their origin, and as metric the number of their process).
Refuses to know: where they lead, and who wants them (netlink_host_routes).
"""

from __future__ import annotations

from typing import Any

from lib import netlink_owners
from lib.netlink_lookup import FIB_MATCH, look_up
from lib.netlink_request import family, opened, reason, refusal

PROTOCOL = 116
"""The origin of our host routes (rtm_protocol), by which they are known: `ip route show proto 116`."""
OURS = {"proto": PROTOCOL, "table": 254}
"""What all of them have in common: this origin, and the table main."""

_RT_SCOPE_NOWHERE = 255  # to remove a route of any scope
_AF_INET, _AF_INET6 = 2, 10


def change(ip: Any, how: str, fields: dict[str, Any]) -> str:
    """Set ("replace") or remove ("del") a host route; returns why the kernel refused, or an empty text."""
    try:
        ip.route(how, **({**fields, "scope": _RT_SCOPE_NOWHERE} if how == "del" else fields))
    except refusal() as refused:
        return reason(refused)
    return ""


def clear(ip: Any, address: str) -> set[int]:
    """Remove all host routes to an address that are ours or another tunnel's of our kind; returns whose.

    They may be as old as each other: if each process copied the other's, a gateway that is gone would stay.
    """
    length = 32 if family(address) == _AF_INET else 128
    fields = {"dst": f"{address}/{length}", "family": family(address), **OURS}
    numbers: set[int] = set()
    for _ in range(netlink_owners.NUMBERS + 1):
        found = look_up(ip, address, flags=FIB_MATCH)
        if change(ip, "del", fields):
            break
        if found is not None and found["proto"] == PROTOCOL:
            numbers.add(found.get_attr("RTA_PRIORITY") or 0)
    return numbers


def sweep(number: int) -> None:
    """Remove the host routes of processes that have ended, and those of a `number`. Raises HostError."""
    with opened(strict=True) as ip:
        left = []
        for version in (_AF_INET, _AF_INET6):
            try:
                left += list(ip.get_routes(family=version, **OURS))
            except refusal():  # no IPv6 here
                continue
    ended = [one for one in left if one["proto"] == PROTOCOL and _is_over(one, number)]
    if ended:
        with opened() as ip:
            for one in ended:
                which = {"dst": f"{one.get_attr('RTA_DST')}/{one['dst_len']}", "family": one["family"]}
                change(ip, "del", {**which, "priority": one.get_attr("RTA_PRIORITY") or 0, **OURS})


def _is_over(route: Any, number: int) -> bool:
    whose = route.get_attr("RTA_PRIORITY") or 0
    if whose == number:
        return True
    return netlink_owners.is_free(whose)
