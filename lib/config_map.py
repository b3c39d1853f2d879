"""`map` of a client, checked: networks behind the host, and the prefixes under which others see them.

Knows: the two ways to write it, which maps contradict each other or the device's own addresses.
Refuses to know: the rest of a client (config_client), how packets are translated (netfilter_map).

    map: {10.71.0.0/24: 192.168.1.0/24}      in a file
    map=10.71.0.0/24:192.168.1.0/24          in a URL, several with commas between
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lib import config_metadata
from lib.addresses import prefix
from lib.config_findings import Findings
from lib.config_schema import Handler
from lib.config_yaml import Mapping, Scalar
from lib.errors import Position
from lib.prefixes import Prefix, covers, overlap, packed, text
from lib.settings import DeviceSettings, Network
from lib.settings_map import PrefixMap

MAX_MAPS = 64
_PAIR = re.compile(r"([^/]+/\d+|[\d.]+):(.+)")
"""What others see has its length, so that the colons of IPv6 and the one between are told apart."""


def maps_of(handler: Handler, device: DeviceSettings, found: Findings) -> tuple[PrefixMap, ...]:
    """The maps of a client. What is wrong is a problem in `found`, and not in the result."""
    config_metadata.refuse_empty(handler, "map", found)
    maps: dict[PrefixMap, Position] = {}
    for one, where in found.each(_written(handler, found)):
        if _is_sound(one, where, found) and _agrees(one, maps, where, found):
            _check_device(one, device, where, found)
            maps[one] = where
    if len(maps) > MAX_MAPS:
        found.error(handler.where("metadata.map"), f"'map': more than {MAX_MAPS} networks")
    return tuple(maps)


def _written(handler: Handler, found: Findings) -> Iterator[tuple[PrefixMap, Position]]:
    tree = config_metadata.find(handler, "map")
    pairs: list[tuple[str, str, Position]] = []
    if isinstance(tree, Mapping):
        for key, value in tree.items:
            if isinstance(value, Scalar):
                pairs.append((key.text, value.text, key.where))
            else:
                found.error(value.where, f"'map': {key.text[:64]!r} wants one network", _HINT)
    else:
        for item in config_metadata.listed(handler, "map", found=found):
            parts = _PAIR.fullmatch(item.text)
            if parts is not None:
                pairs.append((parts[1], parts[2], item.where))
            else:
                found.error(item.where, f"'map': {item.text[:64]!r} is no pair of prefixes", _HINT)
    for outside, inside, where in pairs:
        try:
            networks = _network(outside, where, found), _network(inside, where, found)
        except ValueError as wrong:
            found.error(where, f"'map': {wrong}", _HINT)
            continue
        yield PrefixMap(*networks), where


_HINT = "write what others see, then the network behind this host: map: {10.71.0.0/24: 192.168.1.0/24}"


def _network(written: str, where: Position, found: Findings) -> Prefix:
    network: Network = prefix(written.strip())
    if not network.prefixlen or network.is_loopback or network.is_multicast or network.is_link_local:
        raise ValueError(f"{network} is no network of hosts that others could reach")
    found.warn_widened(where, "map", written.strip())
    return packed(network)


def _is_sound(one: PrefixMap, where: Position, found: Findings) -> bool:
    """Whether the two prefixes of a map fit each other."""
    (outside, wide), (inside, narrow) = one
    if len(outside) != len(inside):
        found.error(where, f"'map': {one} are of two versions of IP")
    elif wide != narrow:
        hint = f"write {text(outside, wide).partition('/')[0]}/{narrow}, or another network of that size"
        found.error(
            where, f"'map': {one} differ in length, and each address stands for exactly one other", hint
        )
    elif overlap(*one):
        hint = "choose a prefix that no site has, such as one of 10.0.0.0/8 or of fd00::/8"
        found.error(where, f"'map': {one} overlap: nobody could tell which of the two is meant", hint)
    else:
        return True
    return False


def _agrees(one: PrefixMap, others: dict[PrefixMap, Position], where: Position, found: Findings) -> bool:
    """Whether no address of a map stands in another one."""
    for other in others:
        for ours in one:
            for theirs in other:
                if overlap(ours, theirs):
                    what = f"{text(*ours)} overlaps with {text(*theirs)}, which is in the map {other}"
                    found.error(where, f"'map': {what}", "each network and each prefix can be mapped once")
                    return False
    return True


def _check_device(one: PrefixMap, device: DeviceSettings, where: Position, found: Findings) -> None:
    """The device's own addresses and routes must not be in what is translated."""
    for own in device.addresses:
        for which in one:
            if covers(*which, own.ip.packed):
                text_of = text(*which)
                hint = "give net= an address of another network: that of the tunnel, not that of the site"
                found.error(
                    where,
                    f"'map': the device's own address {own.ip} is in {text_of}, and is translated",
                    hint,
                )
    for route, _ in device.routes:
        if covers(*one.inside, route.network_address.packed) and route.prefixlen >= one.inside[1]:
            what = f"the route {route} leads into the tunnel, and {text(*one.inside)} is behind this host"
            found.error(where, f"'map': {what}", "write a route to what the others show of their network")
