"""What the log says of a hub's connections: who came, who was refused, what was dropped, who left and why.

Knows: the words, and that whoever does a thing very often is said a few times and then counted, by address:
everything else in these lines is of a peer's choice.
Refuses to know: when it is said (hub, hub_session), how lines are folded and written (log_setup).
"""

from __future__ import annotations

import time

from lib import ids
from lib.forward_drop_reasons import Reason, Refusal
from lib.limits import stranger
from lib.log_dedup import BUSY
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace import Attachment


def opened(name: str, attachment: Attachment, transport: str) -> None:
    """A session of service `name` has begun, over this kind of transport."""
    namespace = ids.format_uuid(attachment.namespace.id)
    say(
        Entry.SESSION_OPENED,
        "service %s: %s is host %s in namespace %s",
        *(name, attachment.peer, attachment.host, namespace),
        fold=name,
        by=stranger(attachment.peer),
        habit=BUSY,
        service=name,
        host=attachment.host,
        namespace=namespace,
        peer=attachment.peer,
        transport=transport,
    )


def closed(name: str, attachment: Attachment, why: str) -> None:
    """A session has ended."""
    say(
        Entry.SESSION_CLOSED,
        "service %s: %s (%s) left: %s",
        *(name, attachment.peer, attachment.host, why),
        fold=name,
        by=stranger(attachment.peer),
        habit=BUSY,
        service=name,
        host=attachment.host,
        namespace=ids.format_uuid(attachment.namespace.id),
        peer=attachment.peer,
        reason=why,
        seconds=round(time.monotonic() - attachment.since, 1),
        received_bytes=attachment.traffic.received_bytes,
        sent_bytes=attachment.traffic.sent_bytes,
    )


def drops(name: str, attachment: Attachment, reason: Reason, detail: str) -> None:
    """Packets of a session are dropped for a reason for the first time; detail says more, or is empty."""
    what = f" {detail}" if detail else ""
    by = stranger(attachment.peer)
    say(
        Entry.DROPS,
        "host %s (%s): packets are dropped: %s%s: %s",
        *(attachment.host, attachment.peer, reason.value, what, reason.doc),
        fold=f"{name} {reason.value}",
        by=by,
        service=name,
        host=attachment.host,
        peer=attachment.peer,
        reason=reason.value,
        detail=detail,
    )
    if reason is Reason.WRONG_SOURCE:
        source = detail.partition(" ")[0]
        say(
            Entry.ADVICE,
            "a route `dst: %s, gateway: %s` would allow it, `sourceCheck: off` would allow all",
            *(source, attachment.host),
            fold=name,
            by=by,
            service=name,
            host=attachment.host,
            advice=f"dst: {source}, gateway: {attachment.host}",
        )


def hello(name: str, attachment: Attachment, software: str) -> None:
    """A client has said that it is one of our own kind."""
    say(
        Entry.HELLO,
        "%s (%s) is %s, offloads %#x",
        *(attachment.peer, attachment.host, software, attachment.offloads),
        fold=name,
        by=stranger(attachment.peer),
        habit=BUSY,
        service=name,
        host=attachment.host,
        peer=attachment.peer,
        software=software,
        offloads=attachment.offloads,
    )


def refused(name: str, peer: str, refusal: Refusal, why: str) -> None:
    """A connection becomes no session."""
    say(
        Entry.REFUSED,
        "service %s: %s: %s",
        *(name, peer, why),
        fold=f"{name} {refusal.value}",
        by=stranger(peer),
        service=name,
        peer=peer,
        reason=refusal.value,
        detail=why,
    )


def lost(name: str, peer: str, error: OSError) -> None:
    """A connection broke before it was a session."""
    reason = error.strerror or str(error)
    say(
        Entry.CONNECTION_LOST,
        "service %s: %s: %s",
        *(name, peer, reason),
        fold=name,
        by=stranger(peer),
        service=name,
        peer=peer,
        reason=reason,
    )
