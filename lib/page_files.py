"""Files of the web page (packaging/page), of a checkout or of the executable, each also compressed.

Knows: where they are, which media type each has.
Refuses to know: who serves them and with which headers, what the page shows.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UPLOT = "uPlot 1.6.32"
"""The library that draws curves, as released; its licence (MIT) lies beside it."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    body: bytes
    gzip_body: bytes
    """The same for who accepts `Content-Encoding: gzip`."""
    type: str
    """Value of Content-Type."""
    etag: str
    """Value of ETag, quotes included: the same for the same bytes."""


def folder() -> Path:
    """Where the files of the page are."""
    return Path(getattr(sys, "_MEIPASS", ROOT)) / "packaging" / "page"


def find(path: str) -> PageFile | None:
    """The file that the path of a request stands for: `/`, or `/page/NAME`; None where there is none.

    Each file is read once, when it is first asked for. Raises OSError where it cannot be read.
    """
    name = "index.html" if path == "/" else path.removeprefix("/page/")
    if path != "/" and name == path:
        return None
    return _read(name) if name in _names() else None


@cache
def _names() -> frozenset[str]:
    """Every file that is served. A request's path is looked up here, and never becomes a path by itself."""
    top = folder()
    files = [file for file in top.rglob("*") if file.suffix in _TYPES and file.is_file()]
    return frozenset(file.relative_to(top).as_posix() for file in files)


@cache
def _read(name: str) -> PageFile:
    body = (folder() / name).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    return PageFile(body, gzip.compress(body, mtime=0), _TYPES[Path(name).suffix], etag)
