"""The directory that the executable runs from, and those who clean up in /tmp."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import __version__
from tests.e2e.test_files_gone import (  # noqa: F401  pytest runs it here too
    test_every_feature_works_when_the_program_s_files_have_gone,
)
from tests.e2e.test_first_moments import (  # noqa: F401
    test_a_reload_and_a_question_in_the_first_moments_are_obeyed_later,
    test_ctrl_c_in_the_first_moments_says_nothing,
    test_variables_of_the_caller_change_nothing,
    test_what_a_caller_has_done_to_signals_does_not_matter,
)
from tests.support.netns import Namespace
from tests.support.program import TUNROUTER, run, start_hub
from tests.support.tls import Authority

pytestmark = pytest.mark.needs_root

Write = Callable[[str, str], str]
HUB = "services: [{name: s, addr: '127.0.0.1:8443', handler: {type: router, metadata: {router: r}}}]\nrouters: [{name: r}]\n"
NAMES = """\
services: [{{name: s, addr: '127.0.0.1:8443', handler: {{type: router, metadata: {{router: r}}}},
  listener: {{type: tls, tls: {{certFile: {cert}, keyFile: {key}, rejectUnknownSNI: true}}}}}}]
routers: [{{name: r}}]
"""
"""For this the names in a certificate are read, by a library that is else not loaded."""


def test_the_directory_of_a_running_process_is_locked(
    namespace: Namespace, write: Write, place: Path
) -> None:
    """Both processes hold the lock, so that it stays when one is killed."""
    hub = start_hub(namespace, "-C", write("hub.yml", HUB))
    (used,) = place.iterdir()
    directory = os.open(used, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert hub.stop() == 0
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(directory)


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd-tmpfiles is not installed")
def test_systemd_s_cleaner_leaves_it_alone(namespace: Namespace, write: Write, place: Path) -> None:
    hub = start_hub(namespace, "-C", write("hub.yml", HUB))
    (used,) = place.iterdir()
    files = sorted(used.rglob("*"))
    other = place / "other"
    other.mkdir()
    (other / "file").touch()
    time.sleep(0.01)  # what is of this very moment is not old
    rule = write("clean.conf", f"e {place} - - - 0\n")
    subprocess.run(("systemd-tmpfiles", "--clean", rule), check=True)
    assert not other.exists(), "it has not cleaned"
    assert sorted(used.rglob("*")) == files
    assert hub.stop() == 0


def test_a_directory_that_has_gone_is_no_error_at_the_end(
    namespace: Namespace, write: Write, place: Path
) -> None:
    hub = start_hub(namespace, "-C", write("hub.yml", HUB))
    (used,) = place.iterdir()
    shutil.rmtree(used)
    used.mkdir()  # in /tmp anybody may make one of that name
    (used / "of somebody else").touch()
    said = hub.line_count()
    assert hub.stop() == 0
    assert "remove" not in "".join(hub.text().splitlines(keepends=True)[said:])
    assert (used / "of somebody else").exists()


def test_a_reload_that_needs_a_file_that_has_gone_says_so_and_changes_nothing(
    namespace: Namespace, write: Write, place: Path, tmp_path: Path
) -> None:
    config = write("hub.yml", HUB)
    hub = start_hub(namespace, "-C", config)
    (used,) = place.iterdir()
    shutil.rmtree(used)
    own = Authority(tmp_path).issue("hub.test")
    write("hub.yml", NAMES.format(cert=own.cert, key=own.key))
    hub.send(1)
    hub.wait_line("reload: what a certificate needs cannot be loaded any more: .*; start tunrouter anew")
    write("hub.yml", HUB)
    seen = hub.line_count()
    hub.send(1)
    hub.wait_line("reload: nothing is different", after=seen)
    assert hub.stop() == 0
    assert "Traceback" not in hub.text()


@pytest.mark.parametrize("word", ["--version", "licences"])
def test_a_library_path_of_the_caller_is_not_ours(tmp_path: Path, word: str) -> None:
    """Libraries of other programs, as in a shell that was set up for one of these."""
    for name in ("libz.so.1", "libssl.so.3", "libcrypto.so.3", "libpython3.11.so.1.0", "libstdc++.so.6"):
        (tmp_path / name).write_bytes(b"no library")
    environ = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run((*TUNROUTER, word), env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_is_still_in_an_older_one_is_not_cleared(place: Path) -> None:
    """A tunrouter of before locked the file only."""
    old = place / "_MEI0000abcdefghim"
    old.mkdir()
    with (old / "tunrouter.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("--version")[0] == 0
        assert old.exists()
    directory = os.open(old, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)  # a cleaner is at work in it
    assert run("--version")[0] == 0
    assert old.exists()
    os.close(directory)
    assert run("--version")[0] == 0
    assert not old.exists()


# --- limits -------------------------------------------------------------------------------------


def limited(*limits: str) -> tuple[int, str]:
    """(status, output) of a command for which everything is unpacked, with these options of ulimit."""
    before = "; ".join(f"ulimit {limit}" for limit in limits)
    return run("licences", before=("sh", "-c", f'{before}; exec "$@"', "sh"))


def test_a_limit_on_files_sizes_is_told_of_in_one_line(place: Path) -> None:
    status, said = limited("-f 2000")
    assert (status, said.count("\n")) == (1, 1), said
    assert said.startswith(
        "error: cannot unpack: no file here may have more than 1024 kB (ulimit -f, RLIMIT_FSIZE)"
    )
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "limit",
    [f"-{kind} {kb}" for kind, most in (("v", 40_000), ("d", 20_000)) for kb in range(5_000, most, 2_500)],
)
def test_too_little_memory_is_told_of_in_one_line(place: Path, limit: str) -> None:
    """Python ended in a trace, or before it could say anything."""
    status, said = run("--version", before=("sh", "-c", f'ulimit {limit}; exec "$@"', "sh"))
    told = f"error: not enough memory: see ulimit {limit[:2]}, or the limit of the container or unit\n"
    assert (status, said) in ((1, told), (1, told.replace("-d", "-v")), (0, f"tunrouter {__version__}\n"))
    assert list(place.iterdir()) == []


def test_a_limit_that_every_file_keeps_is_none(place: Path) -> None:
    """All files together are larger than one may be."""
    assert limited("-f 30000")[0] == 0
    assert list(place.iterdir()) == []


def test_what_fails_half_way_is_told_of_in_one_line(place: Path) -> None:
    """Too few descriptors, as an example for what shows only while files are written."""
    seen = 0
    for most in range(4, 10):
        status, said = limited(f"-n {most}")
        if "error: no place to unpack to: " in said:
            assert (status, len(said.splitlines())) == (1, 1), said
            assert f"{place} Too many open files, /tmp Too many open files, " in said
            seen += 1
        assert list(place.iterdir()) == []
    assert seen > 1, "too few in every case, or too many"
