"""`tunrouter licences`: the licences of all that the executable contains, or that a checkout runs on.

Knows: where Python packages keep their licences, and which other libraries are in the executable.
Refuses to know: how the executable was built (packaging/).
"""

from __future__ import annotations

import platform
import re
import ssl
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lib import __version__, page_files
from lib.errors import HostError

ROOT = Path(__file__).resolve().parents[1]

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_NAMES = ("licen", "copying", "notice", "authors")
_RULE = "=" * 80

BUNDLED = {  # library in the executable -> its licence, the Debian packages that may have it
    "zlib": ("Zlib", ("zlib1g",)),
    "libffi": ("MIT", ("libffi8", "libffi7")),
    "libstdc++ and libgcc": ("GPL-3.0-or-later WITH GCC-exception-3.1", ("gcc-12-base", "gcc-14-base")),
    "OpenSSL": ("Apache-2.0", ("libssl3", "libssl3t64")),
}

_KINDS = {"pyinstaller": "GPL-2.0-or-later WITH Bootloader-exception"}
"""Package -> its licence, where the package's metadata leaves out an exception."""


def run(arguments: Mapping[str, Any]) -> int:
    """Print the licences; returns the exit status. Raises HostError."""
    inside = getattr(sys, "_MEIPASS", "")
    try:
        text = (Path(inside) / "licences.txt").read_text(encoding="utf-8") if inside else collected()
    except OSError as error:
        raise HostError(f"licences: {error.strerror}") from None
    print(text, end="")
    return 0


def collected(directory: str = "") -> str:
    """A list of all parts, then each licence text. Raises HostError for a package that is not installed.

    `directory` has a NAME.txt for each part that is no Python package; "" takes those of this machine.
    """
    parts = [("tunrouter " + __version__, "MIT", _own())]
    parts += sorted(_others(Path(directory)) if directory else _system(), key=_lower)
    parts += [
        (page_files.UPLOT, "MIT", (page_files.folder() / "uplot" / "LICENSE").read_text(encoding="utf-8"))
    ]
    parts += sorted(map(_of_package, _packages()), key=_lower)
    lines = [f"{name:40} {kind}".rstrip() for name, kind, _ in parts]
    texts = [f"{_RULE}\n{name}\n{_RULE}\n\n{text.strip()}\n" for name, _, text in parts]
    return "\n".join([*lines, "", *texts])


def _lower(part: tuple[str, str, str]) -> str:
    return part[0].lower()


def _own() -> str:
    path = ROOT / "LICENSE"
    return path.read_text(encoding="utf-8") if path.exists() else "\n".join(_texts("tunrouter"))


def _packages() -> list[str]:
    """The packages of requirements.txt, and PyInstaller, whose bootloader starts the executable."""
    try:
        pinned = _PIN.findall((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    except FileNotFoundError:  # installed as a package
        pinned = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in metadata.requires("tunrouter") or ()]
    try:
        metadata.distribution("pyinstaller")
    except metadata.PackageNotFoundError:
        return pinned
    return [*pinned, "pyinstaller"]


def _of_package(name: str) -> tuple[str, str, str]:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        raise HostError(f"licences: {name} is not installed here") from None
    classifiers = [line for line in about.get_all("Classifier") or () if line.startswith("License ::")]
    said = {key: (about.get_all(key) or [""])[0] for key in ("License", "License-Expression")}
    classified = ", ".join(line.rpartition(":: ")[2] for line in classifiers)
    kind = _KINDS.get(name) or said["License-Expression"] or classified or said["License"].partition("\n")[0]
    texts = list(_texts(name)) or [said["License"], *classifiers]
    return f"{about['Name']} {about['Version']}", kind, "\n\n".join(text for text in texts if text)


def _texts(name: str) -> Iterator[str]:
    for file in sorted(metadata.files(name) or (), key=str):
        kept = any(part.endswith(".dist-info") for part in file.parts)
        if kept and file.name.lower().startswith(_NAMES):
            yield Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")


def _others(directory: Path) -> Iterator[tuple[str, str, str]]:
    """(name, licence, text) of each NAME.txt; its first line is `License: X`."""
    for file in sorted(directory.glob("*.txt")):
        kind, _, text = file.read_text(encoding="utf-8", errors="replace").partition("\n")
        yield file.stem, kind.removeprefix("License: "), text


def _system() -> Iterator[tuple[str, str, str]]:
    """(name, licence, text) of this machine's Python and of the libraries whose Debian packages are here."""
    python = Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"
    text = python.read_text(encoding="utf-8") if python.exists() else "https://docs.python.org/3/license.html"
    yield f"Python {platform.python_version()}", "PSF-2.0", text
    for library, (kind, packages) in BUNDLED.items():
        name = " ".join(ssl.OPENSSL_VERSION.split()[:2]) if library == "OpenSSL" else library
        for package in packages:
            copyright_file = Path("/usr/share/doc") / package / "copyright"
            if copyright_file.exists():
                yield name, kind, copyright_file.read_text(encoding="utf-8", errors="replace")
                break
