"""Metadata of services and nodes: keys checked against the known ones, values read by type.

Knows: that GOST repeats every parameter in the metadata of all layers, and that only one layer reads it.
Refuses to know: which keys there are (config_gost_keys) and what they do (config_resolve).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv6Network, ip_network
from typing import Protocol, TypeVar

from lib import config_url_keys
from lib.addresses import prefix
from lib.config_findings import Findings
from lib.config_gost_keys import Key, Keys, key_hint
from lib.config_instead import instead_of_key
from lib.config_own_keys import OWN
from lib.config_section import Metadata
from lib.config_yaml import Scalar, Sequence, Tree
from lib.errors import Position
from lib.go_values import SECONDS, parse_duration, parse_integer, parse_switch
from lib.prefixes import PrefixSet, packed
from lib.settings import DEFAULT_KEEPALIVE, DEFAULT_LANES, Network

T = TypeVar("T")


class Layer(Protocol):
    """A section with metadata."""

    @property
    def metadata(self) -> Metadata:
        """Metadata key -> its value as a tree (config_yaml)."""

    def where(self, name: str = "") -> Position:
        """The place of a field, or of `metadata.key`, in the configuration."""


def check(
    layers: Mapping[str, Layer | None],
    keys: Keys,
    what: str,
    found: Findings,
    repeats: config_url_keys.Repeats = config_url_keys.nothing,
) -> None:
    """Check every metadata key of all layers of one service or node.

    Unknown keys and those that are not supported yet are problems, and keys without effect are warnings, each
    once. A key that works may stand in layers that do not read it only as a copy, as GOST's -O writes it: the
    layer that reads it has it too. A copy that says something else is a warning, and a problem where the key
    is our own, for then no GOST has written it. `what` names the owner in messages; `repeats` says whether
    what only a URL has stands in the sections too.
    """
    places: dict[str, dict[str, Layer]] = {}
    for name, layer in layers.items():
        for key in layer.metadata if layer else ():
            assert layer is not None  # only layers with keys get here
            places.setdefault(key.lower(), {})[name] = layer
    for text, owners in places.items():
        known = keys.get(text)
        if known is None:
            name, layer = next(iter(owners.items()))
            _unknown(text, _key_position(layer, text), keys, what, found)
        elif known.not_yet or known.odd:
            layer = owners.get(known.layer) or next(iter(owners.values()))
            _refuse_or_warn(known, _key_position(layer, text), found)
        elif known.instead:
            _judge_left_over(known, owners, found, repeats)
        else:
            _judge_copies(known, owners, found)


def _key_position(layer: Layer, key: str) -> Position:
    return layer.where(f"metadata.{key}")


def _unknown(key: str, where: Position, keys: Keys, what: str, found: Findings) -> None:
    found.error(where, f"unknown metadata key {key[:64]!r} for {what}", key_hint(key, keys))


def _refuse_or_warn(known: Key, where: Position, found: Findings) -> None:
    key = known.name
    if known.not_yet:
        found.error(where, f"metadata key {key!r} is not supported yet", instead_of_key(key))
    else:
        found.warn(where, f"metadata key {key!r} {known.odd}")


def _judge_left_over(
    known: Key, owners: Mapping[str, Layer], found: Findings, repeats: config_url_keys.Repeats
) -> None:
    """A key that only a URL has: in metadata it may say no more than the sections do."""
    key = known.name.lower()
    for name, layer in owners.items():
        if not repeats(key, _value(layer, key)):
            where = _key_position(layer, key)
            text = f"{known.name!r} has no effect in {name} metadata, in GOST neither"
            found.error(where, text, f"write {known.instead}")
            if not where.line:  # a parameter of a URL, which is in every layer
                return


def _judge_copies(known: Key, owners: Mapping[str, Layer], found: Findings) -> None:
    """A key that works: where it stands in a layer that does not read it, the one that does has it too."""
    key, readers = known.name.lower(), (known.layer, known.also)
    reader = next((name for name in readers if name in owners), "")
    for name, layer in owners.items():
        where = _key_position(layer, key)
        if name in readers:
            continue
        if not reader:
            belongs = " or ".join(filter(None, readers))
            text = f"{known.name!r} has no effect in {name} metadata"
            found.error(where, text, f"it belongs to {belongs} metadata")
        elif _plain(_value(layer, key)) != _plain(_value(owners[reader], key)):
            text = f"{known.name!r} is another one in {reader} metadata, and that one counts"
            tell = found.error if key in OWN else found.warn
            tell(where, text, f"delete the one in {name} metadata")


def _value(layer: Layer, key: str) -> Tree:
    return next(value for name, value in layer.metadata.items() if name.lower() == key)


def _plain(tree: Tree) -> object:
    """A value without its places."""
    if isinstance(tree, Scalar):
        return tree.text
    if isinstance(tree, Sequence):
        return list(map(_plain, tree.items))
    return {key.text.lower(): _plain(value) for key, value in tree.items}


def find(layer: Layer, *names: str) -> Tree | None:
    """The value of the first of these keys that is set and not empty; None where none is."""
    lower = {key.lower(): value for key, value in layer.metadata.items()}
    for name in names:
        value = lower.get(name.lower())
        if value is not None and not (isinstance(value, Scalar) and (value.is_null or not value.text)):
            return value
    return None


def where_of(layer: Layer, key: str) -> Position:
    """Where a key is written; where its layer is, if it is not."""
    tree = find(layer, key)
    return tree.where if tree else layer.where()


def refuse_empty(layer: Layer, name: str, found: Findings) -> None:
    """Add a problem for a key that a file sets to an empty text, as a template does with an unset variable.

    For keys without which less is checked; those of a URL have been looked at (config_url).
    """
    for key, value in layer.metadata.items():
        if key.lower() == name.lower() and isinstance(value, Scalar) and not value.text and value.where.line:
            found.error(value.where, f"{name!r} is empty", "write a value, or leave the key out")


def scalar(layer: Layer, names: tuple[str, ...], parse: Callable[[str], T], default: T, found: Findings) -> T:
    """One value read by `parse`; the default where it is not set, or wrong, which is a problem in `found`."""
    tree = find(layer, *names)
    if tree is None:
        return default
    if not isinstance(tree, Scalar):
        found.error(tree.where, f"{names[-1]!r} wants one value")
        return default
    try:
        return parse(tree.text)
    except ValueError as wrong:
        found.error(tree.where, f"{names[-1]!r}: {wrong}")
        return default


def text(layer: Layer, *names: str, found: Findings) -> str:
    """A text, "" where it is not set."""
    return scalar(layer, names, str, "", found)


def switch(layer: Layer, name: str, default: bool, found: Findings) -> bool:
    """A boolean: true, false, on, off, yes, no (go_values.parse_switch)."""
    return scalar(layer, (name,), parse_switch, default, found)


def seconds(layer: Layer, name: str, default: float, found: Findings) -> float:
    """A duration in seconds, not negative; a number without unit is seconds, as in GOST's metadata."""
    return scalar(layer, (name,), _seconds, default, found)


def keepalive_timeout(layer: Layer, found: Findings) -> float:
    """keepalive.timeout: seconds of silence after which a peer counts as dead, 1 to 3,600."""
    timeout = seconds(layer, "keepalive.timeout", DEFAULT_KEEPALIVE, found)
    tree = find(layer, "keepalive.timeout")
    if tree and not 1 <= timeout <= 3600:
        found.error(tree.where, f"'keepalive.timeout': {timeout:g} s is not within 1 s to 1 h")
    return timeout


def lanes(layer: Layer, found: Findings) -> int:
    """The key lanes: how many connections a session between tunrouters may have, 1 or 2."""
    count = integer(layer, ("lanes",), DEFAULT_LANES, found)
    tree = find(layer, "lanes")
    if tree and count not in (1, 2):
        found.error(tree.where, f"'lanes': {count} is not 1 or 2")
        return DEFAULT_LANES
    return count


def proxy_protocol(layer: Layer, found: Findings) -> int:
    """The key proxyProtocol: a version of the PROXY protocol, 1 or 2; 0 for none."""
    version = integer(layer, ("proxyProtocol",), 0, found)
    tree = find(layer, "proxyProtocol")
    if tree and version not in (0, 1, 2):
        found.error(tree.where, f"'proxyProtocol': there is version 1 and 2, and not {version}")
        return 0
    return version


def prefix_set(layer: Layer, key: str, everybody: str, found: Findings) -> PrefixSet:
    """A list of addresses and prefixes; of one that holds all addresses a warning says what it does."""
    prefixes = PrefixSet()
    for item in found.each(listed(layer, key, found=found)):
        try:
            one = prefix(item.text)
        except ValueError as wrong:
            found.error(item.where, f"{key!r}: {wrong}")
            continue
        if not one.prefixlen:
            found.warn(item.where, f"{key!r}: {one} {everybody}", _WHOSE[key])
        found.warn_widened(item.where, repr(key), item.text)
        prefixes.add(packed(_unmapped(one)))
    return prefixes


_WHOSE = {
    "trustedProxies": "write the addresses of the proxies",
    "entrypoint.allow": "write the addresses of the hubs",
}


def _unmapped(one: Network) -> Network:
    """A prefix of IPv4-mapped addresses (::ffff:10.0.0.0/104) as the one of IPv4, as peers are compared."""
    inside = one.network_address.ipv4_mapped if isinstance(one, IPv6Network) else None
    return ip_network((inside, one.prefixlen - 96)) if inside and one.prefixlen >= 96 else one


def netns(layer: Layer, found: Findings) -> str:
    """The key netns: a network namespace by its name for `ip netns`, or by a path."""
    tree = find(layer, "netns")
    name = text(layer, "netns", found=found)
    return check_netns(name, tree.where, found) if tree else ""


def check_netns(name: str, where: Position, found: Findings) -> str:
    """The name of a network namespace; "" for one that none can have, which is a problem in `found`."""
    if name and not name.startswith("/") and ("/" in name or name in (".", "..")):
        hint = "write a name of `ip netns list`, or a path such as /proc/1/ns/net"
        found.error(where, f"'netns': no network namespace can have the name {name[:64]!r}", hint)
        return ""
    return name


def _seconds(text: str) -> float:
    value = parse_duration(text, SECONDS) / SECONDS
    if value < 0:
        raise ValueError(f"a duration below zero: {text!r}")
    return value


def integer(layer: Layer, names: tuple[str, ...], default: int, found: Findings) -> int:
    """An integer in Go's notation (go_values.parse_integer)."""
    return scalar(layer, names, parse_integer, default, found)


def listed(layer: Layer, *names: str, found: Findings) -> list[Scalar]:
    """The items of a YAML list or of a text with commas, without blanks around them."""
    tree = find(layer, *names)
    items = tree.items if isinstance(tree, Sequence) else [tree] if tree else []
    parts: list[Scalar] = []
    for item in found.each(items):
        if not isinstance(item, Scalar):
            found.error(item.where, f"{names[-1]!r} wants a list of texts")
            continue
        words = (word.strip() for word in found.each(item.text.split(",")))
        parts.extend(Scalar(word, item.where) for word in words if word)
    return parts
