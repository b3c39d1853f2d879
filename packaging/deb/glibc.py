"""The lowest glibc that a one-file executable runs with: python packaging/deb/glibc.py EXECUTABLE.

Read from the version needs of the loader and of every library in it, packed or not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PyInstaller.archive.readers import CArchiveReader

_NEED = re.compile(rb"GLIBC_2\.(\d+)\b")


def lowest(path: str) -> str:
    """The version, as 2.31."""
    archive = CArchiveReader(path)
    files = [
        Path(path).read_bytes(),
        *(archive.extract(name) for name, entry in archive.toc.items() if entry[4] == "b"),
    ]
    return f"2.{max(int(found) for data in files for found in _NEED.findall(data))}"


if __name__ == "__main__":
    print(lowest(sys.argv[1]))
