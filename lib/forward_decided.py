"""A decision in one line: `host-1 tcp 192.168.1.5:1234 > 10.0.0.9:22: to host-2 by 10.0.0.0/8 (inline), …`.

Knows: which route, rule or check it came from. Refuses to know: the decision itself (forward_decide), the
long explanation (forward_explain), who reads the line.
"""

from __future__ import annotations

from lib.capture_fate import headline
from lib.forward_drop_reasons import Reason
from lib.ids import NO_NAMESPACE, format_uuid
from lib.namespace import Port
from lib.packet import Packet, format_address
from lib.route_plugin_cache import Answers, Unresolved


def words(port: Port, packet: Packet, verdict: object, now: float) -> str:
    """What was decided of a packet from port's host; verdict is decide's."""
    namespace = "" if port.namespace.id == NO_NAMESPACE else f" in {format_uuid(port.namespace.id)}"
    if isinstance(verdict, Port):
        what = f"to {verdict.host}{_by(port, packet, verdict.host, now)}, session {verdict.peer}"
    elif isinstance(verdict, Reason):
        what = f"dropped: {verdict.value}{_because(port, packet, verdict, now)}"
    else:
        what = f"waits for what the plugin says of {format_address(bytes(verdict))}"  # type: ignore[call-overload]
    return f"{port.host}{namespace} {headline(packet)}: {what}"


def _by(port: Port, packet: Packet, host: str, now: float) -> str:
    """The route a packet takes: ` by 10.0.0.0/8 (inline)`."""
    found = port.namespace.route_to(packet.destination, now)
    if found is None or isinstance(found, Unresolved):
        return ""
    _, table = found
    if isinstance(table, Answers):
        return " by the plugin's answer"
    for route in table.matches(packet.destination):
        for rank, hop in route.group.rows:
            if hop.gateway == host:
                return f" by {route} ({f'source {rank}' if rank else 'inline'})"
    return ""


def _because(port: Port, packet: Packet, reason: Reason, now: float) -> str:
    namespace = port.namespace
    if reason is Reason.WRONG_SOURCE:
        back = namespace.route_to(packet.source, now)
        if back is None or isinstance(back, Unresolved):
            return ", no route leads back to the source"
        return f", the source leads back to {', '.join(sorted(back[0].names)[:5])}"
    found = namespace.route_to(packet.destination, now)
    if found is None or isinstance(found, Unresolved):
        return ""
    group, table = found
    if reason is Reason.NO_SESSION:
        return f", none lives of {', '.join(sorted(group.names)[:5])}"
    if reason is Reason.DENIED and table.acl is not None:
        target = namespace.choose(group, table, packet.destination, packet.flow, now)
        number = table.acl.match(port.host, packet, target.host if target is not None else "")
        return f", {table.acl.describe(number)}"
    return ""
