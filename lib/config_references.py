"""References in a configuration (`${file:…}`, `${env:…}`, a login's `auth.file`) replaced by their values.

Knows: where references may stand, and that one that cannot be read is a problem at its place.
Refuses to know: how files and the environment are read (config_secrets; the reader comes in).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lib.config_findings import Findings
from lib.config_schema import Auth, Login
from lib.config_section import Section, section_fields
from lib.config_yaml import Mapping, Scalar, Sequence, Tree
from lib.errors import Position

Reader = Callable[[str, str], str]
"""("file" or "env", path or variable name) -> the value; raises ValueError."""

_SECURITY = frozenset({"cert_file", "key_file", "ca_file", "auther", "auth", "token"})
"""Fields without which less is checked: one that is written and empty is a mistake, mostly a template's."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_REFERENCE = re.compile(r"\$\{(file|env):([^{}]+)\}")


def nowhere(kind: str, name: str) -> str:
    """A Reader that always raises ValueError, for where neither files nor the environment may be read."""
    raise ValueError(f"${{{kind}:{name}}} cannot be read here")


def fill_in(section: Section, read: Reader, found: Findings) -> None:
    """Replace the references in one section, not in those below it, by their values, in place."""
    if not isinstance(section, Auth | Login):  # a login is bytes on the wire, everything else is text
        read = _text_only(read)
    for field in section_fields(type(section)):
        value = getattr(section, field.name)
        where = section.where(field.name)
        is_checked = field.name in _SECURITY or (isinstance(section, Auth) and field.name == "username")
        if is_checked and field.name in section.at and value in ("", None):
            found.error(where, f"{field.encode_name!r} is empty", "write a value, or leave the key out")
        if isinstance(value, str):
            setattr(section, field.name, _text(value, where, read, found))
        elif isinstance(value, list) and value and isinstance(value[0], str):
            setattr(section, field.name, [_text(text, where, read, found) for text in value])
        elif field.name == "metadata" and isinstance(value, dict):
            section.metadata = {key: _tree(tree, read, found) for key, tree in value.items()}  # type: ignore[attr-defined]
    if isinstance(section, Auth) and section.file:
        _login_file(section, read, found)


def _text_only(read: Reader) -> Reader:
    """The same reader, which refuses bytes that are not UTF-8."""

    def value(kind: str, name: str) -> str:
        text = read(kind, name)
        if not text.isascii() and _SURROGATE.search(text):
            raise ValueError(f"{name}: not UTF-8")
        return text

    return value


def _text(text: str, where: Position, read: Reader, found: Findings) -> str:
    def value(matched: re.Match[str]) -> str:
        try:
            referred = read(matched[1], matched[2])
        except ValueError as wrong:
            found.error(where, str(wrong))
            return ""
        if not referred:
            found.error(where, f"{matched[0]} is empty")
        return referred

    return _REFERENCE.sub(value, text) if "${" in text else text


def _tree(tree: Tree, read: Reader, found: Findings) -> Any:
    if isinstance(tree, Scalar):
        return replace(tree, text=_text(tree.text, tree.where, read, found)) if "${" in tree.text else tree
    if isinstance(tree, Sequence):
        return replace(tree, items=[_tree(item, read, found) for item in tree.items])
    assert isinstance(tree, Mapping)
    return replace(tree, items=[(key, _tree(value, read, found)) for key, value in tree.items])


def _login_file(auth: Auth, read: Reader, found: Findings) -> None:
    """Read a client's login from `auth.file`, as in GOST: `user password` on the first line."""
    try:
        words = read("file", auth.file).partition("\n")[0].split(None, 1)
    except ValueError as wrong:
        found.error(auth.where("file"), str(wrong))
        return
    if not words:
        found.error(auth.where("file"), f"{auth.file}: no `user password` on the first line")
        return
    if len(words) == 1 and not auth.password:
        found.error(auth.where("file"), f"{auth.file}: no password after the user name on the first line")
    auth.username = auth.username or words[0]
    auth.password = auth.password or (words[1].strip() if len(words) > 1 else "")
