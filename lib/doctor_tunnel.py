"""Findings of `tunrouter doctor` about tunnels: sessions, return routes of networks behind, far addresses.

Knows: which facts of a tunnel are wrong, why, and what mends them.
Refuses to know: how the facts are found (doctor_look_tunnel), the way to a hub (doctor_way).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface
from itertools import filterfalse

from lib.doctor_facts import Far, Neighbour, Session
from lib.doctor_finding import Finding

WARNED = "the running process warns of it"
"""Why a finding of which nothing but the client's own line is known matters."""


def sessions(facts: tuple[Session, ...]) -> Iterator[Finding]:
    """The running process says that a client is away, or warns of something."""
    for one in facts:
        if not one.hub:
            yield Finding(
                f"service {one.service}: host {one.host} has no session: {one.reason or 'none yet'}",
                "without a session no packet passes the tunnel",
                "what the reason says; the other findings here may name the cause",
            )
        for trouble in one.troubles:
            yield Finding(
                f"service {one.service}: {trouble}",
                WARNED,
                "tunrouter status; tunrouter drops",
            )
        for line in filter(_is_of_address, one.refused):
            yield Finding(
                f"service {one.service}: this host has not the address that the hub gives it: {line}",
                "the hub routes that address here, and no other host reaches this one by it",
                "give it one of another network: another pool on the hub, or hosts: {"
                f"{one.host}: ADDRESS}} of its router; or give the network here other addresses",
            )


def _is_of_address(line: str) -> bool:
    """Whether a line about what is not set is about an address of this host (push_accept)."""
    return line.startswith("address ")


def refused(facts: tuple[Session, ...]) -> Iterator[Finding]:
    """A client does not set a route, or something else, that its hub tells it, and does well without."""
    for one in facts:
        for line in filterfalse(_is_of_address, one.refused):
            yield Finding(
                f"service {one.service}: not set of what the hub tells: {line}",
                "what the hub tells is set where it does no harm here",
                "acceptRoutes: force, or a list of prefixes, sets more of it; where the site over there "
                "has the same addresses as this one, it can appear under others: map= on its host",
            )


def neighbours(facts: tuple[Neighbour, ...]) -> Iterator[Finding]:
    """A machine in a network behind this host does not know the way back into the tunnel."""
    by_way: dict[tuple[str, str, str], list[str]] = {}
    known = {(one.device, one.tunnel) for one in facts if one.answers_tunnel}
    for one in facts:  # where one machine knows the way back, the others may only refuse pings of strangers
        if one.answers_own and not one.answers_tunnel and (one.device, one.tunnel) not in known:
            by_way.setdefault((one.device, one.own, one.tunnel), []).append(one.address)
    for (device, own, tunnel), addresses in by_way.items():
        listed = ", ".join(addresses)
        yield Finding(
            f"{listed} on {device} answers to {own}, but not to {tunnel.partition('/')[0]}, this host's "
            "address in the tunnel",
            "that network has no route back into the tunnel, so it gets packets from there and its replies "
            "go elsewhere",
            f"on that network's router, or on each machine: ip route add {_network(tunnel)} via {own}, or "
            "better the whole network of the hub's addresses",
        )


def _network(interface: str) -> str:
    """The network of an address/length."""
    return str(ip_interface(interface).network)


def far(facts: tuple[Far, ...]) -> Iterator[Finding]:
    """An address behind the tunnel is not reached, or only from some addresses of this host."""
    for one in facts:
        if not one.device:
            yield Finding(
                f"this host has no route to {one.address}",
                "packets for it go nowhere",
                "add it to the client's routes (route=), or: ip route get " + one.address,
            )
        elif not one.is_tunnel:
            yield Finding(
                f"the route to {one.address} leads through {one.device}, which is no tunnel here",
                "packets for it never come to the hub",
                f"add it to the client's routes (route=); ip route get {one.address} says why",
            )
        else:
            yield from _answers(one)


def _answers(one: Far) -> Iterator[Finding]:
    answered = [source for source, answers in one.answers if answers]
    silent = [source for source, answers in one.answers if not answers]
    if not answered and silent:
        yield Finding(
            f"{one.address} does not answer through the tunnel ({one.device})",
            "the hub has no route to it, the host there does not forward, its network has no route back, or "
            "the machine does not answer pings",
            f"on the hub: tunrouter explain --from HOST {one.address}; on the host there: tunrouter doctor",
        )
    elif silent == [one.answers[0][0]]:
        yield Finding(
            f"{one.address} answers to {', '.join(answered)}, but not to {silent[0]}, this host's address in "
            "the tunnel",
            "the machine there has no route to addresses in the tunnel, so its replies to this host, and to "
            "all that have no network behind them, go elsewhere",
            f"on the router of that network: ip route add {silent[0]} via ADDRESS, that of the host there in "
            "its own network, or better the whole network of the hub's addresses",
        )
    elif silent:
        yield Finding(
            f"{one.address} answers to {', '.join(answered)}, but not to {', '.join(silent)} of this host",
            "the networks behind this host are not known over there: the hub's table does not route them "
            "here, or the host there has no route to them through its tunnel",
            f"on the hub: tunrouter routes {silent[0]}; on the host there: add that network to route=",
        )
