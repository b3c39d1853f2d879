"""What a program may leave behind on a host: a picture of addresses, routes, rules, nftables, settings, names.

Knows: the programs that show it. Refuses to know: who has changed it.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.netns import Namespace

_SHOWN = {
    "addresses": "ip -o addr",
    "routes": "ip -4 route show table all",
    "IPv6 routes": "ip -6 route show table all",
    "rules": "ip rule; ip -6 rule",
    "nftables": "nft list ruleset",
    "settings": "sysctl -a -r '^net.ipv[46].(ip_forward$|conf[.])'",
    "names": "cat /etc/resolv.conf /etc/hosts",
}
_MOVES = ("mtu", "stable_secret", "ra_retrans")
"""Settings that change by themselves."""


def picture(namespace: Namespace) -> dict[str, list[str]]:
    """What is set in a namespace, as lines by kind. Two pictures are equal where nothing was left."""
    script = "; echo ----; ".join(_SHOWN.values())
    text = namespace.run("sh", "-c", f"{script} 2>/dev/null")
    parts = text.replace(" linkdown", "").split(
        "----\n"
    )  # the kernel says that a new link is up a second late
    assert len(parts) == len(_SHOWN)
    return {
        kind: sorted(line for line in part.splitlines() if not any(word in line for word in _MOVES))
        if kind == "settings"
        else part.splitlines()
        for kind, part in zip(_SHOWN, parts, strict=True)
    }


def resolv_conf(namespace: Namespace) -> Path:
    """The file that programs of a namespace have as /etc/resolv.conf, once it is there (ip-netns(8))."""
    return Path("/etc/netns") / namespace.name / "resolv.conf"
