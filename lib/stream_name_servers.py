"""Name servers that the C library asks, as resolv.conf(5) lists them.

Knows: the file's `nameserver` lines, and that a local forwarder (systemd-resolved) keeps a list of those that
it asks itself.
Refuses to know: how a name is looked up (stream_resolve), how a name server is reached (client_around).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from lib import dns_resolv_conf

FILES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
"""The C library's file, and where systemd-resolved(8) lists the name servers behind its own 127.0.0.53."""
MOST = 6
"""Name servers that are told apart; the C library asks three of a file."""


def name_servers(files: Iterable[str] = FILES) -> list[str]:
    """The IP addresses of name servers, without those of this host and those of one link only."""
    found: list[str] = []
    for file in files:
        try:
            text = Path(file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found += in_file(text)
    return list(dict.fromkeys(found))[:MOST]


def in_file(text: str) -> list[str]:
    """The name servers in the text of one such file."""
    found = []
    for line in dns_resolv_conf.plain(text).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ip_address(words[1])
            except ValueError:
                continue
            if not address.is_loopback and not address.is_link_local and not address.is_unspecified:
                found.append(str(address))
    return found
