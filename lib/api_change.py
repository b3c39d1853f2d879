"""Changes of a configuration that the web API asks for: a new configuration, the old one stays as it is.

Knows: GOST's rules of adding, replacing and deleting objects, whose references an object has, hidden secrets
that come back unchanged. Refuses to know: whether the whole is right then (config_resolve), how it takes
effect (service_changes), who may change what (api_guard).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from hashlib import blake2b
from itertools import count

import msgspec

from lib import api_config, config_only_tunnel, config_read, doctor_redact, log_redact
from lib.api_config import Kind
from lib.api_request import DUPLICATE, INVALID, NOT_FOUND, Refused
from lib.config_findings import Findings, at_once
from lib.config_print import is_big
from lib.config_schema import Config
from lib.config_section import Part
from lib.config_yaml import Mapping as TreeMapping
from lib.config_yaml import Scalar, Tree
from lib.config_yaml import Sequence as TreeSequence
from lib.errors import Position, Problem
from lib.humanize import listed
from lib.log_redact import HIDDEN

MAX_DEPTH = 40
"""Levels of nesting of a body, as of a file (config_yaml)."""
_TOO_DEEP = f"the body is nested deeper than {MAX_DEPTH}"
_SORTED = msgspec.json.Encoder(order="sorted").encode
_IDENTITIES = ("name", "username", "hostname")
"""Keys by which an item of a list is known again."""


def added(
    config: Config, kind: Kind, body: object, step: Callable[[], None] = at_once
) -> tuple[Config, Part]:
    """(configuration, object) with one more object, named in its body. Raises Refused. Steps: Findings."""
    values, name = _object(body), given_name(body)
    if not name:
        raise Refused(INVALID, f"{kind.noun} name is required")
    if api_config.find(config, kind, name) is not None:
        raise Refused(DUPLICATE, f"{kind.noun} {name} already exists")
    section = _section(kind, name, values, None, step)
    return _with(config, kind, [*api_config.sections(config, kind), section]), section


def replaced(
    config: Config, kind: Kind, name: str, body: object, step: Callable[[], None] = at_once
) -> tuple[Config, Part]:
    """As added(), with another object in the place of the one of this name."""
    old = existing(config, kind, name)
    section = _section(kind, name, _object(body), old, step)
    found = [section if one is old else one for one in api_config.sections(config, kind)]
    return _with(config, kind, found), section


def removed(config: Config, kind: Kind, name: str, step: Callable[[], None] = at_once) -> Config:
    """The configuration without an object. Raises Refused, also where another object names it."""
    old = existing(config, kind, name)
    users = referrers(config, kind, name, step)
    if users:
        raise Refused(
            INVALID,
            f"{kind.noun} {name} is used by {listed(users, 8)}: take it out there first. GOST deletes it all "
            "the same, and a name that nothing has then lets in everybody, or nobody",
        )
    return _with(config, kind, [one for one in api_config.sections(config, kind) if one is not old])


def existing(config: Config, kind: Kind, name: str) -> Part:
    """The object of this name. Raises Refused where there is none."""
    found = api_config.find(config, kind, name)
    if found is None:
        raise Refused(NOT_FOUND, f"{kind.noun} {name} not found")
    return found


def referrers(config: Config, kind: Kind, name: str, step: Callable[[], None] = at_once) -> list[str]:
    """Who names an object: `service s`, `metrics` and so on."""
    key = (kind.key, config_only_tunnel.key_of(kind.key, name))
    found = []
    for service in config.services:
        found += [f"service {service.name}"] if key in config_only_tunnel.named_by(service) else []
        step()
    if kind.key == "hops":
        found += [
            f"chain {one.name}"
            for one in config.chains
            if any(hop.name == name and not hop.nodes for hop in one.hops)
        ]
    if kind.key == "hosts":
        hops = [(f"chain {chain.name}", hop) for chain in config.chains for hop in chain.hops]
        hops += [(f"hop {hop.name}", hop) for hop in config.hops]
        found += [what for what, hop in hops if name in (hop.hosts, *(node.hosts for node in hop.nodes))]
    if kind.key == "authers":
        parts = (("metrics", config.metrics), ("api", config.api))
        found += [what for what, part in parts if part is not None and part.auther == name]
    return found


def told(problems: Sequence[Problem]) -> str:
    """What is wrong with a configuration, in one line for the one who has asked for it."""
    texts = [f"{one.message}{f'; {one.hint}' if one.hint else ''}" for one in problems]
    return log_redact.secrets(listed(list(dict.fromkeys(texts)), 3))  # a message may quote a URL


def _object(body: object) -> dict[str, object]:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise Refused(INVALID, "the body is no object of JSON: send the bare object, {…}")
    return body


def _is_hiding(body: object, step: Callable[[], None]) -> bool:
    """Whether a body has hidden values. It is looked through a level at a time.

    Raises Refused where it is nested too deep, before anything descends into it.
    """
    level, found = [body], False
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for value in level:
            for inner in _within(value):
                if isinstance(inner, str):
                    found = found or HIDDEN in inner
                elif isinstance(inner, dict | list):
                    below.append(inner)
                step()
        level = below
        if not level:
            return found
    raise Refused(INVALID, _TOO_DEEP)


def _within(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()


def given_name(body: object) -> str:
    """The name in a body, "" where it has none."""
    values = body.items() if isinstance(body, dict) else ()
    name = next((value for key, value in values if key.lower() == "name"), "")
    return name.strip() if isinstance(name, str) else ""


def _section(
    kind: Kind, name: str, values: Mapping[str, object], old: Part | None, step: Callable[[], None]
) -> Part:
    """The object of a body, under this name. Raises Refused."""
    whole = {"name": name, **{key: value for key, value in values.items() if key.lower() != "name"}}
    if kind.key == "services":  # what GOST shows beside a service, and reads nowhere
        whole = {key: value for key, value in whole.items() if key.lower() != "status"}
    said: object = whole
    if _is_hiding(whole, step):
        known = config_read.plain(old, step=step) if old is not None else {}
        said = revealed(whole, known, doctor_redact.tree(known, step=step), step)
    found = Findings(step=step)
    tree = tree_of(said, f"{kind.noun} {name}", step)
    section = config_read.of_tree(kind.section, tree, found)
    config_read.release_trees(section, [tree], step)
    if found.problems:
        raise Refused(INVALID, f"{kind.noun} {name}: {told(found.problems)}")
    return section


def _with(config: Config, kind: Kind, sections: list[Part]) -> Config:
    made = copy(config)
    setattr(made, kind.key, sections)
    return made


# --- hidden secrets -----------------------------------------------------------------------------


Pair = tuple[object, object]
"""(an old value, what of it was shown)."""
_NEITHER: Pair = None, None


def revealed(new: object, old: object, shown: object, step: Callable[[], None] = at_once) -> object:
    """A value with the secrets that its reader was not shown: what is as `shown` has it is as in `old`.

    So an object that was read and is sent back with a change keeps its passwords. Raises Refused for a
    hidden value where it is not certain which one it is, and for a text of which a part is hidden and
    another one was changed. `step` as in Findings.
    """
    step()
    if isinstance(new, Mapping):
        olds = _folded(old)
        showns = _folded(shown)
        return {
            key: revealed(value, olds.get(key.lower()), showns.get(key.lower()), step)
            for key, value in new.items()
        }
    if isinstance(new, list):
        pairs = _pairs(new, old, shown, step)
        return [revealed(value, *pair, step) for value, pair in zip(new, pairs, strict=True)]
    if isinstance(new, str) and HIDDEN in new:
        if new == shown and old is not None:
            return old
        text = f"{HIDDEN} hides a value, and none is known here for certain: send the value itself"
        raise Refused(INVALID, text)
    return new


def _folded(value: object) -> dict[str, object]:
    return {str(key).lower(): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _pairs(new: list[object], old: object, shown: object, step: Callable[[], None]) -> list[Pair]:
    """For each item of a list the old one that it stands for, and what of that was shown; Nones for neither.

    It is the one of the same name, else the one that looked the same. A place alone says too little: whoever
    takes out the first of two passwords moves the second one there.
    """
    hiding = [_hides(item, step) for item in new]
    if not any(hiding):
        return [_NEITHER] * len(new)
    olds = list(zip(old, shown, strict=True)) if isinstance(old, list) and isinstance(shown, list) else []
    by_name: dict[object, list[Pair]] = {}
    for pair in olds:
        by_name.setdefault(_identity(pair[0]), []).append(pair)
        step()
    found = _alike(new, olds, step)
    for index, item in enumerate(new):
        name = _identity(item) if hiding[index] else None
        named = by_name.get(name, [_NEITHER])
        if not hiding[index]:
            found[index] = _NEITHER
        elif name and len(named) == 1:
            found[index] = named[0]
        step()
    return found


def _alike(new: list[object], olds: Sequence[Pair], step: Callable[[], None]) -> list[Pair]:
    """For each item the old one that looked the same, where as many look so as before.

    Where one item alone differs, and none has come or gone, it stands for the one in its place.
    """
    looks = [_look(item, step) for item in new]
    before = [_look(shown, step) for _, shown in olds]
    places: dict[bytes, list[int]] = {}
    for index in reversed(range(len(before))):
        places.setdefault(before[index], []).append(index)
        step()
    many: dict[bytes, int] = {}
    for look in looks:
        many[look] = many.get(look, 0) + 1
        step()
    kept = {look for look, here in places.items() if many.get(look) == len(here)}
    found: list[Pair] = []
    differing: list[int] = []
    for index, look in enumerate(looks):
        found.append(olds[places[look].pop()] if look in kept else _NEITHER)
        if index < len(before) and look != before[index]:
            differing.append(index)
        step()
    if len(looks) == len(before) and len(differing) == 1 and looks[differing[0]] not in kept:
        found[differing[0]] = olds[differing[0]]
    return found


def _look(value: object, step: Callable[[], None]) -> bytes:
    """What a value looks like, whatever the order of its keys."""
    digest = blake2b(digest_size=16)
    waiting: list[object] = [value]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict | list) or not is_big(one):
            digest.update(_sorted(one) + b",")
        elif isinstance(one, dict):
            for key in sorted(one, key=str):
                waiting += [key, one[key]]
            digest.update(b"{%d" % len(one))
        else:
            waiting += one
            digest.update(b"[%d" % len(one))
        step()
    return digest.digest()


def _sorted(value: object) -> bytes:
    """JSON of a small value, keys in order."""
    try:
        return _SORTED(value)
    except (TypeError, UnicodeEncodeError):  # half of a character
        return json.dumps(value, sort_keys=True).encode()


def _hides(value: object, step: Callable[[], None]) -> bool:
    step()
    if isinstance(value, str):
        return HIDDEN in value
    return any(_hides(inner, step) for inner in _within(value))


def _identity(item: object) -> tuple[str, object] | None:
    values = _folded(item)
    return next(
        ((key, values[key]) for key in _IDENTITIES if isinstance(values.get(key), str) and values[key]), None
    )


# --- JSON as a tree -----------------------------------------------------------------------------


def tree_of(value: object, name: str, step: Callable[[], None] = at_once) -> Tree:
    """JSON's values as the tree of a text of this name. Raises Refused where it is nested too deep."""
    return _tree(value, _places(name, step), 0)


def _places(name: str, step: Callable[[], None]) -> Iterator[Position]:
    for column in count(1):
        step()
        yield Position(name, 1, column)


def _tree(value: object, places: Iterator[Position], depth: int) -> Tree:
    where = next(places)
    if depth > MAX_DEPTH:
        raise Refused(INVALID, _TOO_DEEP)
    if isinstance(value, Mapping):
        return TreeMapping(
            [(Scalar(str(key), where), _tree(inner, places, depth + 1)) for key, inner in value.items()],
            where,
        )
    if isinstance(value, list):
        return TreeSequence([_tree(inner, places, depth + 1) for inner in value], where)
    if isinstance(value, str):
        return Scalar(value, where)
    if isinstance(value, bool) or value is None:
        return Scalar({True: "true", False: "false", None: "null"}[value], where, plain=True)
    return Scalar(str(value), where, plain=True)
