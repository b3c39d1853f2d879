"""Findings of `tunrouter doctor` about the way to a hub: its name, the connection, TLS, path MTU, its clock.

Knows: which facts of a way are wrong, why, and what mends them.
Refuses to know: how the facts are found (doctor_look_way), what is in the tunnel (doctor_tunnel).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from lib.doctor_facts import Datagrams, HubDomain, Names, PathMtu, Way
from lib.doctor_finding import Finding
from lib.doctor_host import validity
from lib.humanize import span

SKEW_SECONDS = 60.0
"""How much two clocks may differ."""
SLOW_SECONDS = 3.0
"""A look-up that takes longer has waited for a name server that does not answer."""

_BY_CODE = {
    errno.ECONNREFUSED: (
        "the host is there, and nothing listens on that port, or a firewall refuses it",
        "on the hub: tunrouter health, and ss -ltn; is it the right port?",
    ),
    errno.ETIMEDOUT: (
        "nothing comes back: the host is away, or a firewall on the way drops what goes to that port",
        "on the hub: tunrouter doctor; from elsewhere: nc -vz HOST PORT",
    ),
    errno.ENETUNREACH: ("this host has no route there", "ip route get ADDRESS; ip route"),
    errno.EHOSTUNREACH: (
        "no router on the way, or no machine there, replies",
        "ip route get ADDRESS; ip neigh",
    ),
}
"""errno -> (why, what to do)."""


def ways(facts: tuple[Way, ...]) -> Iterator[Finding]:
    """A hub cannot be reached over TCP, or the layers over it fail."""
    for way in facts:
        if not way.error:
            continue
        start = f"service {way.service}: no connection to {way.target}"
        if way.stage in ("TLS", "WebSocket"):
            yield Finding(
                f"{start}: {way.error}",
                f"TCP connects, but the {way.stage} handshake fails, so the client stays away",
                "compare the transports of both ends (tunrouter check), and the certificate with the pin",
            )
            continue
        why, mend = _BY_CODE.get(
            way.code, ("without a connection there is no tunnel", "tunrouter check says what is dialled")
        )
        if way.stage == "name":
            why = "the hub's name leads to no address, so nothing can be dialled"
            mend = "getent ahosts NAME; look at /etc/resolv.conf, or write the address instead of the name"
        host, _, port = way.target.rpartition(":")
        host = host.strip("[]")
        for word, instead in (("HOST", host), ("ADDRESS", host), ("NAME", host), ("PORT", port)):
            mend = mend.replace(word, instead)
        yield Finding(f"{start}: {way.error}", why, mend)


def datagrams(facts: tuple[Datagrams, ...]) -> Iterator[Finding]:
    """The hub is not reached over UDP, although session and hub would use it."""
    for one in facts:
        if one.state == "bad":
            port = one.peer.rpartition(":")[2] or "PORT"
            yield Finding(
                f"service {one.service}: no datagrams pass between here and the hub ({one.peer}): "
                f"{one.reason}",
                "all goes by TCP then, where a ping or a call waits for each lost segment of anything",
                f"let UDP port {port} through, at the hub and on the way: nft insert rule inet filter "
                f"input udp dport {port} accept; channel: stream says that TCP alone is meant",
            )


_FORWARD = "let the resolver of this host forward {2} to {1}"
_LET_ASK = {
    "": "look into the log why: it is set as the client's namesBy says; or " + _FORWARD,
    "resolved": "resolvectl dns {0} {1}; resolvectl domain {0} '~{2}'; or write namesBy: stub",
    "stub": "head /etc/resolv.conf: its first nameserver has to be one of 127.0.117.0/24; or " + _FORWARD,
    "hosts": "grep {2} /etc/hosts; the log says why a name is not there; or " + _FORWARD,
}
"""How names are set to be found (client_names) -> what mends it, of the device, the server and the domain."""


def domains(facts: tuple[HubDomain, ...]) -> Iterator[Finding]:
    """The hub has names for its hosts, and nobody here asks it for them."""
    for one in facts:
        if not one.answers:
            yield Finding(
                f"service {one.service}: the hub does not answer for names of {one.domain} at {one.server}",
                "names of its hosts are not found",
                f"dig @{one.server} {one.domain}; on the hub: tunrouter drops",
            )
        elif not one.resolves:
            yield Finding(
                f"service {one.service}: names of {one.domain} are not asked of the hub ({one.server})",
                "the hub has names for its hosts, and programs here do not find them",
                _LET_ASK.get(one.by, _LET_ASK[""]).format(one.device, one.server, one.domain),
            )


def has_certificate(facts: tuple[Way, ...]) -> bool:
    """Whether a hub has shown a certificate."""
    return any(way.certificate is not None for way in facts)


def has_date(facts: tuple[Way, ...]) -> bool:
    """Whether a hub has said what the time is."""
    return any(way.date is not None for way in facts)


def has_answer(facts: tuple[PathMtu, ...]) -> bool:
    """Whether anybody has answered, so that a path is measured."""
    return any(one.answered for one in facts)


def certificates(facts: tuple[Way, ...]) -> Iterator[Finding]:
    """A hub's certificate is not checked, or not valid now."""
    for way in facts:
        if not way.encrypted or way.certificate is None:
            continue
        name, mark = f"the certificate of {way.target}", way.certificate.fingerprint
        if not way.verified:
            yield Finding(
                f"service {way.service}: {name} is not checked at all",
                "whoever sits on the way can pretend to be the hub, and read the login and every packet "
                "(GOST does not check it either)",
                f"compare sha256:{mark} with what the hub logs when it starts, and add it to -F: "
                f"pin=sha256:{mark} (or secure=true for a certificate of a public CA)",
            )
        yield from validity(
            f"service {way.service}: {name}", way.certificate, way.asked, "renew it on the hub"
        )


def clocks(facts: tuple[Way, ...]) -> Iterator[Finding]:
    """This host's clock and the hub's differ."""
    for way in facts:
        if way.date is not None and abs(way.date - way.asked) > SKEW_SECONDS:
            late = "behind" if way.date > way.asked else "ahead of"
            yield Finding(
                f"service {way.service}: the clock here is {span(abs(way.date - way.asked))} {late} that of "
                f"{way.target}",
                "with a wrong clock certificates and one-time secrets are refused, and logs cannot be "
                "compared",
                "on the host whose clock is wrong: timedatectl set-ntp true, or: chronyc makestep",
            )


def paths(facts: tuple[PathMtu, ...]) -> Iterator[Finding]:
    """Packets that the kernel takes for small enough vanish on the way."""
    for one in facts:
        if not one.answered or one.largest >= one.believed:
            continue
        yield Finding(
            f"{one.what} {one.target}: packets of more than {one.largest} bytes vanish, and this host "
            f"sends up to {one.believed}",
            "small packets pass, so that connections begin, and then hang with the first large packet: some "
            "router drops it and sends no ICMP message (or a firewall drops that)",
            f"ip link set dev {one.device} mtu {one.largest}; or: sysctl -w net.ipv4.tcp_mtu_probing=1",
        )


def names(fact: Names) -> Iterator[Finding]:
    """Names do not resolve, or only slowly, or only through the tunnel that needs them."""
    for one in fact.looked:
        if one.error:
            yield Finding(
                f"the hub's name {one.name} is not found: {one.error}",
                "a client looks the name up each time it connects",
                f"getent ahosts {one.name}; cat /etc/resolv.conf",
            )
        elif one.seconds > SLOW_SECONDS:
            yield Finding(
                f"the hub's name {one.name} took {one.seconds:.0f} s to be found",
                "every connection to the hub begins with this look-up",
                "remove the name server that does not answer from /etc/resolv.conf",
            )
    for server in fact.servers:
        if not server.answers:
            yield Finding(
                f"the name server {server.address} does not answer"
                + (f" (the way leads through {server.device})" if server.device else ""),
                "each look-up may wait 5 s for it before the next one is asked",
                f"dig @{server.address} example.com; remove it from /etc/resolv.conf if it is gone",
            )
        elif server.is_tunnel and not server.answers_outside and fact.looked:
            yield Finding(
                f"the name server {server.address} answers only through the tunnel ({server.device})",
                "the hub's name must be looked up before there is a tunnel, so a client that starts anew "
                "cannot find its hub",
                "write the hub's address instead of its name, or add a name server outside the tunnel "
                "to /etc/resolv.conf",
            )
