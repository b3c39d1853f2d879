"""`interface`, `so_mark`, `hosts` and the like of a hop and its nodes, checked and turned into DialSettings.

Knows: where GOST takes them from, and which of several counts; how a name is found in a hosts section.
Refuses to know: what else a node has (config_client), how a connection is made (stream_dial).

    interface, so_mark    the node's metadata, the node's own key, the hop's metadata, the hop's own key:
                          the first of these that is there
    netns                 the node's metadata, the node's own key, the hop's metadata
    proxyProtocol         the node's metadata, the hop's metadata: the first of these that is there
    hosts                 the node's, else the hop's: the name of a section in the top-level `hosts`
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lib import config_metadata
from lib.addresses import address, is_address, without_zone, zoned
from lib.config_findings import Findings
from lib.config_schema import Config, Hop, HostMapping, Hosts, Node
from lib.config_yaml import Scalar, Sequence
from lib.errors import Position
from lib.settings_dial import PLAIN_DIAL, DialSettings, Interface

_DEVICE = re.compile(r"[^\s/:%,\x00-\x1f\x7f]{1,15}")
_MARKS = range(1 << 32)
_MAX_TOLD = 4
"""Addresses in a message."""

Tables = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Name of a hosts section -> name of a host -> its addresses."""


def hosts_tables(config: Config, found: Findings) -> Tables:
    """Every hosts section; a wrong row is a problem in `found`."""
    return {section.name: _table(section, found) for section in config.hosts}


def _table(section: Hosts, found: Findings) -> Mapping[str, tuple[str, ...]]:
    rows: dict[str, dict[str, None]] = {}
    if "reload" in section.at and section.file is None:
        found.warn(section.where("reload"), "'reload' without a file: there is nothing to read again")
    for row in found.each(section.mappings):
        target = _address(row, found)
        if not row.hostname:
            found.error(row.where("hostname"), "a mapping without a hostname")
        elif target:
            rows.setdefault(row.hostname, {})[target] = None
    return {name: tuple(targets) for name, targets in found.each(rows.items())}


def _address(row: HostMapping, found: Findings) -> str:
    try:
        return zoned(row.ip)
    except ValueError as wrong:
        found.error(row.where("ip"), f"'ip': {wrong}")
        return ""


def dial_settings(
    hop: Hop, node: Node, host: str, tables: Tables, is_first: bool, found: Findings
) -> DialSettings:
    """How a node is dialled. `host` is the name in its address.

    Only the first hop's nodes are dialled by this host: behind a proxy a device or a mark has no effect.
    """
    addresses = _mapped(hop, node, host, tables, found)
    if not is_first:
        for key, where in _own_socket(hop, node):
            text = f"{key!r} has no effect behind a proxy, as in GOST: this host dials the first hop alone"
            found.warn(where, text, "write it there")
        return DialSettings(addresses=addresses) if addresses else PLAIN_DIAL
    targets = addresses or ((host,) if is_address(without_zone(host)) else ())
    first, *others = _interfaces(hop, node, targets, found) or [Interface()]
    return DialSettings(
        device=first.device,
        source=first.source,
        mark=_mark(hop, node, found),
        proxy_protocol=next(
            filter(None, (config_metadata.proxy_protocol(one, found) for one in (node, hop))), 0
        ),
        netns=_netns(hop, node, found),
        addresses=addresses,
        strict=first.strict and bool(others),
        others=tuple(others),
    )


def _own_socket(hop: Hop, node: Node) -> Iterator[tuple[str, Position]]:
    """(key, place) of everything about the socket that a hop or a node says."""
    for section in (node, hop):
        for key in ("interface", "so_mark", "netns", "proxyProtocol"):
            tree = config_metadata.find(section, key)
            if tree is not None:
                yield key, tree.where
        if section.interface:
            yield "interface", section.where("interface")
        if section.sockopts:
            yield "sockopts", section.where("sockopts")


def _interfaces(hop: Hop, node: Node, targets: tuple[str, ...], found: Findings) -> list[Interface]:
    """What a connection is made from, in the order in which it is tried; `targets` as for _misses."""
    for section in (node, hop):
        items = interface_items(section, found)
        if items:
            break
    else:
        return []
    made = list(dict.fromkeys(filter(None, (_one_interface(item, found) for item in found.each(items)))))
    sources = [one.source for one in made]
    misses = [_misses(one, targets) if one else "" for one in sources]
    if made and all(misses):
        hint = "write an address of this host of the same version, or a device"
        found.error(items[0].where, misses[0], hint)
    return made


def interface_items(section: Hop | Node, found: Findings) -> list[Scalar]:
    """The items of a section's `interface`, in its metadata or its own key, each with its place.

    They are a list, or one text with commas; with an empty item the kernel chooses, as in GOST.
    """
    tree = config_metadata.find(section, "interface")
    if tree is None:
        texts = [Scalar(section.interface, section.where("interface"))]
    elif isinstance(tree, Sequence):
        texts = [item for item in tree.items if isinstance(item, Scalar)]
        for item in tree.items:
            if not isinstance(item, Scalar):
                found.error(item.where, "'interface' wants a list of texts")
    elif isinstance(tree, Scalar):
        texts = [tree]
    else:
        found.error(tree.where, "'interface' wants a device, an address, or a list of them")
        return []
    items = [Scalar(word.strip(), text.where) for text in texts for word in text.text.split(",")]
    return items if any(item.text for item in items) else []


def _one_interface(item: Scalar, found: Findings) -> Interface | None:
    """An item of `interface`; None for a wrong one. After one that ends in ! nothing else is tried."""
    name, strict = item.text.removesuffix("!"), item.text.endswith("!")
    if not name and not strict:
        return Interface()
    if is_address(without_zone(name)):
        try:
            return Interface("", zoned(name), strict)
        except ValueError as wrong:
            found.error(item.where, f"'interface': {wrong}")
    elif not _DEVICE.fullmatch(name) or len(name.encode()) > 15:
        hint = "write the name of a network device, or an address of this host"
        found.error(item.where, f"'interface': {item.text[:64]!r} is no device and no address", hint)
    else:
        return Interface(name, "", strict)
    return None


def _misses(source: str, targets: tuple[str, ...]) -> str:
    """Why nothing can be reached from an address, in words; "" where something can.

    `targets` are the addresses that are dialled, where they are known.
    """
    version = address(without_zone(source)).version
    if not targets or any(address(without_zone(target)).version == version for target in targets):
        return ""
    reached = f"{', '.join(targets[:_MAX_TOLD])}: IPv{10 - version}"
    return f"'interface': from {source}, which is IPv{version}, nothing reaches {reached}"


def _mark(hop: Hop, node: Node, found: Findings) -> int:
    for section in (node, hop):
        tree = config_metadata.find(section, "so_mark")
        mark = config_metadata.integer(section, ("so_mark",), 0, found)
        where = tree.where if tree is not None else section.where("sockopts")
        if not mark and section.sockopts:
            mark, where = section.sockopts.mark, section.sockopts.where("mark")
        if mark not in _MARKS:
            found.error(where, f"so_mark: {mark} is not within 0 to {_MARKS.stop - 1}")
            return 0
        if mark:
            return mark
    return 0


def _netns(hop: Hop, node: Node, found: Findings) -> str:
    return (
        config_metadata.netns(node, found)
        or config_metadata.check_netns(node.netns, node.where("netns"), found)
        or config_metadata.netns(hop, found)
    )


def _mapped(hop: Hop, node: Node, host: str, tables: Tables, found: Findings) -> tuple[str, ...]:
    """The addresses that the node's or hop's hosts section has for a name; () where it has none."""
    section = node if node.hosts else hop
    if not section.hosts:
        return ()
    if section.hosts not in tables:
        hint = found.guess(section.hosts, tables) or "write hosts: [{name: …, mappings: …}] at the top level"
        found.error(section.where("hosts"), f"there is no hosts section {section.hosts[:64]!r}", hint)
        return ()
    return look_up(tables[section.hosts], host)


def look_up(rows: Mapping[str, tuple[str, ...]], host: str) -> tuple[str, ...]:
    """The addresses of a name: its own, else those of the longest `.x` where it is x or ends with .x.

    The row `.` is for every name. As in GOST (x/hosts).
    """
    parts = host.split(".")
    endings = (f".{'.'.join(parts[index:])}" for index in range(len(parts)))
    return next((rows[name] for name in (host, *endings, ".") if name in rows), ())
