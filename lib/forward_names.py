"""DNS questions to the hub's own address, answered from the tables of the asker's namespace.

Knows: which datagrams are questions, how many have an answer, when the names of a namespace are read anew.
Refuses to know: what an answer says (dns_answers), how a table's routes become names (dns_zone).

Over TCP nothing is answered: the hub resets the connection (forward_errors), so that resolvers stay with UDP.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from lib import forward_errors, packet_datagram, packet_fragment
from lib.dns_zone import FEW, Zone, ZoneMemory, hosts_of
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Frame, Output, drop, reply, tell
from lib.namespace import Attachment, Namespace
from lib.route_table import RouteTable

PORT = 53
AGAIN_SECONDS = 1.0
"""A table that changes all the time is read once in so many seconds."""
_memories: WeakValueDictionary[tuple[object, ...], ZoneMemory] = WeakValueDictionary()
"""By tables and own addresses; each for as long as a namespace has it."""
WORK = 8
"""A question that nobody has asked before costs as much as so many frames to judge, any other one as one."""


def answer(attachment: Attachment, frame: Frame, now: float, out: Output) -> None:
    """Answer a datagram for the hub's own address, where it is a question; else refuse it.

    A superpacket is several datagrams: a client puts together what a resolver asks in one breath, A and AAAA.
    """
    zone = zone_of(attachment.namespace, now)
    if zone is None or packet_datagram.port(frame.buf, frame.packet, frame.end) != PORT:
        forward_errors.refuse(attachment, Reason.FOR_HUB, frame, now, out)
        return
    data = packet_datagram.content(frame.buf, frame.packet, frame.end)
    size = frame.gso_size or len(data) or 1
    missing: dict[Reason, int] = {}
    out.work -= 1  # the frame itself: each question of it is counted below
    for at in range(0, len(data) or 1, size):
        question = data[at : at + size]
        known = zone.recall(question)
        is_new = known is None
        out.work += WORK if is_new else 1
        found = _answered(attachment, zone, question, known, now)
        if isinstance(found, Reason):
            missing[found] = missing.get(found, 0) + 1
            continue
        back = packet_datagram.reply(frame.buf, frame.packet, found)
        fits = not attachment.mtu or len(back) <= attachment.mtu
        packets = [back] if fits else packet_fragment.fragments(back, attachment.mtu)
        reply(out, attachment, packets, is_new)
    answered = frame.segments - sum(missing.values())
    for reason, count in missing.items():  # drop() counts all packets of a frame but the first as received
        drop(attachment, reason, frame._replace(segments=count), now)
    attachment.traffic.received_packets += answered + len(missing) - 1
    tell(out, frame.start, attachment if answered else next(iter(missing)))


def _answered(
    attachment: Attachment, zone: Zone, question: bytes, known: bytes | None, now: float
) -> bytes | Reason:
    """The answer to one question, or why it gets none. `known` is the one that is remembered."""
    if not attachment.questions.may_ask(known is None, now):
        return Reason.HUB_RATE
    if known is not None:
        return known
    from lib import dns_answers  # 10 ms and 1.4 MB, which only hubs with a domain need

    found = dns_answers.answer(question, zone)
    return Reason.FOR_HUB if found is None else found


def zone_of(namespace: Namespace, now: float) -> Zone | None:
    """The names of a namespace; None where it has no domain. `now` is in seconds of a steady clock.

    Namespaces have one together whose tables are the very same: anybody can make up such ones where there is
    no auther, and to make a zone takes some ms. What is remembered of one is for no other tables.
    """
    table, default, memory = namespace.table, namespace.default, namespace.zone
    of, changes = (table, default, *table.own, *default.own), (table.changes, default.changes)
    if memory.zone is not None and (memory.of, memory.changes) == (of, changes):
        return memory.zone
    own = (*table.own, *default.own)
    settings = next((address.names for address in own if address.names is not None), None)
    if settings is None:
        return None
    if namespace.zone.of != of:
        namespace.zone = _memories.get(of) or ZoneMemory(of=of)
        _memories[of] = namespace.zone
    memory = namespace.zone
    if memory.zone is None or (memory.changes != changes and now - memory.made_at >= AGAIN_SECONDS):
        tables = [table for table in namespace.tables if isinstance(table, RouteTable) and len(table) <= FEW]
        routes = (
            (prefix, length, group.names)
            for table in tables
            for trie in (table.tries.four, table.tries.six)
            for prefix, length, group in trie.unordered()
        )
        memory.zone = Zone(settings, (one.address for one in own), hosts_of(routes))
        memory.changes, memory.made_at = changes, now
    return memory.zone
