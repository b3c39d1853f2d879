"""Whatever changes what is found at a path is told, on a real file system."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import inotify_simple
import pytest
from gevent.event import Event

from lib.source_watch import Watch, lookups

Change = Callable[[Path], object]


@pytest.fixture
def watch() -> Iterator[Watch]:
    watching = Watch()
    yield watching
    watching.stop()


def link(target: object, place: Path) -> None:
    """As `ln -sfn` does it: a new link, moved into place."""
    place.with_name("new~").symlink_to(str(target))
    place.with_name("new~").replace(place)


def replace(place: Path) -> None:
    place.with_name("new~").write_text("new")
    place.with_name("new~").replace(place)


def relink(target: object, place: Path) -> None:
    """As `rm` and `ln -s` do it."""
    place.unlink()
    place.symlink_to(str(target))


def swap(place: Path) -> None:
    place.rename(place.with_name("old~"))
    place.mkdir()
    (place / "routes").write_text("new")


def kubernetes(root: Path) -> None:
    """A volume of a ConfigMap: every file is a link into `..data`, a link to the newest directory."""
    (root / "..1").mkdir()
    (root / "..1" / "routes").write_text("old")
    (root / "..data").symlink_to("..1")
    (root / "routes").symlink_to("..data/routes")


def next_kubernetes(root: Path) -> None:
    (root / "..2").mkdir()
    (root / "..2" / "routes").write_text("new")
    link("..2", root / "..data")
    shutil.rmtree(root / "..1")


def versions(root: Path) -> None:
    """Two directories and a link to the first of them."""
    for name, text in (("v1", "old"), ("v2", "new")):
        (root / name).mkdir()
        (root / name / "routes").write_text(text)
    (root / "now").symlink_to("v1")


def hops(root: Path) -> None:
    """Three links one after the other."""
    for name, text in (("a", "old"), ("b", "new")):
        (root / name).write_text(text)
    (root / "one").symlink_to("two")
    (root / "two").symlink_to(root / "three")
    (root / "three").symlink_to("a")


def plain(root: Path) -> None:
    (root / "routes").write_text("old")
    (root / "other").write_text("new")


def second_name(root: Path) -> None:
    plain(root)
    (root / "elsewhere").mkdir()
    os.link(root / "routes", root / "elsewhere" / "same")


def hard_relink(root: Path) -> None:
    (root / "routes").unlink()
    os.link(root / "other", root / "routes")


CASES: dict[str, tuple[Change, str, Change]] = {
    "written": (plain, "routes", lambda root: (root / "routes").write_text("new")),
    "written by its second name": (
        second_name, "routes", lambda root: (root / "elsewhere" / "same").write_text("new")),
    "replaced": (plain, "routes", lambda root: replace(root / "routes")),
    "a link swapped for it": (plain, "routes", lambda root: link("other", root / "routes")),
    "removed and a link made": (plain, "routes", lambda root: relink("other", root / "routes")),
    "removed and a hard link made": (
        plain, "routes", hard_relink),
    "a link to its directory swapped": (versions, "now/routes", lambda root: link("v2", root / "now")),
    "a link to its directory made anew": (versions, "now/routes", lambda root: relink("v2", root / "now")),
    "written behind such a link": (
        versions, "now/routes", lambda root: (root / "v1" / "routes").write_text("new")),
    "its directory replaced": (versions, "v1/routes", lambda root: swap(root / "v1")),
    "the directory behind a link replaced": (versions, "now/routes", lambda root: swap(root / "v1")),
    "the first of three links swapped": (hops, "one", lambda root: link("b", root / "one")),
    "the second of three links swapped": (hops, "one", lambda root: link("b", root / "two")),
    "the last of three links swapped": (hops, "one", lambda root: link(root / "b", root / "three")),
    "a link through .. swapped": (versions, "v2/../now/routes", lambda root: link("v2", root / "now")),
    "a volume of Kubernetes": (kubernetes, "routes", next_kubernetes),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_change_of_what_is_at_a_path_is_told(watch: Watch, tmp_path: Path, case: str) -> None:
    prepare, path, change = CASES[case]
    prepare(tmp_path)
    file, changed = str(tmp_path / path), Event()

    def told() -> None:
        watch.add(file, told)  # as the feed does it before it reads
        if Path(file).read_text() == "new":
            changed.set()

    watch.add(file, told)
    assert Path(file).read_text() == "old"
    change(tmp_path)
    assert changed.wait(5)


def test_what_comes_later_is_told_directory_by_directory(watch: Watch, tmp_path: Path) -> None:
    file, changed = tmp_path / "a" / "b" / "routes", Event()

    def told() -> None:
        watch.add(str(file), told)
        changed.set()

    watch.add(str(file), told)
    for act in (file.parent.parent.mkdir, file.parent.mkdir, lambda: file.write_text("new")):
        changed.clear()
        act()
        assert changed.wait(5)


def test_what_is_beside_it_or_no_longer_on_the_way_is_not_told(watch: Watch, tmp_path: Path) -> None:
    versions(tmp_path)
    calls: list[str] = []
    changed = Event()
    file = str(tmp_path / "now" / "routes")

    def told() -> None:
        calls.append("told")
        changed.set()

    watch.add(file, told)
    (tmp_path / "v1" / "beside").write_text("x")
    (tmp_path / "beside").symlink_to("v1")
    link("v2", tmp_path / "now")
    assert changed.wait(5)
    assert calls == ["told"]
    watch.add(file, told)
    changed.clear()
    (tmp_path / "v1" / "routes").write_text("nobody reads this any more")
    (tmp_path / "v2" / "routes").write_text("newest")
    assert changed.wait(5)
    assert calls == ["told"] * 2
    watch.remove(told)
    assert not watch._places, "nothing is watched for nobody"
    assert not watch._paths


def test_changes_that_the_kernel_could_not_keep_may_be_of_any_file(watch: Watch, tmp_path: Path) -> None:
    plain(tmp_path)
    for name in ("routes", "other"):
        watch.add(str(tmp_path / name), partial(print, name))
    told = watch._concerned(inotify_simple.Event(-1, inotify_simple.flags.Q_OVERFLOW, 0, ""))
    assert {one.args for one in told if isinstance(one, partial)} == {("routes",), ("other",)}


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert len(list(lookups(str(tmp_path / "loop" / "x")))) < 60


@pytest.mark.parametrize("path", ["/etc/passwd", "//etc/./passwd", "/etc/../etc/passwd"])
def test_the_way_to_a_path_without_links(path: str) -> None:
    assert list(lookups(path))[-1] == ("/etc", "passwd", True)
