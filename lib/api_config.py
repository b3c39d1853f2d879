"""GOST's shapes of a configuration for reads of the web API, with every secret hidden.

Knows: the kinds of objects and GOST's word for each, lists and single objects, the whole configuration.
Refuses to know: what a running service is doing (api_status), how an object is changed (api_change).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from weakref import ReferenceType, ref

from msgspec.structs import fields

from lib import api_big, api_json, config_print, config_read, doctor_redact
from lib.api_request import Who
from lib.config_findings import at_once
from lib.config_schema import Config
from lib.config_section import Part, Section, section_fields
from lib.config_tables import namespace_of
from lib.settings_api import TENANT

Status = Callable[[str], bytes | None]
"""Name of a service -> what is said of it while it runs, as JSON; None for nothing."""
Step = Callable[[], None]
"""Is called after each little piece of work."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects that a configuration has a list of."""

    key: str
    """The key of the list, and the word in a path: services."""
    noun: str
    """GOST's word in messages: service; a limiter for all three kinds of them."""
    section: type[Part]


_NOUNS = {
    "services": "service",
    "chains": "chain",
    "hops": "hop",
    "authers": "auther",
    "admissions": "admission",
    "hosts": "hosts",
    "ingresses": "ingress",
    "sds": "sd",
    "limiters": "limiter",
    "climiters": "limiter",
    "rlimiters": "limiter",
    "routers": "router",
    "observers": "observer",
}


def _kinds() -> dict[str, Kind]:
    found = {}
    for field in fields(Config):
        noun = _NOUNS.get(field.name)
        if noun:
            found[field.name] = Kind(field.name, noun, field.type.__args__[0])
    return found


KINDS = _kinds()
"""Key of a list -> the kind; of one that is not supported yet there is none, and none is taken."""


def sections(config: Config, kind: Kind) -> list[Part]:
    """The objects of a kind, in order."""
    found: list[Part] = getattr(config, kind.key)
    return found


def find(config: Config, kind: Kind, name: str) -> Part | None:
    """An object by its name."""
    return next((one for one in sections(config, kind) if getattr(one, "name", "") == name), None)


def shown(
    section: Section, status: object = None, style: str = "json", step: Step = at_once
) -> dict[str, object]:
    """An object as GOST shows it, secrets hidden, with its status where there is one."""
    plain = config_read.plain(section, style, step)
    hidden = doctor_redact.tree(plain, step=step)
    api_json.release(plain, step)
    assert isinstance(hidden, dict)
    return hidden if status is None else {**hidden, "status": status}


def seen(config: Config, who: Who) -> Config:
    """What of a configuration somebody may see: a tenant the router of their namespace alone."""
    if who.role != TENANT:
        return config
    return Config(routers=[one for one in config.routers if is_of(one.name, who)])


def is_of(router: str, who: Who) -> bool:
    """Whether a router is a tenant's: its name is their namespace."""
    return who.namespace is not None and namespace_of(router) == who.namespace


class Rows:
    """Objects as JSON without a status, kept while they are there: nobody changes one in place."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[ReferenceType[Part], bytes]] = {}

    def of(self, found: Sequence[Part], status: Status | None, step: Step = at_once) -> Iterator[bytes]:
        """The objects in order, with a status each where there is one to tell."""
        if len(self._kept) > 2 * len(found):
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0]() is not None}
        for one in found:
            kept = self._kept.get(id(one))
            if kept is None or kept[0]() is not one:
                kept = self._kept[id(one)] = ref(one), _encoded(shown(one, step=step), step)
            said = status(getattr(one, "name", "")) if status is not None else None
            yield kept[1] if said is None else kept[1][:-1] + b',"status":' + said + b"}"


def _encoded(value: object, step: Step) -> bytes:
    """JSON of a value, which is of no more use then."""
    made = []
    for piece in api_big.as_json(value):
        made.append(piece)
        step()
    api_json.release(value, step)
    return b"".join(made)


def _told(body: object, step: Step) -> Iterator[bytes]:
    """The pieces of a big answer, which is of no more use then."""
    yield from api_big.as_json(body)
    api_json.release(body, step)


def listing(
    config: Config, kind: Kind, status: Status, made: Rows, step: Step = at_once
) -> dict[str, object]:
    """All objects of a kind: `{"data": {"count": …, "list": […]}}`; the list of none is null, as in GOST."""
    found = sections(config, kind)
    rows = made.of(found, status if kind.key == "services" else None, step) if found else None
    return {"data": {"count": len(found), "list": rows}}


def single(config: Config, kind: Kind, name: str, status: Status, step: Step = at_once) -> object:
    """One object: `{"data": …}`; null for a name that nothing has. A big one is JSON in pieces."""
    found = find(config, kind, name)
    if found is None:
        return {"data": None}
    body = {"data": shown(found, _status(kind, name, status), step=step)}
    return _told(body, step) if config_print.is_big(body) else body


def whole(config: Config, status: Status, step: Step = at_once) -> dict[str, object]:
    """The whole configuration; lists are iterators."""
    found: dict[str, object] = {}
    for field in section_fields(Config):
        value = getattr(config, field.name)
        kind = KINDS.get(field.name)
        if not value:
            continue
        if kind is not None:
            found[field.encode_name] = _json_rows(_rows(value, kind, status, "json", step), step)
        else:
            found |= _single_sections(config, field.name, "json", step)
    return found


def _json_rows(rows: Iterator[dict[str, object]], step: Step) -> Iterator[bytes]:
    return (_encoded(row, step) for row in rows)


def as_yaml(config: Config, status: Status, step: Step = at_once) -> Iterator[bytes]:
    """The whole configuration as YAML, in pieces."""
    for field in section_fields(Config):
        value = getattr(config, field.name)
        kind = KINDS.get(field.name)
        if not value:
            continue
        pieces: Iterator[str]
        if kind is None:
            pieces = config_print.as_yaml(_single_sections(config, field.name, "yaml", step))
        else:
            rows = _rows(value, kind, status, "yaml", step)
            pieces = chain([f"{field.encode_name}:\n"], _items(rows, step))
        for piece in pieces:
            yield piece.encode()


def _items(rows: Iterator[dict[str, object]], step: Step) -> Iterator[str]:
    for row in rows:
        yield from config_print.as_yaml([row], "  ")
        api_json.release(row, step)


def _rows(
    found: list[Part], kind: Kind, status: Status, style: str, step: Step
) -> Iterator[dict[str, object]]:
    for one in found:
        yield shown(one, _status(kind, getattr(one, "name", ""), status), style, step)


def _status(kind: Kind, name: str, status: Status) -> object:
    said = status(name) if kind.key == "services" else None
    return json.loads(said) if said is not None else None


def _single_sections(config: Config, name: str, style: str, step: Step) -> dict[str, object]:
    """One key of the configuration that is no list of named objects, with its key."""
    return shown(Config(**{name: getattr(config, name)}), None, style, step)
