"""References in a configuration (`${file:…}`, `${env:…}`, `auth.file`, files of hosts) and their values.

Knows: where references may stand, and that one that cannot be read is a problem at its place.
Refuses to know: how files and the environment are read (config_secrets; the reader comes in).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from msgspec.structs import FieldInfo

from lib.addresses import is_address, without_zone, zoned
from lib.config_findings import Findings
from lib.config_schema import (
    AclEntry,
    ApiUser,
    Auth,
    Auther,
    Config,
    File,
    Handler,
    HostMapping,
    Hosts,
    Login,
)
from lib.config_schema_cluster import Trust
from lib.config_section import Metadata, Section, section_fields, words
from lib.config_yaml import Mapping, Scalar, Sequence, Tree
from lib.errors import Position
from lib.source_bad_lines import BadLines

Reader = Callable[[str, str], str]
"""("file" or "env", path or variable name) -> the value; raises ValueError."""

_SECURITY = words("cert_file key_file ca_file auther auth token")
"""Fields without which less is checked: one that is written and empty is a mistake, mostly a template's."""
_SECURITY_OF = {
    Auth: words("username file"),
    Login: words("passwords hosts namespaces"),
    ApiUser: words("username password role namespace"),
    Auther: words("bindings"),
    AclEntry: words("source to protocol port"),
    Handler: words("authers"),
    Trust: words("pin namespaces"),
    Config: words("user"),
}
"""The same, of one section only: its lists that mean everybody when they are empty, and the like."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_REFERENCE = re.compile(r"\$\{(file|env):([^{}]+)\}")


def nowhere(kind: str, name: str) -> str:
    """A Reader that always raises ValueError, for where neither files nor the environment may be read."""
    raise ValueError(f"${{{kind}:{name}}} cannot be read here")


def fill_in(section: Section, read: Reader, found: Findings) -> None:
    """Replace the references in one section, not in those below it, by their values, in place."""
    if not isinstance(
        section, Auth | Login | ApiUser
    ):  # a login is bytes on the wire, everything else is text
        read = _text_only(read)
    for field, is_checked in _texts(type(section)):
        name = field.name
        value = getattr(section, name)
        if is_checked and name in section.at and _is_empty(value):
            where = section.where(name)
            found.error(where, f"{field.encode_name!r} is empty", "write a value, or leave the key out")
        elif isinstance(value, str):
            if "${" in value:
                setattr(section, name, _text(value, section.where(name), read, found))
        elif isinstance(value, dict):
            setattr(section, name, {key: _tree(tree, read, found) for key, tree in value.items()})
        elif isinstance(value, list) and any("${" in text for text in found.each(value)):
            where = section.where(name)
            setattr(section, name, [_text(text, where, read, found) for text in found.each(value)])
    if isinstance(section, Auth) and section.file:
        _login_file(section, read, found)
    elif isinstance(section, Hosts) and section.file:
        _hosts_file(section, section.file, read, found)


def _is_empty(value: object) -> bool:
    """Whether a value is None, a blank text, or a list without items."""
    return not (value.strip() if isinstance(value, str) else value)


@cache
def _texts(cls: type[Section]) -> tuple[tuple[FieldInfo, bool], ...]:
    """The fields of a section that may hold references, each with whether it may not be written and empty."""
    checked = _SECURITY | _SECURITY_OF.get(cls, frozenset())
    return tuple(
        (field, field.name in checked)
        for field in section_fields(cls)
        if field.type in (str, list[str], Metadata) or field.name in checked
    )


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
        if not referred.strip():
            found.error(
                where, f"{matched[0]} is empty" + (", but for blanks or line ends" if referred else "")
            )
        return referred

    return _REFERENCE.sub(value, text) if "${" in text else text


def _tree(tree: Tree, read: Reader, found: Findings) -> Any:
    if isinstance(tree, Scalar):
        return tree._replace(text=_text(tree.text, tree.where, read, found)) if "${" in tree.text else tree
    if isinstance(tree, Sequence):
        return replace(tree, items=[_tree(item, read, found) for item in found.each(tree.items)])
    assert isinstance(tree, Mapping)
    return replace(tree, items=[(key, _tree(value, read, found)) for key, value in tree.items])


def _login_file(auth: Auth, read: Reader, found: Findings) -> None:
    """Read a client's login from `auth.file`, as in GOST: `user password` on the first line."""
    try:
        parts = read("file", auth.file).partition("\n")[0].split(None, 1)
    except ValueError as wrong:
        found.error(auth.where("file"), str(wrong))
        return
    if not parts:
        found.error(auth.where("file"), f"{auth.file}: no `user password` on the first line")
        return
    if len(parts) == 1 and not auth.password:
        found.error(auth.where("file"), f"{auth.file}: no password after the user name on the first line")
    auth.username = auth.username or parts[0]
    auth.password = auth.password or (parts[1].strip() if len(parts) > 1 else "")


def _hosts_file(section: Hosts, file: File, read: Reader, found: Findings) -> None:
    """Add the rows of a file of hosts, as hosts(5) and GOST have them: `address name [name…] # comment`.

    A bad line is left out, with a warning that has its place.
    """
    try:
        lines = read("file", file.path).split("\n")
    except ValueError as wrong:
        found.error(file.where("path"), str(wrong))
        return
    bad = BadLines()
    for number, line in found.each(enumerate(lines, 1)):
        row = line.partition("#")[0].split()
        if not row:
            continue
        why = _wrong_host_row(row, line)
        if why:
            bad.add(file.path, number, why)
            continue
        at = {"": Position(file.path, number, 1)}
        section.mappings += [HostMapping(ip=row[0], hostname=name, at=at) for name in row[1:]]
    for problem in bad.problems():
        found.warn(problem.where, problem.message)
    if section.reload:
        text = "'reload' is not supported yet: a file of hosts is read again by SIGHUP and -R"
        found.warn(section.where("reload"), text)


def _wrong_host_row(row: list[str], line: str) -> str:
    """What is wrong with a line of a file of hosts; empty for a good one."""
    if len(row) < 2 or not is_address(without_zone(row[0])) or "${" in line:
        return f"not `address name`: {line.strip()[:64]!r}"
    try:
        zoned(row[0])
    except ValueError as wrong:
        return str(wrong)
    return ""
