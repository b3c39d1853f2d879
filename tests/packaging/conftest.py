"""What the tests of packages share: the package, and roots to install it in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.debian import EXECUTABLE, Root, call, throwaway_root
from tests.support.netns import ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("debootstrap", "dpkg-deb", "chroot") if shutil.which(name) is None]
    reason = f"not installed: {', '.join(missing)}" if missing else ""
    if os.geteuid() != 0:
        reason = "needs root, for mounts and chroot"
    for item in items:
        if reason and "tests/packaging" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def package() -> Path:
    """The package, of build/dist/tunrouter as it is."""
    assert EXECUTABLE.exists(), "make binary comes first"
    said = call(str(ROOT / "packaging" / "deb" / "build.sh"))
    return ROOT / said.splitlines()[0]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A Debian just installed."""
    (tmp_path / "debian").mkdir()
    with throwaway_root(tmp_path / "debian") as made:
        yield made


@pytest.fixture
def unmounted_root(tmp_path: Path) -> Iterator[Root]:
    """The same to be booted: with nothing mounted in it."""
    (tmp_path / "debian").mkdir()
    with throwaway_root(tmp_path / "debian", mounted=False) as made:
        yield made


@pytest.fixture
def newer(package: Path, tmp_path: Path) -> Callable[[str], Path]:
    """The package's next version, with this line at the end of its configuration."""

    def make(line: str) -> Path:
        folder = tmp_path / "newer"
        call("dpkg-deb", "-R", str(package), str(folder))
        control = folder / "DEBIAN" / "control"
        text = control.read_text()
        version = text.partition("Version: ")[2].partition("\n")[0]
        control.write_text(text.replace(f"Version: {version}", f"Version: {version}+1"))
        with (folder / "etc" / "tunrouter" / "tunrouter.yaml").open("a") as file:
            file.write(line)
        made = tmp_path / "tunrouter_newer.deb"
        call("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(folder), str(made))
        shutil.rmtree(folder)
        return made

    return make
