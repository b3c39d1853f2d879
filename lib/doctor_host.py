"""Findings of `tunrouter doctor` about this host: device, forwarding, networks, firewall, clock and others.

Knows: which facts of a host are wrong for a tunnel, why, and what mends them.
Refuses to know: how the facts are found (doctor_look_host), the way to a hub (doctor_way).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from lib import prefixes
from lib.doctor_facts import (
    Certificate,
    Clock,
    Filtered,
    Gateway,
    Listening,
    Locked,
    Networks,
    Other,
    Refused,
    Said,
    Tun,
)
from lib.doctor_finding import Finding
from lib.doctor_firewall import Dropped, Firewall, Packet, dropped
from lib.humanize import span

FUTURE_SECONDS = 120.0
"""A file that was written so many seconds after now tells that the clock has been set back."""
SOON_SECONDS = 14 * 86400.0
"""A certificate that ends within so many seconds is told of."""


def tun(fact: Tun) -> Iterator[Finding]:
    """No TUN device can be made, or the kernel hands out single packets only."""
    if fact.error:
        what, _, mend = fact.error.partition(": ")
        yield Finding(
            f"{what}: {mend}" if mend else what,
            "a client routes packets through a TUN device, and does not start without one",
            "run it as root or by the unit that comes with the package; in a container: "
            "docker run --cap-add NET_ADMIN --device /dev/net/tun …",
        )
    elif fact.refusal:
        yield Finding(
            f"the kernel hands out single packets only ({fact.refusal})",
            "without superpackets (TCP segmentation offload) a tunnel carries about a fifth of what it could",
            "use Linux's own kernel, 4.x or newer: sandboxes as gVisor, and some containers' filters of "
            "system calls, do not let it",
        )


def locked(fact: Locked) -> Iterator[Finding]:
    """A killswitch that no process has: its process was killed, or has failed."""
    yield Finding(
        f"this host is locked by a killswitch that no process holds: {fact.what}",
        "all else that leaves this host is dropped, DNS too; it is meant to outlive its process, and the "
        "next start of the client takes it over",
        "start tunrouter again, or give it up: tunrouter unlock",
    )


def gateways(facts: tuple[Gateway, ...]) -> Iterator[Finding]:
    """The hub routes prefixes to this host, and its kernel does not forward."""
    for one in facts:
        if one.stuck:
            setting = "net.ipv6.conf.all.forwarding" if ":" in one.prefix else "net.ipv4.ip_forward"
            yield Finding(
                f"service {one.service}: the hub routes {one.prefix} to this host, which does not forward",
                "packets from the tunnel for that network end here, and nobody is told",
                f"sysctl -w {setting}=1; to keep it: echo {setting}=1 >/etc/sysctl.d/60-tunrouter.conf",
            )


def filtered(facts: tuple[Filtered, ...]) -> Iterator[Finding]:
    """The reverse path filter drops packets that a tunnel needs."""
    for one in facts:
        yield Finding(
            f"the reverse path filter (rp_filter) of {one.device} drops {one.what} from {one.sources}",
            "the kernel drops packets whose way back does not lead through the device that they came by, "
            "and tells nobody",
            f"add a route to {one.sources} by {one.device} (route= of the client), or: "
            f"sysctl -w {one.setting}=2",
        )


def networks(fact: Networks) -> Iterator[Finding]:
    """A network of a tunnel overlaps with one that this host is connected to."""
    for claim in fact.claims:
        for local in fact.local:
            if not _collide(claim.prefix, local.prefix, claim.is_route):
                continue
            ours, theirs = prefixes.text(*claim.prefix), prefixes.text(*local.prefix)
            kind = "route" if claim.is_route else "network"
            yield Finding(
                f"service {claim.service}: the tunnel's {kind} {ours} overlaps with {theirs}, which is "
                f"connected to {local.device}",
                "packets for addresses that both have go to one of the two only, and which one depends on "
                "the longest prefix, not on who has the address",
                f"give the tunnel another network (net=, route=), or renumber that of {local.device} "
                f"(ip -4 addr show dev {local.device}); where two sites have the same addresses, let one or "
                "both appear under other ones (map=, in the recipes)",
            )


def _collide(ours: prefixes.Prefix, theirs: prefixes.Prefix, is_route: bool) -> bool:
    """Whether a tunnel takes addresses of a local network, or cannot be told from it.

    A route that is wider than the local network takes none of it: the longest prefix wins.
    """
    if len(ours[0]) != len(theirs[0]):
        return False
    if ours[1] >= theirs[1]:
        return prefixes.covers(*theirs, ours[0])
    return not is_route and prefixes.covers(*ours, theirs[0])


def clock(fact: Clock) -> Iterator[Finding]:
    """The clock contradicts files and certificates of this host."""
    path, written = fact.newest
    if path and written > fact.now + FUTURE_SECONDS:
        yield Finding(
            f"the clock says {_time(fact.now)}, but {path} was written at {_time(written)}",
            "with a wrong clock certificates are refused, and logs cannot be compared",
            "timedatectl set-ntp true, or: chronyc makestep",
        )
    for file, certificate in fact.certificates:
        yield from validity(f"the certificate {file} of the hub here", certificate, fact.now, "renew it")


def validity(what: str, certificate: Certificate, now: float, mend: str) -> Iterator[Finding]:
    """A certificate is not valid at a time, or will soon be no longer."""
    if now < certificate.begins:
        yield Finding(
            f"{what} is not valid before {_time(certificate.begins)}, and the clock here says {_time(now)}",
            "one of the two clocks is wrong; a client that checks the certificate refuses the hub until then",
            "on the host whose clock is wrong: timedatectl set-ntp true, or: chronyc makestep",
        )
    elif now > certificate.ends:
        yield Finding(
            f"{what} has expired on {_time(certificate.ends)}",
            "a client that checks the certificate refuses the hub (one with a pin does not look at the date)",
            f"{mend}; if it is renewed already, look at the clock: timedatectl",
        )
    elif certificate.ends - now < SOON_SECONDS:
        yield Finding(
            f"{what} expires in {span(certificate.ends - now)}, on {_time(certificate.ends)}",
            "from then on a client that checks the certificate refuses the hub",
            mend,
        )


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def firewall(fact: Firewall) -> Iterator[Finding]:
    """The packet filter here surely drops packets that a tunnel needs."""
    for packet in fact.packets:
        found = dropped(fact.chains, packet)
        if found is not None:
            by = f"by its {found.rule.text}" if found.rule else "by its policy"
            yield Finding(
                f"the firewall drops {packet.about}: chain {found.chain.name} of {found.chain.table}, {by}",
                "the packets end there, and nobody is told",
                _allowed(packet, found),
            )


def _allowed(packet: Packet, found: Dropped) -> str:
    """The command that lets a packet pass, before everything else in the chain."""
    matches = {
        "iif": f'iifname "{packet.iif}"' if packet.iif not in ("", "?") else "",
        "oif": f'oifname "{packet.oif}"' if packet.oif else "",
        "port": f"{packet.protocol} dport {packet.port}" if packet.port else "",
    }
    table, words = found.chain.table, " ".join(filter(None, matches.values()))
    if "iptables-" in table:
        program = "iptables" if packet.version == "4" else "ip6tables"
        devices = [f"-i {packet.iif}"] * (packet.iif not in ("", "?")) + [f"-o {packet.oif}"] * bool(
            packet.oif
        )
        ports = [f"-p {packet.protocol} --dport {packet.port}"] * bool(packet.port)
        return f"{program} -I {found.chain.name} {' '.join([*devices, *ports])} -j ACCEPT"
    return f"nft insert rule {table} {found.chain.name} {words} accept"


def congestion(facts: tuple[Refused, ...]) -> Iterator[Finding]:
    """A congestion control is not to be had."""
    for one in facts:
        yield Finding(
            f"service {one.service}: congestion control {one.wanted} is not used: {one.why}",
            "where packets are lost, cubic and reno fall to a few Mbit/s, and bbr keeps its rate",
            "as said above, or modprobe tcp_bbr; where the kernel's own choice is meant: congestion: system",
        )


def others(facts: tuple[Other, ...]) -> Iterator[Finding]:
    """Another process does the same work."""
    for one in facts:
        yield Finding(
            f"{one.name} (pid {one.pid}) runs here too: {one.what}",
            "two programs with the same host name share its packets, and two cannot listen on one port",
            f"end the one that is not meant: kill {one.pid} (or systemctl stop its unit)",
        )


def listening(facts: tuple[Listening, ...]) -> Iterator[Finding]:
    """Nobody can connect to a hub service here."""
    for one in facts:
        if one.error:
            yield Finding(
                f"service {one.service}: {one.address}: {one.error}",
                "no client can connect to this hub",
                one.remedy,
            )


def gost(facts: tuple[Said, ...]) -> Iterator[Finding]:
    """What GOST would do otherwise with this configuration."""
    for one in facts:
        if one.of_gost:
            why = "the same file means something else to GOST, in both directions of a migration"
            yield Finding(one.text, why, one.hint or "write what both understand: tunrouter lint FILE")


def said(facts: tuple[Said, ...]) -> Iterator[Finding]:
    """What is odd about the configuration."""
    for one in facts:
        if not one.of_gost:
            yield Finding(
                one.text,
                "tunrouter check says so",
                one.hint or "tunrouter check says the same with all that it knows of the configuration",
            )
