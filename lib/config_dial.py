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
from lib.errors import Position
from lib.settings_dial import PLAIN_DIAL, DialSettings

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
    device, source = _interface(hop, node, targets, found)
    header = next(filter(None, (config_metadata.proxy_protocol(one, found) for one in (node, hop))), 0)
    return DialSettings(device, source, _mark(hop, node, found), header, _netns(hop, node, found), addresses)


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


def _interface(hop: Hop, node: Node, targets: tuple[str, ...], found: Findings) -> tuple[str, str]:
    """(device, source address), of which one is empty or both; `targets` as for _source."""
    for section in (node, hop):
        tree = config_metadata.find(section, "interface")
        text = config_metadata.text(section, "interface", found=found) or section.interface
        if not text:
            continue
        where = tree.where if tree is not None else section.where("interface")
        name = text.removesuffix("!")  # in GOST: no other one of the list is tried after it
        if "," in name:
            hint = "write a node for each of them, with the same addr: they stand in for each other"
            found.error(where, "'interface': several interfaces for one node are not supported yet", hint)
        elif is_address(without_zone(name)):
            return "", _source(name, where, targets, found)
        elif not _DEVICE.fullmatch(name) or len(name.encode()) > 15:
            hint = "write the name of a network device, or an address of this host"
            found.error(where, f"'interface': {text[:64]!r} is no device and no address", hint)
        else:
            return name, ""
        break
    return "", ""


def _source(text: str, where: Position, targets: tuple[str, ...], found: Findings) -> str:
    """The address that connections come from; "" for a wrong one.

    `targets` are the addresses that are dialled, where they are known.
    """
    try:
        source = zoned(text)
    except ValueError as wrong:
        found.error(where, f"'interface': {wrong}")
        return ""
    version = address(without_zone(source)).version
    if targets and all(address(without_zone(target)).version != version for target in targets):
        reached = f"{', '.join(targets[:_MAX_TOLD])}: IPv{10 - version}"
        text = f"'interface': from {source}, which is IPv{version}, nothing reaches {reached}"
        found.error(where, text, "write an address of this host of the same version, or a device")
    return source


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
