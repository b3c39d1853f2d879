"""resolv.conf(5) as text: its name servers, and a block at its top that names a server of ours first.

Knows: how the C library reads the file, how the block is told from everything else, and that without it the
file is what it was, byte for byte.
Refuses to know: files (client_names_files), what the server of ours does (client_stub).

    # tunrouter: begin 127.0.117.1
    nameserver 127.0.117.1
    # tunrouter: end 127.0.117.1
    nameserver 192.0.2.1              what was there before stays below

So a program that finds nobody at 127.0.117.1, because tunrouter was killed, asks the next server. Lines that
would keep ours from being asked first are commented out while the block is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

NETWORK = "127.0.117."
"""Addresses of our servers: of loopback, and by their third byte nobody else's."""
ASKED = 3
"""Servers of a file that the C library asks (MAXNS)."""

_BEGIN, _END = "# tunrouter: begin ", "# tunrouter: end "
_NO_FILE = " (there was no file)"
_OFF = "#tunrouter# "
"""Before a line that is commented out."""
_BLOCK = re.compile(rf"^{_BEGIN}({re.escape(NETWORK)}\d+)", re.MULTILINE)
_LOCAL = "127.0.0.1"
"""Whom the C library asks where a file names nobody."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Whom a file names, and how they are to be asked."""

    addresses: tuple[str, ...] = ()
    rotate: bool = False
    """Whether each question begins with another one of them."""


def add(text: str | None, address: str, domains: Iterable[str], alone: bool = False) -> str:
    """A file with the block of our server at `address`; None is a file that is not there.

    `domains` are for the reader. With `alone` no other server is named, as for a C library that asks all
    servers at once (musl): the others come back when the block goes.
    """
    before = remove(text, address) if text is not None else None
    missing = "" if before is not None else _NO_FILE
    lines = (before or "").splitlines(keepends=True)
    nobody = not any(_is_server(line) for line in lines)
    block = [
        f"{_BEGIN}{address}{missing}",
        f"# Names of {' and '.join(domains) or 'all domains'} are asked of servers of a tunnel, all others",
        "# as before. tunrouter takes these lines away when it ends; if it was killed, at its next start.",
        f"nameserver {address}",
        *([f"nameserver {_LOCAL}"] if nobody and not alone else []),
        *_without_rotate(lines),
        f"{_END}{address}",
    ]
    return "\n".join(block) + "\n" + "".join(_disabled(lines, alone))


def remove(text: str, address: str) -> str | None:
    """A file without the block of the server at `address`; None where there was none before the block."""
    lines = text.splitlines(keepends=True)
    begin = next((at for at, line in enumerate(lines) if _is_mark(line, _BEGIN, address)), None)
    if begin is None:
        return text
    end = next((at for at in range(begin, len(lines)) if _is_mark(lines[at], _END, address)), None)
    if end is None:  # somebody has cut it: only what must be ours goes
        rest = [line for line in lines[begin + 1 :] if line.split()[:2] != ["nameserver", address]]
    else:
        rest = lines[end + 1 :]
    kept = lines[:begin] + rest
    if not _BLOCK.search("".join(kept)):
        kept = [line.removeprefix(_OFF) for line in kept]
    return "".join(kept) or (None if _NO_FILE in lines[begin] else "")


def blocks(text: str) -> list[str]:
    """The addresses of all servers of ours that have a block in a file."""
    return list(dict.fromkeys(_BLOCK.findall(text)))


def plain(text: str) -> str:
    """A file without any block of ours."""
    for address in blocks(text):
        text = remove(text, address) or ""
    return text


def is_set(text: str | None, address: str, alone: bool = False) -> bool:
    """Whether programs ask the server at `address` first, or another one of ours which asks it."""
    if text is None or address not in blocks(text):
        return False
    lines = text.splitlines(keepends=True)
    first = next((line.split()[1] for line in lines if _is_server(line)), "")
    return first.startswith(NETWORK) and list(_disabled(lines, alone)) == lines


def servers(text: str | None, address: str) -> Servers:
    """The servers that a file names below the block of ours: those that are asked for all other names."""
    below = text or ""
    mark = re.search(rf"^{_END}{re.escape(address)}$\n?", below, re.MULTILINE)
    if mark is not None:  # a server of ours whose block is above asks this one
        below = below[mark.end() :]
    lines = [line.removeprefix(_OFF) for line in below.splitlines()]
    found = [line.split()[1] for line in lines if _is_server(line)]
    return Servers(
        tuple(one for one in dict.fromkeys(found) if one != address)[:ASKED] or (_LOCAL,),
        any("rotate" in line.split()[1:] for line in lines if line.split()[:1] == ["options"]),
    )


def _disabled(lines: Iterable[str], alone: bool) -> Iterator[str]:
    """The lines, those commented out that would keep a server of ours from being asked first."""
    for line in lines:
        words = line.split()
        rotates = words[:1] == ["options"] and "rotate" in words
        is_other = alone and _is_server(line) and not words[1].startswith(NETWORK)
        yield _OFF + line if rotates or is_other else line


def _without_rotate(lines: Iterable[str]) -> Iterator[str]:
    """What else the options say that are commented out."""
    for words in map(str.split, lines):
        rest = [word for word in words[1:] if word != "rotate"]
        if words[:1] == ["options"] and "rotate" in words and rest:
            yield f"options {' '.join(rest)}"


def _is_server(line: str) -> bool:
    return line.startswith("nameserver") and len(line.split()) > 1 and line.split()[0] == "nameserver"


def _is_mark(line: str, mark: str, address: str) -> bool:
    return line.startswith(mark) and line.removeprefix(mark).split()[:1] == [address]
