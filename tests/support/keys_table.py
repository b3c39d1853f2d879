"""Writes the table of GOST's keys (works, warns, refused) in packaging/docs/coming-from-gost.md.

    .venv/bin/python -m tests.support.keys_table     writes it into the page, and the guide's table of our keys

Knows: how to read in lib/config_schema.py and lib/config_gost_keys.py what becomes of a key.
Refuses to know: the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

import msgspec

from lib import config_gost_keys, config_schema
from lib.config_instead import misplaced
from lib.config_section import Section, section_fields, spelled
from tests.support.marked import between, put_between
from tests.support.page import DOCS

PAGE = DOCS / "coming-from-gost.md"
BEGIN = "<!-- keys: written by tests/support/keys_table.py -->\n"
END = "<!-- end of keys -->\n"


def table() -> str:
    """The whole table, in Markdown."""
    return "\n".join([*_types(), "", *_sections(), "", *_metadata(), ""])


def in_page() -> str:
    """The table as it stands in the page."""
    return between(PAGE, BEGIN, END)


def _types() -> Iterator[str]:
    yield "| type of | works | an error that says so |"
    yield "|---|---|---|"
    rows = (
        ("handler", {"router", "tun"}, config_gost_keys.HANDLERS),
        ("listener", config_gost_keys.TRANSPORTS | {"tun"}, config_gost_keys.LISTENERS),
        ("connector", {"router", *config_gost_keys.PROXIES}, config_gost_keys.CONNECTORS),
        ("dialer", config_gost_keys.TRANSPORTS, config_gost_keys.DIALERS),
    )
    for what, works, every in rows:
        yield f"| {what} | {_words(works)} | {_words(every - set(works))} |"


def _sections() -> Iterator[str]:
    yield "| section | works | one warning, no effect | an error |"
    yield "|---|---|---|---|"
    for name, cls in sections():
        not_yet = {outside(cls, key) for key in cls.not_yet}
        foreign = {outside(cls, key) for key in cls.foreign}
        works = {key.encode_name for key in section_fields(cls)} - not_yet - foreign
        refused = not_yet | set(misplaced(cls.__name__))
        yield f"| {name} | {_words(works)} | {_words(foreign)} | {_words(refused)} |"


def _metadata() -> Iterator[str]:
    yield "| metadata of | works | one warning, no effect | an error: not supported yet |"
    yield "|---|---|---|---|"
    owners = (
        ("a hub: service, handler `router`, its listener", config_gost_keys.HUB_KEYS),
        ("a client: service, handler and listener `tun`", config_gost_keys.CLIENT_KEYS),
        ("the way to a hub: hop, node, connector, dialer", config_gost_keys.CHAIN_KEYS),
        ("a proxy before the hub: the same", config_gost_keys.PROXY_KEYS),
        ("a target of a client's forwarder: its host name", config_gost_keys.TARGET_KEYS),
    )
    for owner, keys in owners:
        works = {key.name for key in keys.values() if key.works}
        odd = {key.name for key in keys.values() if key.odd}
        to_come = {key.name for key in keys.values() if key.not_yet}
        yield f"| {owner} | {_words(works)} | {_words(odd)} | {_words(to_come)} |"


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Every section a file may hold, by a path to it, each once."""
    seen: set[type] = set()
    waiting: list[tuple[str, type[Section]]] = [("(top)", config_schema.Config)]
    for path, cls in waiting:
        if cls in seen:
            continue
        seen.add(cls)
        yield path, cls
        below = "" if path == "(top)" else f"{path}."
        for field in msgspec.structs.fields(cls):
            if field.name in cls.not_yet:
                continue  # none of what is in it works
            waiting += [(f"{below}{field.encode_name}", found) for found in _held(field.type)]


def _held(kind: object) -> Iterator[type[Section]]:
    if isinstance(kind, type) and issubclass(kind, Section):
        yield kind
    for inner in get_args(kind):
        yield from _held(inner)


def outside(cls: type[Section], key: str) -> str:
    """The name a key has in a file."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(cls)}
    return names.get(key, spelled(key))


def _words(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names, key=lambda name: (name.lower(), name)))


def main() -> None:
    """Write the table into the page, and that of our own keys into the guide."""
    from tests.support import own_keys  # it uses this module

    own_keys.main()
    put_between(PAGE, BEGIN, END, table())


if __name__ == "__main__":
    main()
