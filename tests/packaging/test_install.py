"""install.sh: into a folder, and onto a machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.debian import EXECUTABLE, Root
from tests.support.netns import ROOT

SCRIPT = ROOT / "packaging" / "install.sh"


def install(*words: str, **environ: str) -> list[str]:
    done = subprocess.run(
        (str(SCRIPT), *words), env=os.environ | environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    ("prefix", "units"),
    [
        ("/usr/local", "usr/local/lib/systemd/system"),
        ("/usr", "lib/systemd/system"),
        ("/opt/t", "etc/systemd/system"),
    ],
)
def test_into_a_folder_and_out_again(tmp_path: Path, prefix: str, units: str) -> None:
    first = install(DESTDIR=str(tmp_path), PREFIX=prefix)
    assert {line.split()[0] for line in first} == {"installed"}
    unit = (tmp_path / units / "tunrouter.service").read_text()
    assert f"\nExecStart={prefix}/bin/tunrouter -C /etc/tunrouter/tunrouter.yaml" in unit
    assert (tmp_path / prefix.lstrip("/") / "bin/tunrouter").read_bytes() == EXECUTABLE.read_bytes()
    made = files(tmp_path)
    assert len(made) == len(first)

    config = tmp_path / "etc/tunrouter/tunrouter.yaml"
    config.write_text("# mine\n")
    (tmp_path / units / "tunrouter.service").write_text("# of an older version\n")
    again = install("install", DESTDIR=str(tmp_path), PREFIX=prefix)
    assert [line for line in again if not line.startswith("unchanged")] == [
        f"replaced   {tmp_path}/{units}/tunrouter.service",
        f"kept       {config}",
    ]
    assert config.read_text() == "# mine\n"
    assert files(tmp_path) == made

    out = install("uninstall", DESTDIR=str(tmp_path), PREFIX=prefix)
    assert f"kept       {tmp_path}/etc/tunrouter" in out
    assert files(tmp_path) == {"etc/tunrouter/tunrouter.yaml"}
    assert install("uninstall", "--purge", DESTDIR=str(tmp_path), PREFIX=prefix) == [
        f"removed    {tmp_path}/etc/tunrouter"
    ]
    assert files(tmp_path) == set()
    assert install("uninstall", DESTDIR=str(tmp_path), PREFIX=prefix) == []


def test_onto_a_machine_and_off_it_again(root: Root) -> None:
    before, accounts = root.files(), root.read("/etc/passwd")
    (root.path / "tmp/tree/build/dist").mkdir(parents=True)
    root.copy(EXECUTABLE, "/tmp/tree/build/dist")
    for part in ("packaging", "PROTOCOL.md", "SECURITY.md"):
        subprocess.run(("cp", "-a", str(ROOT / part), str(root.path / "tmp/tree")), check=True)
    script = "/tmp/tree/packaging/install.sh"
    assert "added      user tunrouter" in root.run(script)
    assert "added" not in root.run(script)
    assert root.run("stat", "-c", "%a %U:%G", "/etc/tunrouter/tunrouter.yaml") == "640 root:tunrouter\n"
    assert root.run("systemd-analyze", "verify", "--man=no", "tunrouter.service") == ""
    assert root.run("tunrouter", "check", "-C", "/etc/tunrouter/tunrouter.yaml").startswith("ok")
    assert "removed    user tunrouter" in root.run(script, "uninstall", "--purge")
    left = root.files() - before
    assert {path for path in left if not (root.path / path[1:]).is_dir()} == set()
    assert root.read("/etc/passwd") == accounts


def test_what_it_does_not_know_it_does_not_do(tmp_path: Path) -> None:
    for words in (("uninstal",), ("uninstall", "--prge"), ("install", "now")):
        done = subprocess.run(
            (str(SCRIPT), *words), env=os.environ | {"DESTDIR": str(tmp_path)}, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "uninstall [--purge]" in done.stderr
    missing = os.environ | {"DESTDIR": str(tmp_path), "EXECUTABLE": "/not/there"}
    done = subprocess.run((str(SCRIPT),), env=missing, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "install.sh: there is no /not/there: make binary, or say EXECUTABLE=/where/it/is\n",
    )
    assert files(tmp_path) == set()
