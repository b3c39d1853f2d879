"""A path is ours only if every directory and link on the way is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.ctl_path import weak_spot

NOBODY = 65534


def made(base: Path, *names: str) -> Path:
    """Directories one below the other."""
    for name in names:
        base = base / name
        base.mkdir()
    return base


def open_to_all(base: Path) -> Path:
    base.joinpath("a").chmod(0o777)
    return base / "a/b/c"


def open_to_a_group(base: Path) -> Path:
    os.chown(base / "a/b", -1, NOBODY)
    base.joinpath("a/b").chmod(0o775)
    return base / "a/b/c"


def of_another(base: Path) -> Path:
    os.chown(base / "a", NOBODY, -1)
    return base / "a/b/c"


def last_of_another(base: Path) -> Path:
    os.chown(base / "a/b/c", NOBODY, -1)
    return base / "a/b/c"


def link_of_another(base: Path) -> Path:
    base.joinpath("link").symlink_to(base / "a")
    os.chown(base / "link", NOBODY, -1, follow_symlinks=False)
    return base / "link/b/c"


def link_into_the_open(base: Path) -> Path:
    open_to_all(base)
    base.joinpath("link").symlink_to("a/b")
    return base / "link/c"


def link_up_through_another(base: Path) -> Path:
    """`..` is taken after the link, as the kernel does it."""
    os.chown(base / "a", NOBODY, -1)
    base.joinpath("link").symlink_to(base / "a/b/c")
    return base / "link/.."


def circle(base: Path) -> Path:
    base.joinpath("link").symlink_to("link")
    return base / "link"


def file_on_the_way(base: Path) -> Path:
    base.joinpath("a/file").write_text("")
    return base / "a/file/x"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.parametrize(
    ("weaken", "why"),
    [
        (open_to_all, r"others may write to .*/a \(mode 0777\)"),
        (open_to_a_group, r"others may write to .*/a/b \(mode 0775\)"),
        (of_another, r"/a belongs to somebody else \(uid 65534\)"),
        (last_of_another, r"/a/b/c belongs to somebody else"),
        (link_of_another, r"/link belongs to somebody else"),
        (link_into_the_open, r"others may write to .*/a "),
        (link_up_through_another, r"/a belongs to somebody else"),
        (circle, "too many links"),
        (file_on_the_way, "/a/file is no directory"),
    ],
)
def test_a_path_that_others_may_bend(weaken: Callable[[Path], Path], why: str, tmp_path: Path) -> None:
    import re

    made(tmp_path, "a", "b", "c")
    assert weak_spot(str(tmp_path / "a/b/c")) == ""
    assert re.search(why, weak_spot(str(weaken(tmp_path))))


def test_a_path_that_nobody_else_may_bend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = made(tmp_path, "a", "b")
    tmp_path.joinpath("a").chmod(0o1777)  # sticky, as /tmp
    tmp_path.joinpath("link").symlink_to("a/../a/b")
    monkeypatch.chdir(tmp_path)
    for path in (str(place), str(tmp_path / "link"), "a/b", str(place / "not" / "there"), "/"):
        assert weak_spot(path) == ""
