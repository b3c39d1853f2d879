"""Explanation of the hub's decision on a packet, in words: each check of forward_decide and its result.

Knows: what there is to say about tables, gateways, sessions and drops.
Refuses to know: the decision itself, for which forward_decide is called, so that the two cannot differ; where
the request came from (ctl_explain).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lib import namespace_titles
from lib.acl import Acl
from lib.capture_fate import headline
from lib.forward_decide import Here, Verdict, decide, unroutable
from lib.forward_drop_reasons import Reason
from lib.humanize import counted
from lib.ids import NO_NAMESPACE
from lib.namespace import Attachment, Namespace, Table
from lib.packet import ICMP, ICMPV6, TCP, UDP, Packet, format_address
from lib.plugin_cache import Unresolved
from lib.route_plugin_cache import PluginCache
from lib.route_table import ENROLLED, LEASED, Group, Route, RouteTable

MAX_SHOWN = 5
"""Prefixes, or sessions of a gateway, that are listed; of more only the number is said."""
MAX_SEARCHED = 200_000
"""Prefixes of a table that are searched for those of a host."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a Verdict."""

    lines: tuple[tuple[str, str], ...]
    """(subject, text) of each line, for people."""
    verdict: Verdict
    """forward_decide's Verdict."""

    @property
    def delivered(self) -> bool:
        """Whether the packet would be forwarded, or is for the hub itself, which replies."""
        return isinstance(self.verdict, Attachment | Here)


def protocol_and_port(text: str) -> tuple[int, int] | None:
    """(protocol number, port) of a text like `tcp/22`; None, a ping, for an empty text. Raises ValueError."""
    if not text:
        return None
    name, _, number = text.lower().partition("/")
    protocols = {"tcp": TCP, "udp": UDP}
    if name not in protocols or not number.isascii() or not number.isdecimal() or int(number) > 65535:
        raise ValueError(f"{text[:32]!r} is no protocol and port: write tcp/22")
    return protocols[name], int(number)


def source_for(namespace: Namespace, host: str, size: int) -> bytes | None:
    """An address (of 4 or 16 bytes, `size`) that a host may send from; None where no route leads to it."""
    found = (route.prefix for route in _routes_to(namespace, host) if len(route.prefix) == size)
    return next(found, None)


def explain(
    attachment: Attachment,
    source: bytes | None,
    destination: bytes,
    now: float,
    sessions: bool = True,
    protocol_and_port: tuple[int, int] | None = None,
    own_only: bool = False,
) -> Explanation:
    """Explain what would become of a packet from an attachment's host.

    `source` and `destination` are packed; `source` is None where no address is known that the host may send
    from. With `sessions` False every host is taken to be connected. `protocol_and_port` is the protocol and
    the destination port; None is a ping. Counters and connections stay as they were. With `own_only` neither
    the routes and gateways of the default table are told nor its access list: it may name other namespaces'.
    """
    namespace = attachment.namespace
    hidden = namespace.default if own_only else None
    lines = list(_namespace(namespace, hidden))
    lines += _source(namespace, attachment.host, source, now, hidden)
    lines.append(("destination", format_address(destination)))
    reason = unroutable(destination)
    if reason is not None:
        return Explanation((*lines, ("verdict", f"dropped: {reason.value}, {reason.doc}")), reason)
    lines += _tables(namespace, destination, now, hidden)
    is_told = not _by_hidden(namespace, destination, now, hidden)
    verdict: Verdict = Reason.WRONG_SOURCE
    if source is not None or not namespace.source_check:
        packet = _packet(source or bytes(len(destination)), destination, protocol_and_port)
        verdict = decide(attachment, packet, now)
        if is_told:
            lines += _acl(attachment, packet, now)
    if is_told:
        lines += _gateways(namespace, destination, now, sessions)
    lines.append(("verdict", _verdict(verdict, attachment, source, destination, sessions)))
    lines += _lost(namespace, destination, now)
    return Explanation(tuple(lines), verdict)


Lines = Iterator[tuple[str, str]]


def _by_hidden(namespace: Namespace, address: bytes, now: float, hidden: Table | None) -> bool:
    """Whether the table that is not told of decides on an address."""
    if hidden is None:
        return False
    if any(address == one.address for one in hidden.own):
        return True
    found = namespace.route_to(address, now)
    return found is not None and not isinstance(found, Unresolved) and found[1] is hidden


def _packet(source: bytes, destination: bytes, protocol_and_port: tuple[int, int] | None) -> Packet:
    version = 4 if len(destination) == 4 else 6
    protocol, port = protocol_and_port or ((ICMP, 0) if version == 4 else (ICMPV6, 0))
    has_port = protocol in (TCP, UDP)
    tail = b"\0\0" + port.to_bytes(2, "big") if has_port else bytes([protocol])
    return Packet(version, source, destination, protocol, 0, False, source + destination + tail)


def _acl(attachment: Attachment, packet: Packet, now: float) -> Lines:
    """Which access rule decides on the packet."""
    namespace = attachment.namespace
    acl, target = _list_for(namespace, packet, now)
    if acl is None:
        return
    number = acl.match(attachment.host, packet, target)
    what = {TCP: "TCP", UDP: "UDP", ICMP: "a ping", ICMPV6: "a ping"}.get(packet.protocol, "it")
    yield "access list", f"{what}: {acl.describe(number)}; it has decided {counted(acl.hits[number], 'time')}"
    yield (
        "access list",
        f"{counted(len(acl.rules), 'rule')}, {counted(len(namespace.connections), 'connection')} let through",
    )


def _list_for(namespace: Namespace, packet: Packet, now: float) -> tuple[Acl | None, str]:
    """The access list that a packet is judged by, and the host that it goes to; "" is the hub itself."""
    for table in namespace.tables:
        if any(packet.destination == one.address for one in table.own):
            return table.acl, ""
    route = namespace.route_to(packet.destination, now)
    if route is None or isinstance(route, Unresolved) or route[1].acl is None:
        return None, ""
    target = namespace.choose(*route, packet.destination, packet.flow, now)
    return route[1].acl, target.host if target is not None else ""


def _named_tables(namespace: Namespace, hidden: Table | None) -> list[tuple[str, Table]]:
    """The tables in the order in which they are asked, but not the one that is not told of."""
    both = zip(("own table", "default table"), namespace.tables, strict=True)
    return [(what, table) for what, table in both if table is not hidden]


def _namespace(namespace: Namespace, hidden: Table | None) -> Lines:
    yield "namespace", namespace_titles.named(namespace.id)
    for what, table in _named_tables(namespace, hidden):
        yield what, _about(table)


def _about(table: Table) -> str:
    if isinstance(table, PluginCache):
        return f"a plugin, its replies count for {table.seconds:g} s"
    if not len(table):
        return "none, or without routes"
    order = "GOST's order, first match" if table.first_match else "longest prefix"
    return f"{counted(len(table), 'route')}, {order}"


def _source(namespace: Namespace, host: str, source: bytes | None, now: float, hidden: Table | None) -> Lines:
    if not namespace.source_check:
        yield "source check", "off: the host may send from any address"
        return
    routes = [str(route) for route in islice(_routes_to(namespace, host, hidden), MAX_SHOWN + 1)]
    more = ", and more" if len(routes) > MAX_SHOWN else ""
    if routes:
        yield "source check", f"{host} may send from {', '.join(routes[:MAX_SHOWN])}{more}"
    else:
        yield "source check", f"no route leads back to {host}"
    if source is None:
        yield "source", f"none that {host} may send from is known"
        return
    if _by_hidden(namespace, source, now, hidden):
        return
    found = namespace.route_to(source, now)
    if isinstance(found, Unresolved):
        yield "source", f"{format_address(source)}: {found.value}"
    elif found is None:
        yield "source", f"{format_address(source)}: no route leads back to it"
    else:
        right = namespace.leads_to(source, host, *found)
        leads = f"leads back to {_names(found[0])}"
        yield "source", f"{format_address(source)}: {leads}{'' if right else f', not to {host}'}"


def _routes_to(namespace: Namespace, host: str, hidden: Table | None = None) -> Iterator[Route]:
    """Routes with a host as a gateway, from the first MAX_SEARCHED prefixes of each table."""
    for _, table in _named_tables(namespace, hidden):
        if isinstance(table, RouteTable):
            for trie in (table.tries.four, table.tries.six):
                for prefix, length, group in islice(trie.unordered(), MAX_SEARCHED):
                    if host in group.names:
                        yield Route(prefix, length, group)


def _tables(namespace: Namespace, destination: bytes, now: float, hidden: Table | None) -> Lines:
    for what, table in _named_tables(namespace, hidden):
        if isinstance(table, PluginCache):
            reply = table.lookup(destination, now)
            said = reply.value if isinstance(reply, Unresolved) else "knows no route"
            yield (
                what,
                f"{reply} to {_names(reply.group)}" if isinstance(reply, Route) else f"plugin: {said}",
            )
            if reply is not None:
                return
            continue
        routes = table.matches(destination)
        for number, route in enumerate(routes):
            falls = ", falls through" if route.group.fall_through else ""
            text = f"{route} to {_names(route.group)}{falls}"
            yield what, text if number == 0 else f"(a shorter prefix: {text})"
        if routes:
            return
        if len(table):
            yield what, "no prefix holds it"


def _names(group: Group) -> str:
    """The gateways of a route by preference: `a, then b or c`."""
    return ", then ".join(" or ".join(tier) for tier in group.tiers)


def _gateways(namespace: Namespace, destination: bytes, now: float, sessions: bool) -> Lines:
    found = namespace.route_to(destination, now)
    if found is None or isinstance(found, Unresolved):
        return
    if not sessions:
        yield "gateways", "a configuration does not say who is connected: every host is taken to be"
        return
    group, table = found
    for name in (name for tier in group.tiers for name in tier):
        gateway = namespace.gateways.get(name)
        if gateway is None:
            yield from ((f"gateway {name}", text) for text in _elsewhere(namespace, name, now))
            continue
        held = gateway.back_at + table.hold_down - now
        if held > 0:
            yield f"gateway {name}", f"came back, held down for another {held:.1f} s"
        for attachment in gateway.attachments[:MAX_SHOWN]:
            yield f"gateway {name}", _about_session(attachment, now)
        if len(gateway.attachments) > MAX_SHOWN:
            yield (
                f"gateway {name}",
                f"{counted(len(gateway.attachments) - MAX_SHOWN, 'more session')}; flows are spread over all",
            )


def _elsewhere(namespace: Namespace, name: str, now: float) -> Iterator[str]:
    """Where a gateway is that has no session here."""
    found = namespace.elsewhere.gateway(name, now) if namespace.elsewhere is not None else None
    if isinstance(found, Unresolved):
        yield f"no live session here; where else it is: {found.value}"
        return
    for attachment in found.attachments if found is not None else ():
        kind = "superpackets" if attachment.offloads else "single packets"
        yield f"no live session here; {_way(attachment)}, {kind} up to {attachment.mtu} bytes"
    if found is None:
        yield "no live session"


def _way(attachment: Attachment) -> str:
    """How an attachment is reached, in a few words."""
    return f"by hub at {attachment.peer}, {attachment.by}" if attachment.by else f"session {attachment.peer}"


def _about_session(attachment: Attachment, now: float) -> str:
    queued = attachment.sender.queued
    kind = "takes superpackets" if attachment.offloads else "takes single packets"
    session = f"session {attachment.peer} for {now - attachment.since:.0f} s"
    return f"{session}, {kind} up to {attachment.mtu} bytes, queue {queued} bytes"


def _verdict(
    verdict: Verdict,
    attachment: Attachment,
    source: bytes | None,
    destination: bytes,
    sessions: bool,
) -> str:
    if isinstance(verdict, Attachment):
        if not sessions:
            return f"goes to {verdict.host}, if it is there"
        return f"goes to {verdict.host} {_way(verdict) if verdict.by else f'at {verdict.peer}'}"
    if isinstance(verdict, bytes):
        return f"waits for what the plugin says of {format_address(verdict)}"
    if isinstance(verdict, Here):
        return "is answered by the hub itself"
    text = f"dropped: {verdict.value}, {verdict.doc}"
    if verdict is Reason.WRONG_SOURCE:
        wanted = format_address(source) if source is not None else "ADDRESS"
        text += f"; a route `dst: {wanted}, gateway: {attachment.host}` would help"
    if verdict is Reason.NO_ROUTE:
        text += f"; a route `dst: {format_address(destination)}, gateway: HOST` would help"
    return text


def _lost(namespace: Namespace, destination: bytes, now: float) -> Lines:
    lost = namespace.lost.get(destination)
    if lost is None:
        yield "drops", "none remembered for this destination"
        return
    for reason, count in lost.reasons.most_common():
        yield (
            "drops",
            f"{count} {reason.value} for this destination, the last drop {now - lost.last:.0f} s ago",
        )


def in_one_line(attachment: Attachment, packet: Packet, verdict: object, now: float) -> str:
    """A Verdict in one line: `host-1 tcp 192.168.1.5:1234 > 10.0.0.9:22: to host-2 by 10.0.0.0/8`."""
    namespace = (
        ""
        if attachment.namespace.id == NO_NAMESPACE
        else f" in {namespace_titles.named(attachment.namespace.id)}"
    )
    if isinstance(verdict, Attachment):
        what = f"to {verdict.host}{_by(attachment, packet, verdict.host, now)}, {_way(verdict)}"
    elif isinstance(verdict, Here):
        what = "answered by the hub itself"
    elif isinstance(verdict, Reason):
        what = f"dropped: {verdict.value}{_because(attachment, packet, verdict, now)}"
    else:
        what = f"waits for what the plugin says of {format_address(bytes(verdict))}"  # type: ignore[call-overload]
    return f"{attachment.host}{namespace} {headline(packet)}: {what}"


_ROWS = {0: "inline", ENROLLED: "enrolled host", LEASED: "pool"}
"""Rank of rows that come from no source -> what they are."""


def _by(attachment: Attachment, packet: Packet, host: str, now: float) -> str:
    """The route that a packet takes: ` by 10.0.0.0/8 (inline)`."""
    found = attachment.namespace.route_to(packet.destination, now)
    if found is None or isinstance(found, Unresolved):
        return ""
    _, table = found
    if isinstance(table, PluginCache):
        return " by the plugin's reply"
    for route in table.matches(packet.destination):
        for rank, hop in route.group.rows:
            if hop.gateway == host:
                source = _ROWS.get(rank) or f"source {rank}"
                return f" by {route} ({source})"
    return ""


def _because(attachment: Attachment, packet: Packet, reason: Reason, now: float) -> str:
    namespace = attachment.namespace
    if reason is Reason.WRONG_SOURCE:
        back = namespace.route_to(packet.source, now)
        if back is None or isinstance(back, Unresolved):
            return ", no route leads back to the source"
        return f", the source leads back to {', '.join(sorted(back[0].names)[:5])}"
    if reason is Reason.DENIED:
        acl, target = _list_for(namespace, packet, now)
        return f", {acl.describe(acl.match(attachment.host, packet, target))}" if acl is not None else ""
    found = namespace.route_to(packet.destination, now)
    if reason is Reason.NO_SESSION and found is not None and not isinstance(found, Unresolved):
        return f", none lives of {', '.join(sorted(found[0].names)[:5])}"
    return ""
