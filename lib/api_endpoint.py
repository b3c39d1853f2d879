"""An endpoint of tunrouter's own web API: its address, who may use it, what it takes and what it gives.

Knows: roles, the form of errors, what a request has to hold; whether a role may use an endpoint.
Refuses to know: HTTP, logins (the server's), what an endpoint does (api_x and its handlers).

One table of these routes is what the server serves, what /x/openapi.json describes and what tests go through:
an endpoint that is not in the table does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lib import ids
from lib.api_request import EVERYBODY, JSON, Refused, Reply, Request
from lib.namespace_titles import folded, namespace_named, title_of
from lib.settings_api import TENANT

HEADER = "X-Tunrouter"
"""What every change has, so that no page of another site can ask for one."""
MAX_TEXT = 512
"""Characters of a parameter: a filter expression, a prefix, a name."""
MAX_BODY = 1 << 16
"""Bytes of a body: a name, an address, some prefixes."""
EVENTS = "text/event-stream"
NO_STORE = (("Cache-Control", "no-store"),)
"""Header of what is different the next time."""


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of a query, or a key of a body."""

    name: str
    about: str
    kind: str = "string"
    """JSON's: string, integer, number, boolean; "strings" is an array of them."""
    required: bool = False
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint."""

    method: str
    path: str
    """As bottle writes it: /x/hosts/<id>/kick."""
    handle: Callable[[Request], Reply]
    about: str
    """A sentence for the document."""
    roles: frozenset[str] = EVERYBODY
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    gives: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema of the reply; {} for any object."""
    kind: str = JSON
    """Content-Type of the reply."""
    fails: tuple[int, ...] = ()
    """Statuses of errors beside 400, 401, 403, 414 and 429."""


def answer(endpoint: Endpoint, request: Request) -> Reply:
    """Do what a request asks for. Raises Refused; a handler's ValueError becomes a 400."""
    if request.who.role not in endpoint.roles:
        raise Refused(403, f"the role {request.who.role} may not do this")
    if endpoint.method != "GET" and request.headers.get(HEADER.lower()) != "1":
        raise Refused(403, f"a change needs the header {HEADER}: 1, which no page of another site can send")
    try:
        _check(endpoint.query, request.query, from_text=True)
        if endpoint.method != "GET":
            data = request.read()  # it can be read once
            request = replace(request, read=lambda: data)
            _check(endpoint.body, body(request), from_text=False)
        return endpoint.handle(request)
    except ValueError as wrong:
        raise Refused(400, str(wrong)) from None


def body(request: Request) -> Mapping[str, Any]:
    """The JSON object of a change; {} where there is none. Raises Refused, ValueError."""
    found = request.json()
    if found is not None and not isinstance(found, dict):
        raise ValueError("the body is no JSON object")
    return found or {}


_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "strings": (list,),
}


def _check(fields: tuple[Field, ...], given: Mapping[str, Any], from_text: bool) -> None:
    """Refuse what the document does not have. Raises ValueError."""
    known = {one.name: one for one in fields}
    for name, value in given.items():
        if name not in known:
            there = f"; there is {', '.join(known)}" if known else ""
            raise ValueError(f"{str(name)[:64]!r} is not known here{there}")
        _check_value(known[name], value, from_text)
    for one in fields:
        if one.required and one.name not in given:
            raise ValueError(f"{one.name} is missing: {one.about}")


def _check_value(one: Field, value: Any, from_text: bool) -> None:
    if from_text and one.kind in ("integer", "number"):
        value = number(one.name, value, whole=one.kind == "integer")
    elif one.kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of numbers
    kinds = _KINDS[one.kind]
    if not from_text and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        raise ValueError(f"{one.name} is no {one.kind}")
    texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    for text in texts:
        if not isinstance(text, str) or len(text) > MAX_TEXT or "\0" in text:
            raise ValueError(f"{one.name}: texts of up to {MAX_TEXT} characters")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if one.least is not None and value < one.least:
            raise ValueError(f"{one.name} is {one.least:g} at least")
        if one.most is not None and value > one.most:
            raise ValueError(f"{one.name} is {one.most:g} at most")


def number(name: str, text: str, whole: bool = True) -> float:
    """A number of a query. Raises ValueError."""
    try:
        found = int(text) if whole else float(text)
    except ValueError:
        raise ValueError(f"{name} is no number: {text[:32]!r}") from None
    if not -1e15 < found < 1e15:  # also what is no number at all (nan)
        raise ValueError(f"{name} is out of range")
    return found


def scope(request: Request, wanted: str = "") -> str:
    """The namespace that a request is about, as text: a tenant's own, or the one that is `wanted`.

    `wanted` is a UUID or a title. Raises ValueError for neither, Refused where a tenant wants anything but
    its own: it is told nothing of which others there are.
    """
    if request.who.role != TENANT:
        return ids.format_uuid(namespace_named(wanted)) if wanted else ""
    own = request.who.namespace
    if own is None or (wanted and not _means(wanted, own)):
        raise Refused(403, "a tenant sees its own namespace only")
    return ids.format_uuid(own)


def _means(wanted: str, own: bytes) -> bool:
    """Whether a UUID or a title is this namespace's. No other title is looked at, nor hinted at."""
    try:
        return ids.parse_uuid(wanted) == own
    except ValueError:
        return folded(wanted) == folded(title_of(own))
