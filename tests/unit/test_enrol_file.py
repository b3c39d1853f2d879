"""The list in a file: several processes change it at once and none is lost; a crash leaves the old one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lib import enrol_file
from lib.enrol_file import FileStore
from tests.support.netns import ROOT

COUNTER = """if True:
    import sys
    from lib.enrol_file import FileStore
    store = FileStore(sys.argv[1])
    for _ in range(50):
        store.change(lambda old: b"%d" % (int(old or b"0") + 1))
"""


def test_changes_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "sub" / "hosts")
    argv = (sys.executable, "-c", COUNTER, path)
    running = [subprocess.Popen(argv, cwd=ROOT) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert FileStore(path).read() == b"150"


def test_a_change_is_seen_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "hosts"))
    assert (store.read(), store.stamp()) == (b"", None)
    assert store.change(lambda old: old + b"one") == b"one"
    first = store.stamp()
    assert store.change(lambda old: None) == b"one"
    assert store.stamp() == first, "nothing was written"
    assert store.change(lambda old: old + b"two") == b"onetwo"
    assert store.stamp() != first
    assert stat.S_IMODE(os.stat(store.name).st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hosts", "hosts.lock"]


def test_a_change_that_fails_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(str(tmp_path / "hosts"))
    store.change(lambda old: b"good")

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="No space left"):
            store.change(lambda old: b"half")

    def refuses(old: bytes) -> bytes:
        raise ValueError("no such host")

    with pytest.raises(ValueError, match="no such host"):
        store.change(refuses)
    assert store.read() == b"good"
    assert store.change(lambda old: old + b"!") == b"good!", "the lock is free again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hosts", "hosts.lock"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "hosts").symlink_to(tmp_path / "there" / "hosts")
    FileStore(str(tmp_path / "hosts")).change(lambda old: b"x")
    assert (tmp_path / "hosts").is_symlink()
    assert (tmp_path / "there" / "hosts").read_bytes() == b"x"


def test_a_list_that_is_too_long_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrol_file, "MAX_BYTES", 3)
    (tmp_path / "hosts").write_bytes(b"four")
    with pytest.raises(OSError, match="more than"):
        FileStore(str(tmp_path / "hosts")).read()
