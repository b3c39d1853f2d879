"""hosts(5) as text, with a block of names of a hub's domain at its end.

Knows: how the block is told from everything else, and that without it the file is what it was, byte for byte.
Refuses to know: files (client_names_files), where names come from (client_hosts).

What is written by hand comes first, and so it counts where both have a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lib.dns_listing import Pair

_BEGIN, _END = "# tunrouter: begin names ", "# tunrouter: end names "
_JOINED, _NO_FILE = " (the line before had no end)", " (there was no file)"
_BLOCK = re.compile(rf"^{_BEGIN}(\d+)\b.*$", re.MULTILINE)


def put(text: str | None, number: int, names: Iterable[Pair]) -> str:
    """A file with the block of the process with this number; None is a file that is not there."""
    before = remove(text, number) if text is not None else None
    note = _NO_FILE if before is None else _JOINED if before and not before.endswith("\n") else ""
    lines = [
        f"{_BEGIN}{number}{note}",
        "# tunrouter takes these lines away when it ends; if it was killed, at its next start.",
        *(f"{address} {name}" for address, name in names),
        f"{_END}{number}",
    ]
    return (before or "") + "\n" * (note == _JOINED) + "\n".join(lines) + "\n"


def remove(text: str, number: int) -> str | None:
    """A file without the block of the process with this number; None where there was none before it."""
    begin = re.search(rf"^{_BEGIN}{number}( \(.*\))?$\n?", text, re.MULTILINE)
    if begin is None:
        return text
    end = re.search(rf"^{_END}{number}$\n?", text[begin.end() :], re.MULTILINE)
    # Where somebody has cut off the end, all that follows may be theirs: only the first line goes.
    after = text[begin.end() :][end.end() :] if end is not None else text[begin.end() :]
    before = text[: begin.start()]
    if begin[1] == _JOINED and not after:
        before = before.removesuffix("\n")
    return before + after or (None if begin[1] == _NO_FILE else "")


def numbers(text: str) -> list[int]:
    """The numbers of all processes that have a block in a file."""
    return list(dict.fromkeys(map(int, _BLOCK.findall(text))))
