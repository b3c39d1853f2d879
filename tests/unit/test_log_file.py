"""A log file: rotated when full, old files compressed and removed, moved by others, on a full disk."""

from __future__ import annotations

import errno
import gzip
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from lib.log_file import DAY, LogFile, aside, tidy
from lib.settings_telemetry import RotationSettings

NAME = re.compile(r"hub-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log")


def write(log: LogFile, text: str) -> None:
    """Write one line, as an output's thread does."""
    line = f"{text}\n".encode()
    while line:
        line = line[log.write(line) :]


def old(path: Path) -> list[str]:
    return sorted(other.name for other in path.parent.iterdir() if other != path)


def test_a_full_file_is_put_aside_and_no_line_is_lost_or_torn(tmp_path: Path) -> None:
    path = tmp_path / "hub.log"
    log = LogFile(str(path), RotationSettings(max_bytes=1000))
    for number in range(200):
        write(log, f"line {number:03d} {'x' * 40}")
    log.close()
    names = old(path)
    assert len(names) > 5
    assert all(NAME.fullmatch(name) for name in names)
    text = "".join((tmp_path / name).read_text() for name in [*names, "hub.log"])
    assert [line[5:8] for line in text.splitlines()] == [f"{number:03d}" for number in range(200)]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in [*names, "hub.log"])


def test_names_are_as_lumberjack_s(tmp_path: Path) -> None:
    path = str(tmp_path / "hub.log")
    assert aside(path, 1234567890.25, False) == str(tmp_path / "hub-2009-02-13T23-31-30.250.log")
    (tmp_path / "hub-2009-02-13T23-31-30.250.log.gz").touch()
    assert aside(path, 1234567890.25, False) == str(tmp_path / "hub-2009-02-13T23-31-30.251.log")


def test_local_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-5")
    time.tzset()
    try:
        assert "T04-31-30" in aside(str(tmp_path / "hub.log"), 1234567890.25, True)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_old_files_are_packed_and_removed_by_number_and_age(tmp_path: Path) -> None:
    path, now = str(tmp_path / "hub.log"), 1_700_000_000.0
    names = []
    for days in (0, 1, 2, 3, 9):
        name = aside(path, now - days * DAY, False)
        Path(name).write_text(f"{days} days old\n")
        names.append(Path(name).name)
    for other in ("hub-notes.log", "other-2009-02-13T23-31-30.250.log", "hub.log", "hub-.log.gz.part"):
        (tmp_path / other).write_text("not ours to remove")
    tidy(path, RotationSettings(max_backups=4, max_age=2, compress=True), now)
    left = {other.name for other in tmp_path.iterdir()}
    packed = {f"{name}.gz" for name in names[:3]}
    assert left == packed | {"hub-notes.log", "other-2009-02-13T23-31-30.250.log", "hub.log"}
    assert gzip.decompress((tmp_path / f"{names[1]}.gz").read_bytes()) == b"1 days old\n"
    tidy(path, RotationSettings(max_backups=1), now)
    assert {other.name for other in tmp_path.iterdir()} == left - {f"{name}.gz" for name in names[1:3]}


def test_several_processes_rotate_one_file_and_no_line_is_lost(tmp_path: Path) -> None:
    """While old files are packed as soon as they come. They have one descriptor, as of a fork."""
    path, count, size = tmp_path / "hub.log", 1500, 4000
    rotation = RotationSettings(max_bytes=size, compress=True)
    log = LogFile(str(path), rotation)
    writers = []
    for name in "abc":
        pid = os.fork()
        if not pid:
            status = 1
            try:
                for number in range(count):
                    write(log, f"{name} {number:04d} {'x' * 60}")
                status = 0
            finally:
                os._exit(status)
        writers.append(pid)
    left = list(writers)
    while left:
        tidy(str(path), rotation, time.time())
        left = [pid for pid in left if os.waitpid(pid, os.WNOHANG) == (0, 0)]
    log.close()
    tidy(str(path), rotation, time.time())
    old = [gzip.decompress(name.read_bytes()) for name in sorted(tmp_path.glob("hub-*.log.gz"))]
    assert len(old) > 3 * count * 70 // size - 3
    assert max(map(len, old)) <= size
    lines = (b"".join(old) + path.read_bytes()).decode().splitlines()
    for name in "abc":
        mine = [line for line in lines if line[0] == name]
        assert mine == [f"{name} {number:04d} {'x' * 60}" for number in range(count)]


def test_who_is_too_slow_all_the_time_writes_to_no_file_that_was_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub.log"
    log = LogFile(str(path), RotationSettings(max_bytes=1000))
    count = 0

    def lockf(*_: object) -> None:
        """While this one waits, another process puts the file aside: so often."""
        nonlocal count
        if count < most and path.exists():
            count += 1
            path.rename(tmp_path / f"moved-{count}")

    monkeypatch.setattr("lib.log_file.fcntl.lockf", lockf)
    most = 50
    write(log, "at last")
    assert path.read_text() == "at last\n"
    count, most = 0, 1000
    with pytest.raises(OSError, match="again and again"):
        write(log, "never")
    assert all(not moved.read_text() for moved in tmp_path.glob("moved-*") if moved.name != "moved-1")
    log.close()


def test_where_there_are_no_locks_it_is_not_rotated_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub.log"
    log = LogFile(str(path), RotationSettings(max_bytes=20))

    def no(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("lib.log_file.fcntl.lockf", no)
    for number in range(9):
        write(log, f"a long line {number}")
        if number == 0:
            assert [error.errno for error in log.complaints] == [errno.ENOLCK]
            log.complaints.clear()
    path.rename(tmp_path / "moved")
    write(log, "to a new file")
    log.close()
    assert not log.complaints
    assert len((tmp_path / "moved").read_text().splitlines()) == 9
    assert path.read_text() == "to a new file\n"


def test_logrotate_by_moving_and_by_copying(tmp_path: Path) -> None:
    path = tmp_path / "hub.log"
    log = LogFile(str(path))
    write(log, "one")
    path.rename(tmp_path / "hub.log.1")
    write(log, "two")
    assert ((tmp_path / "hub.log.1").read_text(), path.read_text()) == ("one\n", "two\n")
    os.truncate(path, 0)
    write(log, "three")
    assert path.read_bytes() == b"three\n"  # no hole of zeros before it
    log.close()


def test_who_may_not_put_it_aside_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hub.log"
    log = LogFile(str(path), RotationSettings(max_bytes=20))

    def no(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lib.log_file.os.rename", no)
    for number in range(9):
        write(log, f"a long line {number}")
    log.close()
    assert len(path.read_text().splitlines()) == 9
    assert [error.errno for error in log.complaints] == [13]


@pytest.mark.needs_root
def test_a_disk_that_fills_up_loses_lines_but_tears_none(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], check=True)
    try:
        log, lost = LogFile(str(mount / "hub.log"), RotationSettings(max_bytes=10_000)), 0
        for number in range(1200):
            try:
                write(log, f"{number:04d} {'x' * 90}")
            except OSError:
                lost += 1
        assert lost > 100
        for name in mount.glob("hub-*"):
            name.unlink()
        write(log, "room again")
        log.close()
        kept = (mount / "hub.log").read_text().splitlines()
        assert kept[-1] == "room again"
        whole = [line for line in kept if re.fullmatch(r"\d{4} x{90}", line)]
        assert len(kept) - len(whole) <= 2  # the last one and at most one that is cut short
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_packing_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "hub.log")
    name = Path(aside(path, 1e9, False))
    name.write_text("something")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        tidy(path, RotationSettings(compress=True), 1e9)
    assert [other.name for other in tmp_path.iterdir()] == [name.name]
