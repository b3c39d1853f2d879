"""Files by which programs find names are changed whole, wherever they lie."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import client_names_files
from lib.client_names_files import change, read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_bytes(b"nameserver 192.0.2.53\n\xff")
    path.chmod(0o640)
    return path


def append(text: str | None) -> str:
    return (text or "") + "# more\n"


def refuse(code: int) -> Callable[..., None]:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fails


def test_a_file_is_replaced_and_keeps_its_mode_and_its_bytes(file: Path) -> None:
    before = file.stat()
    change(str(file), append)
    assert file.read_bytes() == b"nameserver 192.0.2.53\n\xff# more\n"
    assert (file.stat().st_mode, file.stat().st_uid) == (before.st_mode, before.st_uid)
    assert file.stat().st_ino != before.st_ino
    assert os.listdir(file.parent) == ["resolv.conf"]


def test_where_a_link_leads_is_changed_and_the_link_stays(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to("resolv.conf")
    change(str(link), append)
    assert link.is_symlink()
    assert file.read_bytes().endswith(b"# more\n")


@pytest.mark.parametrize("text", ["longer than before, by some bytes\n", "short\n", ""])
def test_a_mount_is_written_in_place(file: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(client_names_files, "write_whole", refuse(errno.EBUSY))
    before = file.stat().st_ino
    change(str(file), lambda _: text)
    assert file.read_text() == text
    assert file.stat().st_ino == before


def test_a_full_disk_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_names_files, "write_whole", refuse(errno.ENOSPC))
    before = file.read_bytes()
    with pytest.raises(OSError, match="No space"):
        change(str(file), append)
    assert file.read_bytes() == before


def test_a_file_comes_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resolv.conf"
    change(str(path), append)
    assert path.stat().st_mode & 0o777 == 0o644
    change(str(path), lambda _: None)
    assert read(str(path)) is None
    path.write_text("x")
    monkeypatch.setattr(os, "unlink", refuse(errno.EBUSY))
    monkeypatch.setattr(client_names_files, "write_whole", refuse(errno.EBUSY))
    change(str(path), lambda _: None)
    assert path.read_text() == "", "what cannot be removed is emptied"


def test_what_a_killed_writer_left_goes_with_the_next_change(file: Path) -> None:
    left, other = file.with_name("resolv.conf.999999.new"), file.with_name("resolv.conf.mine.new")
    left.touch()
    other.touch()
    change(str(file), append)
    assert not left.exists()
    assert other.exists()


def test_a_file_that_is_as_it_shall_be_is_not_written(file: Path) -> None:
    before = client_names_files.state(str(file))
    change(str(file), lambda text: text)
    assert client_names_files.state(str(file)) == before


def test_a_huge_file_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_names_files, "LARGEST", 10)
    with pytest.raises(OSError, match="too large"):
        change(str(file), append)
