"""Titles of namespaces: the names that people gave to tenants, shown beside or instead of their UUIDs.

Knows: which namespace has which title in this process, what a title may look like, and how one that somebody
types is found.
Refuses to know: where titles are written (config_titles), and where they are shown.

A process has one configuration, so it has one list of titles, which a reload replaces as a whole. A title
is only a word for people: nothing is looked up by it but what a person has typed.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable
from itertools import islice

from lib.did_you_mean import did_you_mean
from lib.ids import format_uuid, parse_uuid
from lib.printable import printable

MAX_TITLE = 64
"""Bytes of a title in UTF-8."""
MAX_GUESSED = 1000
"""Titles among which a misspelt one is looked for."""

UUID_LETTERS = 36

Title = tuple[bytes, str]
"""(namespace, its title)."""

_by_namespace: dict[bytes, str] = {}
_by_title: dict[str, bytes] = {}


def use(titles: Iterable[Title]) -> tuple[object, ...]:
    """Replace all titles of this process; returns those before, for whoever lets them go."""
    global _by_namespace, _by_title
    before = _by_namespace, _by_title
    by_namespace: dict[bytes, str] = {}
    by_title: dict[str, bytes] = {}
    for namespace, title in titles:
        by_namespace[namespace] = title
        by_title[folded(title)] = namespace
    _by_namespace, _by_title = by_namespace, by_title
    return before


def all_titles() -> list[Title]:
    """Every namespace of this process that has a title, in the order of the configuration."""
    return list(_by_namespace.items())


def title_of(namespace: bytes) -> str:
    """The title of a namespace (16 bytes); "" where it has none."""
    return _by_namespace.get(namespace, "")


def named(namespace: bytes) -> str:
    """A namespace as the log names it: `Shop Berlin (e87f56dd-…)`, or only its UUID."""
    title, uuid = _by_namespace.get(namespace), format_uuid(namespace)
    return f"{title} ({uuid})" if title else uuid


def option(namespace: bytes) -> str:
    """The option of a command line that names a namespace, to be typed as it is: `--ns 'Shop Berlin'`."""
    return f"--ns {shlex.quote(title_of(namespace) or format_uuid(namespace))}"


def title_of_uuid(uuid: str) -> str:
    """The title of a namespace whose UUID is written as format_uuid does it; "" for any other text."""
    if not _by_namespace or len(uuid) != UUID_LETTERS:
        return ""
    try:
        return title_of(parse_uuid(uuid))
    except ValueError:
        return ""


def title_of_hex(text: str) -> str:
    """The title of a namespace as 32 hex digits; "" where it has none, and for any other text."""
    if not _by_namespace:
        return ""
    try:
        return title_of(bytes.fromhex(text))
    except ValueError:
        return ""


def fields(namespace: bytes) -> dict[str, object]:
    """The fields of a reply that say which namespace is meant: {"namespace": UUID, "title": "" or text}."""
    return {"namespace": format_uuid(namespace), "title": title_of(namespace)}


def namespace_named(text: str) -> bytes:
    """The namespace that a person means by a UUID in any spelling, or by a title in any case.

    Raises ValueError with the nearest title, where neither is there.
    """
    try:
        return parse_uuid(text)
    except ValueError:
        found = _by_title.get(folded(text))
    if found is not None:
        return found
    shown = text[:MAX_TITLE]
    if not _by_namespace:
        raise ValueError(f"not a UUID: {shown!r}; no namespace has a title here")
    hint = did_you_mean(shown, islice(_by_namespace.values(), MAX_GUESSED)) or "`title` gives it one"
    raise ValueError(f"neither a UUID nor the title of a namespace: {shown!r}; {hint}")


def folded(title: str) -> str:
    """A title in the form in which two of them are compared: in any case, composed or not (NFC)."""
    return unicodedata.normalize("NFC", title).casefold()


def fault(title: str) -> str:
    """Why a text cannot be a title; "" where it can be one."""
    if not title or title != title.strip():
        return "it is empty, or begins or ends with a blank"
    if len(title.encode("utf-8", "surrogateescape")) > MAX_TITLE:
        return f"it has more than {MAX_TITLE} bytes"
    if printable(title) != title or "\\" in title:
        return "it has a character that cannot be seen, or a backslash"
    try:
        parse_uuid(title)
    except ValueError:
        return ""
    return "it looks like a UUID, so nobody could tell which namespace is meant"
