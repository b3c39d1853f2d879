"""What makes the executable smaller without taking anything from it; tunrouter.spec uses it.

Knows: docstrings of other people's modules, which nobody reads at run time; which encodings are needed; a
better compressor than zlib for zlib's own format, so that unpacking takes as long as before.
Refuses to know: which modules go in (tunrouter.spec).

tunrouter's own docstrings stay: docopt reads one of them.
"""

from __future__ import annotations

import ast
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import deflate
from PyInstaller.archive import writers
from PyInstaller.building import build_main

LEVEL = 12
"""libdeflate's best."""
ENCODINGS = frozenset(
    (
        *("__init__", "aliases", "ascii", "base64_codec", "charmap", "cp437", "hex_codec", "idna"),
        *("iso8859_1", "latin_1", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"),
        *("utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le", "utf_8", "utf_8_sig"),
    )
)
"""Modules of `encodings` that go in. What is read and written is UTF-8, a file by mistake UTF-16 or UTF-32;
names are idna, headers of HTTP latin-1, names in a zip file cp437. The others are code pages and the like."""
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def make_smaller() -> None:
    """Have PyInstaller leave out docstrings and encodings from now on, and compress better."""
    base_library, write_module = (
        build_main.create_base_library_zip,
        writers.ZlibArchiveWriter._write_entry.__func__,
    )

    def small_base_library(filename: str, modules: list[tuple[str, str, str]], _: object = None) -> None:
        kept = [entry for entry in modules if _is_wanted(entry[0])]
        base_library(filename, kept, {name: _code(name, path) for name, path, _ in kept})

    def write_small(
        cls: Any, file: Any, entry: tuple[str, str | None, str], known: dict[str, CodeType]
    ) -> Any:
        name, path, _ = entry
        made = {name: _code(name, path)} if path is not None and path.endswith(".py") else known
        return write_module(cls, file, entry, made)

    build_main.create_base_library_zip = small_base_library
    writers.ZlibArchiveWriter._write_entry = classmethod(write_small)
    writers.zlib = SimpleNamespace(compress=_compressed, compressobj=_Whole)


def _is_wanted(module: str) -> bool:
    package, _, name = module.partition(".")
    return package != "encodings" or not name or name in ENCODINGS


def _code(module: str, path: str) -> CodeType:
    """The code of a module, without its docstrings unless it is ours.

    Each becomes one blank: whoever works with a docstring, as gevent copies some, still finds a text.
    """
    tree = ast.parse(Path(path).read_bytes(), path)
    for node in ast.walk(tree) if module.partition(".")[0] != "lib" else ():
        first = node.body[0] if isinstance(node, _DOCUMENTED) and node.body else None
        value = first.value if isinstance(first, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            value.value = " "
    return compile(tree, path, "exec", dont_inherit=True, optimize=0)


def _compressed(data: Any, level: int = LEVEL) -> bytes:
    """Data in zlib's format; `level` is zlib's, and not used."""
    return bytes(deflate.zlib_compress(bytes(data), LEVEL))


class _Whole:
    """What stands for zlib's object that compresses piece by piece: it does so at the end."""

    def __init__(self, level: int = LEVEL) -> None:
        self._pieces: list[bytes] = []

    def compress(self, data: Any) -> bytes:
        """Keep a piece."""
        self._pieces.append(bytes(data))
        return b""

    def flush(self) -> bytes:
        """All pieces, compressed."""
        return _compressed(b"".join(self._pieces))
