"""Look-ups of the kernel's routing decision on an address, also as if some devices were not there.

Knows: how the kernel is asked (RTM_GETROUTE), and which of the replies for several devices would win: the
table that a rule asks first, the longest prefix, the lowest metric.
Refuses to know: what the decision is for (netlink_host_routes).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lib.netlink_request import family, refusal

FIB_MATCH = 0x2000 | 0x1000
"""Flags with which the kernel replies with the route itself (RTM_F_FIB_MATCH) and its table
(RTM_F_LOOKUP_TABLE)."""
RTN_UNICAST = 1
"""The type of a route that leads to other hosts."""

_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_FR_ACT_TO_TBL, _FIB_RULE_INVERT = 1, 2
_NOT_SUPPRESSED = 0xFFFFFFFF


def look_up(ip: Any, address: str, **more: Any) -> Any:
    """The kernel's decision on an address; None where it has no route."""
    try:
        return ip.route("get", dst=address, family=family(address), **more)[0]
    except refusal():
        return None


def best(ip: Any, address: str, without: Collection[int], marked: dict[str, int]) -> Any:
    """The route that the kernel would take if these devices were not there; None for none."""
    found = []
    for link in ip.get_links():
        if link["flags"] & (_IFF_UP | _IFF_LOOPBACK) == _IFF_UP and link["index"] not in without:
            route = look_up(ip, address, oif=link["index"], flags=FIB_MATCH, **marked)
            if route is not None and route["type"] == RTN_UNICAST:
                found.append(route)
    tables = {_table(route) for route in found}
    rules = list(ip.get_rules(family=family(address))) if len(tables) > 1 else []
    mark = marked.get("mark", 0)
    return min(found, key=lambda route: _rank(route, rules, mark), default=None)


def _rank(route: Any, rules: list[Any], mark: int) -> tuple[int, int, int]:
    """A route's place among those that the kernel could take: the lowest wins."""
    length, table = route["dst_len"], _table(route)
    asked = (at for at, rule in enumerate(rules) if _asks(rule, table, length, mark))
    return next(asked, len(rules)), -length, route.get_attr("RTA_PRIORITY") or 0


def _asks(rule: Any, table: int, length: int, mark: int) -> bool:
    """Whether a rule looks into a table for this mark, and takes a prefix of this length from there."""
    suppressed = rule.get_attr("FRA_SUPPRESS_PREFIXLEN")
    if rule["action"] != _FR_ACT_TO_TBL or rule.get_attr("FRA_TABLE") != table:
        return False
    wanted = rule.get_attr("FRA_FWMARK")
    if wanted:
        mask = rule.get_attr("FRA_FWMASK") or 0xFFFFFFFF
        fits = (mark ^ wanted) & mask == 0
        if fits == bool(rule["flags"] & _FIB_RULE_INVERT):
            return False
    return suppressed in (None, _NOT_SUPPRESSED) or length > suppressed


def _table(route: Any) -> int:
    table: int = route.get_attr("RTA_TABLE") or route["table"]
    return table
