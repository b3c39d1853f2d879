"""Changes of a configuration that the web API asks for: a new configuration, the old one stays as it is.

Knows: GOST's rules of adding, replacing and deleting objects, whose references an object has, hidden secrets
that come back unchanged. Refuses to know: whether the whole is right then (config_resolve), how it takes
effect (service_changes), who may change what (api_guard).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import count

from lib import api_config, config_only_tunnel, config_read, doctor_redact, log_redact
from lib.api_config import Kind
from lib.api_request import DUPLICATE, INVALID, NOT_FOUND, Refused
from lib.config_findings import Findings, at_once
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


def removed(config: Config, kind: Kind, name: str) -> Config:
    """The configuration without an object. Raises Refused, also where another object names it."""
    old = existing(config, kind, name)
    users = referrers(config, kind, name)
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


def referrers(config: Config, kind: Kind, name: str) -> list[str]:
    """Who names an object: `service s`, `metrics` and so on."""
    key = (kind.key, config_only_tunnel.key_of(kind.key, name))
    found = [f"service {one.name}" for one in config.services if key in config_only_tunnel.named_by(one)]
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
    _check_depth(body)
    return body


def _check_depth(body: object) -> None:
    """Refuse what is nested too deep, a level at a time, before anything descends into it. Raises Refused."""
    level = [body]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for value in level for inner in _within(value)]
        if not level:
            return
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
    known = config_read.plain(old, step=step) if old is not None else {}
    found = Findings(step=step)
    shown = doctor_redact.tree(known, step=step)
    tree = tree_of(revealed(whole, known, shown, step), f"{kind.noun} {name}", step)
    section = config_read.of_tree(kind.section, tree, found)
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
        pairs = _pairs(new, old, shown)
        return [revealed(value, *pair, step) for value, pair in zip(new, pairs, strict=True)]
    if isinstance(new, str) and HIDDEN in new:
        if new == shown and old is not None:
            return old
        text = f"{HIDDEN} hides a value, and none is known here for certain: send the value itself"
        raise Refused(INVALID, text)
    return new


def _folded(value: object) -> dict[str, object]:
    return {str(key).lower(): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _pairs(new: list[object], old: object, shown: object) -> list[Pair]:
    """For each item of a list the old one that it stands for, and what of that was shown; Nones for neither.

    It is the one of the same name, else the one that looked the same. A place alone says too little: whoever
    takes out the first of two passwords moves the second one there.
    """
    hiding = [_hides(item) for item in new]
    if not any(hiding):
        return [_NEITHER] * len(new)
    olds = list(zip(old, shown, strict=True)) if isinstance(old, list) and isinstance(shown, list) else []
    names = Counter(_identity(pair[0]) for pair in olds)
    by_name = {_identity(pair[0]): pair for pair in olds}
    found = _alike(new, olds)
    for index, item in enumerate(new):
        name = _identity(item)
        if not hiding[index]:
            found[index] = _NEITHER
        elif name and names[name] < 2:
            found[index] = by_name.get(name, _NEITHER)
    return found


def _alike(new: list[object], olds: Sequence[Pair]) -> list[Pair]:
    """For each item the old one that looked the same, where as many look so as before.

    Where one item alone differs, and none has come or gone, it stands for the one in its place.
    """
    looks = [json.dumps(item, sort_keys=True) for item in new]
    before = [json.dumps(shown, sort_keys=True) for _, shown in olds]
    places: dict[str, list[int]] = {}
    for index in reversed(range(len(before))):
        places.setdefault(before[index], []).append(index)
    many = Counter(looks)
    kept = {look for look, found in places.items() if many[look] == len(found)}
    differing = [index for index, pair in enumerate(zip(looks, before, strict=False)) if len(set(pair)) > 1]
    found = [olds[places[look].pop()] if look in kept else _NEITHER for look in looks]
    if len(looks) == len(before) and len(differing) == 1 and looks[differing[0]] not in kept:
        found[differing[0]] = olds[differing[0]]
    return found


def _hides(value: object) -> bool:
    if isinstance(value, str):
        return HIDDEN in value
    return any(map(_hides, _within(value)))


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
