"""The .deb in a Debian root where systemd is installed and not PID 1, as in an image being built."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.debian import Root, call
from tests.support.netns import HUB_TO_HOST_1, ROOT, Topology
from tests.support.program import host, start_client

CONFIG = "/etc/tunrouter/tunrouter.yaml"


def install(root: Root, package: Path, *options: str) -> str:
    return root.run("dpkg", *options, "-i", root.copy(package))


def test_installed_it_runs_and_purged_nothing_is_left(
    root: Root, package: Path, topology: Topology, tmp_path: Path
) -> None:
    before, accounts = root.files(), root.read("/etc/passwd")
    install(root, package)
    assert root.run("dpkg", "-V", "tunrouter") == ""
    assert root.run("tunrouter", "--version").startswith("tunrouter ")
    assert (
        root.run("stat", "-c", "%a %U:%G", "/etc/tunrouter", CONFIG)
        == "750 root:tunrouter\n640 root:tunrouter\n"
    )
    assert root.run("tunrouter", "check", "-C", CONFIG).startswith(
        "ok: service hub is a hub on 127.0.0.1:8443"
    )
    assert "disabled" in root.run("systemctl", "is-enabled", "tunrouter", check=False)

    root.write(CONFIG, root.read(CONFIG).replace("127.0.0.1:8443", ":8443"))
    hub = topology.hub.popen(
        *root.argv("setpriv", "--reuid=tunrouter", "--regid=tunrouter", "--clear-groups", "tunrouter")
    )
    hub.wait_line("listening on", 20)
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    hub.wait_line("is host host-1")
    assert client.stop() == 0
    assert hub.stop() == 0

    root.run("systemctl", "enable", "tunrouter")
    root.run("dpkg", "-r", "tunrouter")
    assert ":8443" in root.read(CONFIG)
    assert not (root.path / "usr/bin/tunrouter").exists()
    root.run("dpkg", "-P", "tunrouter")
    assert root.files() - before == set()
    assert before - root.files() == set()
    assert root.read("/etc/passwd") == accounts


def test_an_upgrade_keeps_what_was_changed(root: Root, package: Path, newer: Callable[[str], Path]) -> None:
    install(root, package)
    mine = root.read(CONFIG).replace("127.0.0.1:8443", "127.0.0.1:9999")
    root.write(CONFIG, mine)
    root.run("chmod", "600", CONFIG)
    install(root, package)
    assert root.read(CONFIG) == mine
    install(root, newer("# something new\n"), "--force-confdef", "--force-confold")
    assert root.read(CONFIG) == mine
    assert root.run("stat", "-c", "%a %U:%G", CONFIG) == "600 root:tunrouter\n"
    assert root.run("dpkg-query", "-W", "-f", "${Status} ${Version}", "tunrouter").endswith("+1")


def test_an_upgrade_brings_what_was_not_changed(
    root: Root, package: Path, newer: Callable[[str], Path]
) -> None:
    install(root, package)
    install(root, newer("# something new\n"))
    assert root.read(CONFIG).endswith("# something new\n")
    assert root.run("stat", "-c", "%a %U:%G", CONFIG) == "640 root:tunrouter\n"


def test_units_are_sound_and_closed(root: Root, package: Path) -> None:
    install(root, package)
    root.write("/etc/tunrouter/one.yaml", "")
    for unit in ("tunrouter.service", "tunrouter@one.service"):
        assert root.run("systemd-analyze", "verify", "--man=no", unit) == ""
        root.run(
            "systemd-analyze",
            "security",
            "--offline=true",
            "--threshold=25",
            f"/lib/systemd/system/{unit.replace('one', '')}",
        )


def test_completions_and_the_manual_are_where_they_are_looked_for(root: Root, package: Path) -> None:
    install(root, package)
    for path, start in (
        ("/usr/share/bash-completion/completions/tunrouter", "# bash completion"),
        ("/usr/share/zsh/vendor-completions/_tunrouter", "#compdef tunrouter"),
        ("/usr/share/fish/vendor_completions.d/tunrouter.fish", "# fish completion"),
    ):
        assert root.read(path).startswith(start)
    assert ".SH SYNOPSIS" in root.run("zcat", "/usr/share/man/man8/tunrouter.8.gz")


def test_the_same_package_when_built_twice(package: Path) -> None:
    first = package.read_bytes()
    call(str(ROOT / "packaging" / "deb" / "build.sh"))
    assert package.read_bytes() == first


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed")
def test_lintian_has_nothing_to_say(package: Path) -> None:
    done = subprocess.run(
        ("lintian", "--allow-root", "--fail-on", "error,warning", str(package)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")
