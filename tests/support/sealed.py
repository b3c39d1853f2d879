"""What a unit of systemd takes from its process, done without systemd: read-only mounts, another user, few capabilities.

Knows: the settings of packaging/systemd/tunrouter.service that take something away, and how to do the same by
unshare(1), mount(8) and setpriv(1). Refuses to know: system call filters, which need systemd (tests/packaging).
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from tests.support.netns import ROOT

UNIT = ROOT / "packaging" / "systemd" / "tunrouter.service"
USER, GROUP = "nobody", "nogroup"
"""In place of the unit's own, which only a package makes."""
OWN = ("/run/tunrouter", "/var/lib/tunrouter")
"""The directories that it may write to; a place of tests.support.page has both."""


def setting(name: str) -> str:
    """A setting of the unit; its last line counts."""
    found: list[str] = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return found[-1]


def sealed(command: str, work: Path) -> str:
    """A shell command that runs another one as the unit would; `work` is the directory of the test."""
    kept = [word.lower().removeprefix("cap_") for word in setting("AmbientCapabilities").split()]
    bounds = [word.lower().removeprefix("cap_") for word in setting("CapabilityBoundingSet").split()]
    assert setting("ProtectSystem") == "strict"
    assert setting("ProtectKernelTunables") == setting("NoNewPrivileges") == "yes"
    own = " ".join(OWN)
    caps = ",".join(f"+{name}" for name in kept)
    steps = [
        *_reachable(sys.base_prefix, "/root"),
        *_reachable(str(work), "/".join(work.parts[:3]).replace("//", "/")),
        f"chown {USER} {own}",
        "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200",  # as udev makes it
        "mount -o bind,ro /proc/sys /proc/sys",
        "mount -o remount,bind,ro /",
        *(
            f"setpriv --reuid {USER} --regid {GROUP} --clear-groups --no-new-privs --inh-caps {caps} --ambient-caps {caps}",
        ),
    ]
    last = f"{steps.pop()} --bounding-set -all,{','.join(f'+{name}' for name in bounds)} {command}"
    script = " && ".join([*steps, f"export XDG_STATE_HOME=/var/lib && exec {last}"])
    return f"unshare --mount sh -c {shlex.quote(script)}"


def _reachable(path: str, closed: str) -> list[str]:
    """Commands that let another user reach a path below a directory that is closed to everybody else."""
    if not path.startswith(f"{closed}/"):
        return []
    return [
        f"mount --bind {path} /mnt && mount -t tmpfs -o mode=755 tmpfs {closed} && mkdir -p {path}",
        f"mount --move /mnt {path}",
    ]
