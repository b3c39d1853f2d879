"""A summary in the log of all packets dropped and connections refused so far (SIGUSR1, and -D at the end).

Knows: how drops are grouped: by namespace, session and reason.
Refuses to know: when the summary is wanted (service), how the control socket reports drops (ctl_drops).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lib import cluster_running, ids
from lib.forward_drop_reasons import Reason
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace_titles import title_of_uuid
from lib.service_parts import Parts


def say_drops(parts: Parts) -> None:
    """Log how many packets were dropped, by namespace, session and reason, and the refusals."""
    total = 0
    for namespace, session, drops in _drops(parts):
        for reason, count in drops.most_common():
            total += count
            say(
                Entry.DROP_COUNT,
                "dropped %d %s namespace=%s session=%s (%s)",
                *(count, reason.value, title_of_uuid(namespace) or namespace, session, reason.doc),
                namespace=namespace,
                session=session,
                reason=reason.value,
                count=count,
            )
    if not total:
        say(Entry.DROP_COUNT, "dropped nothing", namespace="", session="", reason="", count=0)
    for hub in parts.hubs.values():
        for why, count in hub.refused.most_common():
            name = hub.settings.name
            say(
                Entry.REFUSAL_COUNT,
                "refused %d %s service=%s (%s)",
                *(count, why.value, name, why.doc),
                service=name,
                reason=why.value,
                count=count,
            )


def _drops(parts: Parts) -> Iterator[tuple[str, str, Counter[Reason]]]:
    for domain in parts.domains.all.values():
        for namespace in domain.namespaces.values():
            name = ids.format_uuid(namespace.id)
            for attachment in namespace.attachments():
                yield name, f"{attachment.host}@{attachment.peer}", attachment.traffic.drops
            yield name, "(ended)", namespace.gone.drops
        yield "(gone)", "(ended)", domain.gone.drops
    for one in cluster_running.counted():
        yield "-", f"(another hub)@{one.address}", one.traffic.drops
    for client in parts.clients.values():
        yield "-", client.settings.host, client.traffic.drops
