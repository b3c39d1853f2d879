"""The lowest glibc that an executable of ours runs with, read from every ELF file in it.

Knows: PyInstaller's archive, what `objdump -p` prints. Refuses to know: how it was built.

    python packaging/glibc.py [--most 2.31] build/dist/tunrouter
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PyInstaller.archive.readers import CArchiveReader

_NEEDED = re.compile(rb"\bGLIBC_(\d+)\.(\d+)(?:\.\d+)?\b")
_ELF = b"\x7fELF"

Version = tuple[int, int]


def versions(elf: Path) -> set[Version]:
    """The versions of glibc that an ELF file asks for."""
    said = subprocess.run(("objdump", "-p", elf), stdout=subprocess.PIPE, check=True).stdout
    return {(int(major), int(minor)) for major, minor in _NEEDED.findall(said)}


def members(executable: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each ELF file in it; its first part, the bootloader, is one itself."""
    yield "bootloader", executable.read_bytes()
    archive = CArchiveReader(str(executable))
    for name in archive.toc:
        content = archive.extract(name)
        if content.startswith(_ELF):
            yield name, content


def lowest(executable: Path) -> tuple[Version, list[str], int]:
    """(the glibc it needs, the files that need it, how many ELF files were read)."""
    needs: dict[str, Version] = {}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "elf"
        for name, content in members(executable):
            file.write_bytes(content)
            needs[name] = max(versions(file), default=(0, 0))
    most = max(needs.values())
    return most, sorted(name for name, version in needs.items() if version == most), len(needs)


def main() -> int:
    """Print the figure; 1 where it is more than --most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", help="fail above this version")
    parser.add_argument("executable", type=Path)
    arguments = parser.parse_args()
    (major, minor), names, count = lowest(arguments.executable)
    size = arguments.executable.stat().st_size / 1e6
    print(
        f"{arguments.executable}: {size:.1f} MB, needs glibc {major}.{minor} or newer "
        f"({', '.join(names[:3])}{' and others' if len(names) > 3 else ''}, of {count} ELF files)"
    )
    if arguments.most and (major, minor) > tuple(map(int, arguments.most.split("."))):
        print(f"error: that is more than {arguments.most}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
