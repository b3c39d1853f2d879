"""The bundle of `tunrouter doctor`: one tar.gz with the report, the configuration and this host's network.

Knows: what is in it, and that every text passes redaction. Refuses to know: what a secret looks like
(doctor_redact), what the report says (cli_doctor).
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from gevent import spawn

from lib import doctor_redact, service_command, service_environment
from lib.errors import HostError

MAX_TEXT = 4 << 20
"""Letters of each file; what is more is cut off."""
PROGRAM_SECONDS = 3.0
PROGRAMS = {
    "network.txt": (
        ("ip", "-d", "address"), ("ip", "route", "show", "table", "all"),
        ("ip", "-6", "route", "show", "table", "all"), ("ip", "rule"), ("ip", "neigh"), ("ss", "-ltn"),
    ),
    "firewall.txt": (("nft", "list", "ruleset"), ("iptables-legacy-save",)),
    "system.txt": (("uname", "-a"), ("timedatectl",), ("resolvectl", "status"), ("free", "-m")),
}  # fmt: skip
"""Name of a file -> the programs whose output it holds; one that is not here is told of."""
FILES = (
    *("/etc/os-release", "/etc/resolv.conf", "/etc/nsswitch.conf", "/proc/sys/net/ipv4/ip_forward"),
    *("/proc/sys/net/ipv6/conf/all/forwarding", "/proc/sys/net/ipv4/conf/all/rp_filter"),
    *("/proc/sys/net/ipv4/tcp_available_congestion_control", "/proc/sys/net/ipv4/tcp_congestion_control"),
    *("/proc/sys/net/ipv4/tcp_allowed_congestion_control", "/proc/self/status"),
)


def write(path: str, texts: Mapping[str, str], secrets: Iterable[str]) -> None:
    """Write the bundle: `texts` by file name, and what programs say of this host. Raises HostError.

    The file gets mode 0600, and is there whole or not at all.
    """
    jobs = {name: [spawn(_said, argv) for argv in programs] for name, programs in PROGRAMS.items()}
    whole = dict(texts)
    for name, found in jobs.items():
        whole[name] = "\n".join(job.get() for job in found)
    whole["files.txt"] = "\n".join(map(_content, FILES))
    known = sorted({*secrets})
    directory = os.path.dirname(os.path.abspath(path))
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-", delete=False) as file:
            try:
                _pack(file, {name: doctor_redact.hide(text, known) for name, text in whole.items()})
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise HostError(f"{path}: {error.strerror or error}") from None


def _pack(file: object, texts: Mapping[str, str]) -> None:
    with tarfile.open(fileobj=file, mode="w:gz") as archive:  # type: ignore[call-overload]
        for name, text in texts.items():
            data = text[:MAX_TEXT].encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"tunrouter-doctor/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    file.flush()  # type: ignore[attr-defined]


def _said(argv: tuple[str, ...]) -> str:
    """A program's name and output."""
    outcome = service_command.run(argv, service_environment.whole(os.environ), PROGRAM_SECONDS, keep=MAX_TEXT)
    printed = f"{outcome.output}{outcome.errors}"
    return f"$ {' '.join(argv)}\n{printed or outcome.failure}\n"


def _content(path: str) -> str:
    try:
        text = Path(path).read_text(errors="replace")
    except OSError as error:
        text = f"{error.strerror or error}\n"
    return f"==> {path}\n{text}"
