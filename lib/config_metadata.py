"""Metadata of services and nodes: keys checked against the known ones, values read by type.

Knows: that GOST repeats every parameter in the metadata of all layers, and that only one layer reads it.
Refuses to know: which keys there are (config_gost_keys) and what they do (config_resolve).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from lib.config_findings import Findings
from lib.config_gost_keys import Key, Keys, key_hint
from lib.config_instead import instead_of_key
from lib.config_section import Metadata
from lib.config_yaml import Scalar, Sequence, Tree
from lib.errors import Position
from lib.go_values import SECONDS, parse_duration, parse_integer, parse_switch
from lib.settings import DEFAULT_KEEPALIVE, DEFAULT_LANES

T = TypeVar("T")


class Layer(Protocol):
    """A section with metadata."""

    @property
    def metadata(self) -> Metadata:
        """Metadata key -> its value as a tree (config_yaml)."""

    def where(self, name: str = "") -> Position:
        """The place of a field, or of `metadata.key`, in the configuration."""


def check(layers: Mapping[str, Layer | None], keys: Keys, what: str, found: Findings) -> None:
    """Check every metadata key of all layers of one service or node, each key once.

    Unknown keys and those that are not supported yet are problems. Keys without effect are warnings, also
    those that stand only in layers that do not read them. `what` names the owner in messages.
    """
    places: dict[str, tuple[str, Position]] = {}
    for name, layer in layers.items():
        for key in layer.metadata if layer else ():
            owner = keys[key.lower()].layer if key.lower() in keys else ""
            if key.lower() not in places or name == owner:
                places[key.lower()] = name, _key_position(layer, key)
    for text, (name, where) in places.items():
        known = keys.get(text)
        if known is None:
            _unknown(text, where, keys, what, found)
        else:
            _judge(known, name, where, found)


def _key_position(layer: Layer | None, key: str) -> Position:
    assert layer is not None  # only layers with keys get here
    return layer.where(f"metadata.{key.lower()}")


def _unknown(key: str, where: Position, keys: Keys, what: str, found: Findings) -> None:
    found.error(where, f"unknown metadata key {key[:64]!r} for {what}", key_hint(key, keys))


def _judge(known: Key, layer: str, where: Position, found: Findings) -> None:
    key = known.name
    if known.not_yet:
        found.error(where, f"metadata key {key!r} is not supported yet", instead_of_key(key))
    elif known.odd:
        found.warn(where, f"metadata key {key!r} {known.odd}")
    elif layer not in (known.layer, known.also):
        found.warn(
            where, f"{key!r} has no effect in {layer} metadata", f"it belongs to {known.layer} metadata"
        )


def find(layer: Layer, *names: str) -> Tree | None:
    """The value of the first of these keys that is set and not empty; None where none is."""
    lower = {key.lower(): value for key, value in layer.metadata.items()}
    for name in names:
        value = lower.get(name.lower())
        if value is not None and not (isinstance(value, Scalar) and (value.is_null or not value.text)):
            return value
    return None


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
