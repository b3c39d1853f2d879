"""Parser from YAML (and JSON, which is a part of it) to a tree whose nodes have file, line and column.

Knows: mappings, lists, scalars as text, aliases, merge keys, and bounds on all of them.
Refuses to know: what a key means and which type it has (config_read): `0123` and `no` stay text.

The tree is built from parser events without recursion, so that nesting is limited before it uses up the
stack. An alias shares its node, and the number of nodes that aliases expand to is limited too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from math import inf, isinf
from typing import NamedTuple

import yaml

from lib.config_findings import at_once
from lib.errors import Position, Problem
from lib.go_values import parse_integer

MAX_DEPTH = 40
"""Levels of nesting."""
MAX_ALIASED = 100_000
"""Nodes that all aliases of a text together may expand to."""
_EVENTS = 64
"""Parser events of one step."""
_AT_ONCE = 1 << 16
"""Characters that are looked through in one step."""

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_FLOAT = re.compile(r"[+-]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][+-]?[0-9]+)?")
_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null|seq|map|merge|timestamp)")
# What no YAML text holds, and the lone surrogates that crash libyaml's encoder.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


class Scalar(NamedTuple):  # as Position
    """A value as text; `plain` where it has no quotes, so that it may be a number, a boolean or null."""

    text: str
    where: Position
    plain: bool = False

    @property
    def is_null(self) -> bool:
        """Whether it is YAML's null: empty, `~` or `null` without quotes."""
        return self.plain and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: list[Tree]
    where: Position


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in the order written, merge keys resolved, keys distinct without regard to case."""

    items: list[tuple[Scalar, Tree]]
    where: Position


Tree = Scalar | Sequence | Mapping


def parse(name: str, text: str, step: Callable[[], None] = at_once) -> tuple[Tree | None, list[Problem]]:
    """Parse one document; `name` is the file name in positions, `step` is called after every few events.

    Returns (tree, problems). The tree is None for an empty text and where it cannot be parsed. A syntax error
    ends the parsing, a duplicate key or a bad alias does not.
    """
    unreadable = _unreadable(text, step)
    if unreadable:
        where = _position_of(name, text, unreadable.start())
        return None, [Problem(where, f"a character no YAML text holds: {unreadable[0]!r}")]
    builder = _Builder(name)
    try:
        for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
            if not builder.take(event):
                break
            if not number % _EVENTS:
                step()
    except yaml.YAMLError as error:
        return None, [*builder.problems, _syntax_problem(name, error)]
    return builder.root, builder.problems


def release(tree: Tree, step: Callable[[], None], kept: Container[int] = ()) -> None:
    """Empty a tree that is of no more use, node by node: to free a big one at once takes long.

    `kept` are the ids of nodes that stay as they are.
    """
    waiting = [tree]
    number = 0
    while waiting:
        node = waiting.pop()
        number += 1
        if id(node) in kept:
            continue
        if isinstance(node, Sequence):
            waiting += node.items
            node.items.clear()
        elif isinstance(node, Mapping):
            waiting += (value for _, value in node.items)
            node.items.clear()
        if not number % _EVENTS:
            step()


def generic(tree: Tree) -> object:
    """The tree as plain Python values, scalars resolved as Go's yaml.v3 resolves them."""
    if isinstance(tree, Scalar):
        return _resolved(tree)
    if isinstance(tree, Sequence):
        return [generic(item) for item in tree.items]
    return {key.text.lower(): generic(value) for key, value in tree.items}


def _resolved(scalar: Scalar) -> object:
    text = scalar.text
    if not scalar.plain:
        return text
    if scalar.is_null:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    try:
        return parse_integer(text)
    except ValueError:
        number = float(text) if _FLOAT.fullmatch(text) else inf
        return text if isinf(number) else number


def _unreadable(text: str, step: Callable[[], None]) -> re.Match[str] | None:
    for start in range(0, len(text), _AT_ONCE):
        found = _UNREADABLE.search(text, start, start + _AT_ONCE)
        if found:
            return found
        step()
    return None


def _position_of(name: str, text: str, index: int) -> Position:
    line_start = text.rfind("\n", 0, index) + 1
    return Position(name, text.count("\n", 0, index) + 1, index - line_start + 1)


def _syntax_problem(name: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        context = f" {error.context}" if error.context else ""
        if error.context == "while scanning a simple key" and error.context_mark is not None:
            mark = error.context_mark  # the key itself: the problem is found where the next line begins
            context += "; behind a key come a colon and a blank"
        return Problem(Position(name, mark.line + 1, mark.column + 1), f"not YAML: {error.problem}{context}")
    return Problem(Position(name, 1, 1), f"not YAML: {' '.join(str(error).split())}")


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    where: Position
    is_mapping: bool
    anchor: str | None
    children: list[Tree] = field(default_factory=list)
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class _Builder:
    """Takes parser events one by one; see parse()."""

    name: str
    root: Tree | None = None
    problems: list[Problem] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Tree, int, int]] = field(default_factory=dict)
    aliased: int = 0
    documents: int = 0

    def take(self, event: yaml.Event) -> bool:
        """Use one event; False where parsing has to stop."""
        if isinstance(event, yaml.ScalarEvent):
            where = self._where(event)
            if event.tag:
                self._check_tag(event, where)
            # `implicit` is (no quotes and no tag, no tag): a tagged scalar such as !!str 5 is not plain
            self._add(Scalar(event.value, where, event.implicit[0]), 1, 1, event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            where = self._where(event)
            self._check_tag(event, where)
            self.stack.append(_Open(where, isinstance(event, yaml.MappingStartEvent), event.anchor))
            return len(self.stack) <= MAX_DEPTH or self._stop(where, f"nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(self.stack.pop())
        elif isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", self._where(event))
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            where = self._where(event)
            return self.documents == 1 or self._stop(where, "a second document: one is read")
        return True

    def _stop(self, where: Position, message: str) -> bool:
        self.problems.append(Problem(where, message))
        self.root = None
        return False

    def _where(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        return Position(self.name, mark.line + 1, mark.column + 1) if mark else Position(self.name)

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, where: Position) -> None:
        if event.tag and event.tag != "!" and not _STANDARD_TAG.fullmatch(event.tag):
            self.problems.append(Problem(where, f"the tag {event.tag} means nothing here"))

    def _add(self, tree: Tree, size: int, height: int, anchor: str | None) -> None:
        """Add a finished node to the list or mapping that is open, or make it the root."""
        if anchor:
            self.anchors[anchor] = (tree, size, height)
        if self.stack:
            parent = self.stack[-1]
            parent.children.append(tree)
            parent.size += size
            if height >= parent.height:
                parent.height = height + 1
        else:
            self.root = tree

    def _alias(self, anchor: str, where: Position) -> bool:
        known = self.anchors.get(anchor)
        if known is None:
            self.problems.append(Problem(where, f"the alias *{anchor} has no finished anchor &{anchor}"))
            self._add(Scalar("", where, plain=True), 1, 1, None)
            return True
        self.aliased += known[1]
        if self.aliased > MAX_ALIASED:
            return self._stop(where, f"the aliases expand to more than {MAX_ALIASED} nodes")
        if len(self.stack) + known[2] > MAX_DEPTH + 1:
            return self._stop(where, f"nested deeper than {MAX_DEPTH}")
        self._add(*known, None)
        return True

    def _close(self, opened: _Open) -> None:
        tree: Tree = Sequence(opened.children, opened.where)
        if opened.is_mapping:
            tree = Mapping(self._distinct(opened.children), opened.where)
        self._add(tree, opened.size, opened.height, opened.anchor)

    def _distinct(self, children: list[Tree]) -> list[tuple[Scalar, Tree]]:
        """Pairs of keys and values without duplicates, then those of merge keys that are not overridden."""
        seen: dict[str, tuple[Scalar, Tree]] = {}
        merges: list[Tree] = []
        each = iter(children)
        for key, value in zip(each, each, strict=True):
            if not isinstance(key, Scalar):
                self.problems.append(Problem(key.where, "a key must be a word"))
                continue
            pair = key, value
            if key.text == "<<" and key.plain:
                merges.append(value)
            elif (first := seen.setdefault(key.text.lower(), pair)) is not pair:
                message = f"the key {key.text!r} is there already"
                self.problems.append(Problem(key.where, message, f"see line {first[0].where.line}"))
        for pair in self._merged(merges) if merges else ():
            seen.setdefault(pair[0].text.lower(), pair)
        return list(seen.values())

    def _merged(self, merges: list[Tree]) -> Iterator[tuple[Scalar, Tree]]:
        for tree in merges:
            for source in tree.items if isinstance(tree, Sequence) else [tree]:
                if isinstance(source, Mapping):
                    yield from source.items
                else:
                    self.problems.append(Problem(source.where, "<< wants a mapping or a list of mappings"))
