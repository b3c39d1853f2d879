"""What the executable has to reach, and what is in it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import __version__
from tests.bench import seeing
from tests.binary.conftest import Figure
from tests.support.netns import HUB_TO_HOST_1, ROOT, Topology
from tests.support.program import TUNROUTER, example, host, run, start_client, start_hub

MOST_MEGABYTES = 21
MOST_VERSION = 0.8
MOST_CONNECTED = 2.0
MOST_STATUS = 0.3
MOST_GLIBC = 31
"""Of 2.31."""


def test_size(executable: Path, figure: Figure) -> None:
    figure("size", executable.stat().st_size / 1e6, MOST_MEGABYTES, "MB")


def test_glibc(executable: Path, figure: Figure) -> None:
    said = subprocess.run(
        (sys.executable, ROOT / "packaging" / "glibc.py", executable),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"needs glibc 2\.(\d+) or newer .* of (\d+) ELF files", said)
    assert found, said
    assert int(found[2]) > 30, "not all of it was read"
    figure("lowest glibc, 2.x", int(found[1]), MOST_GLIBC + 1, "")


def test_version(figure: Figure) -> None:
    took = []
    for _ in range(10):
        started = time.monotonic()
        assert run("--version") == (0, f"tunrouter {__version__}\n")
        took.append(time.monotonic() - started)
    figure("--version, best of 10", min(took), MOST_VERSION, "s")


def test_status_of_a_thousand_clients(tmp_path: Path, figure: Figure) -> None:
    found = seeing.measure(seeing.command("status"), tmp_path)
    figure("status of 1,000 clients, best of 10", found["seconds_least"], MOST_STATUS, "s")


def test_connected(topology: Topology, write: Callable[[str, str], str], figure: Figure) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    took = []
    for _ in range(5):
        started = time.monotonic()
        client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
        took.append(time.monotonic() - started)
        assert client.stop() == 0
    figure("a client is connected, median of 5", statistics.median(took), MOST_CONNECTED, "s")


def test_sums(executable: Path) -> None:
    subprocess.run(("sha256sum", "--check", "--strict", "SHA256SUMS"), cwd=executable.parent, check=True)


def test_licences_of_everything() -> None:
    status, text = run("licences")
    assert status == 0
    listed = text.partition("\n\n")[0].lower().replace("_", "-")
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pins
    for name, version in [*pins, ("tunrouter", __version__), ("python", "3."), ("openssl", "3.")]:
        line = re.search(
            rf"^{re.escape(name.lower().replace('_', '-'))} {re.escape(version)}.*$", listed, re.MULTILINE
        )
        assert line, f"{name} {version} is not in the list"
        assert len(line[0].split()) > 2, f"no licence of {name}"
    for library in ("zlib", "libffi", "libstdc++"):
        assert library in listed
    assert text.count("Permission is hereby granted") > 5


def test_no_path_of_the_machine_it_was_built_on(executable: Path) -> None:
    from PyInstaller.archive.readers import CArchiveReader

    archive = CArchiveReader(str(executable))
    modules = archive.open_embedded_archive("PYZ.pyz")
    here = str(ROOT).encode()
    assert not [name for name in archive.toc if here in archive.extract(name)]
    assert not [name for name in modules.toc if here in (modules.extract(name, raw=True) or b"")]


def test_docstrings_of_others_and_code_pages_are_left_out(executable: Path) -> None:
    """Ours stay, and so does what a page, a host name or a file may be written in."""
    from PyInstaller.archive.readers import CArchiveReader

    archive = CArchiveReader(str(executable))
    modules = archive.open_embedded_archive("PYZ.pyz")
    for name in ("gevent.pool", "asyncio.events", "argparse"):
        assert modules.extract(name).co_consts[0] == " ", name
    assert modules.extract("lib.hub").co_consts[0].count("\n") > 3
    with zipfile.ZipFile(io.BytesIO(archive.extract("base_library.zip"))) as base:
        found = {
            name.partition("/")[2].removesuffix(".pyc") for name in base.namelist() if "encodings/" in name
        }
    assert {"__init__", "idna", "latin_1", "utf_8", "utf_16", "utf_32"} <= found
    assert not [name for name in found if re.match(r"cp12|iso8859_[^1]|mac_|koi8", name)]


@pytest.mark.needs_root
def test_the_same_bytes_when_built_twice(executable: Path, tmp_path: Path) -> None:
    subprocess.run(ROOT / "packaging" / "binary.sh", env=os.environ | {"DIST": str(tmp_path)}, check=True)
    again = tmp_path / "tunrouter"
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(executable.read_bytes()).digest()


def test_it_is_one_file() -> None:
    assert len(TUNROUTER) == 1
