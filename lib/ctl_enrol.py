"""Requests `invite`, `hosts` and `revoke` of the control socket: who may join a hub, who has, who has to go.

Knows: when nobody may be invited, because a host that is revoked could come back some other way.
Refuses to know: what an invitation is (enrol_book), how the line is written (enrol_token), what is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from lib import ctl_filter, enrol_book, enrol_token, ids, namespace_titles, prefixes
from lib.addresses import packed_prefix, widened
from lib.did_you_mean import did_you_mean
from lib.enrol_address import hub_address
from lib.enrol_book import Book, Invitation, Place
from lib.enrol_lists import gives_addresses, router_of
from lib.enrol_live import Enrolment
from lib.enrol_token import Token
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.humanize import counted
from lib.local_time import date
from lib.log_events import Entry
from lib.log_setup import say
from lib.prefixes import Prefix
from lib.route_table import RouteTable
from lib.stream_dial import own_address
from lib.wire_enrol import ID_SIZE, SECRET_SIZE

LEAST_SECONDS, MOST_SECONDS = 60.0, 30 * 86400.0
"""For how long an invitation may be good."""
MAX_NAMED = 8
"""Namespaces that are named to whoever has named none."""
MAX_GATEWAYS = 64
"""Prefixes that are routed to one host."""
FEW = 4096
"""Routes of the biggest table that is looked through."""
Hubs = Mapping[str, Hub]
_COME_BACK = "whoever is revoked would simply come back"


# --- invite


def invite(hubs: Hubs, tables: Tables, request: Mapping[str, Any]) -> dict[str, object]:
    """Make an invitation: {"host"}, optional "ns", "service", "address", "expires_s", "gateways" (prefixes).

    Raises ValueError where nobody may be invited, and OSError where the list cannot be written.
    """
    host, namespace = str(request["host"]), _namespace(request)
    if not enrol_token.is_invitable(host):
        raise ValueError(
            f"{host[:64]!r} cannot be the name of an enrolled host: that has 1 to 255 bytes, no blanks and "
            "no `#`, and does not begin with a dot or an asterisk"
        )
    hub = _hub(hubs, str(request.get("service") or ""))
    live = _list(tables, hub)
    for other in _same_domain(hubs, hub):
        _refuse_strangers(other, hub)
        _refuse_other_logins(other, tables, host, namespace)
    _refuse_certificates(hub)
    address = hub_address(str(request.get("address") or ""), hub.settings, own_address())
    gateways, notes = _gateways(tables, hub, request.get("gateways") or [], host, namespace)
    if not request.get("address"):
        notes.append(f"hosts will dial {address}; where they reach this hub otherwise, say so with --address")
    seconds = float(request.get("expires_s") or 3600.0)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise ValueError("--expires: an invitation is good for 1 minute to 30 days")
    pin = b"" if address.by_name else bytes.fromhex(hub.acceptor.fingerprint())
    invitation, secret, store = _made(live, host, namespace, gateways, seconds)
    token = Token(
        *(address.host, address.port, store, invitation.id, secret, int(invitation.expires), host),
        namespace=namespace,
        kind=address.kind,
        path=address.path,
        pin=pin,
    )
    uuid = ids.format_uuid(namespace)
    say(
        Entry.INVITED,
        "service %s: host %s is invited to namespace %s, for %.0f s",
        *(hub.settings.name, host, namespace_titles.named(namespace), seconds),
        service=hub.settings.name,
        host=host,
        namespace=uuid,
        seconds=seconds,
    )
    return {
        "service": hub.settings.name,
        "host": host,
        **namespace_titles.fields(namespace),
        "line": enrol_token.encode(token),
        "address": str(address),
        "pin": f"sha256:{pin.hex()}" if pin else "",
        "expires": round(invitation.expires, 3),
        "gateways": [prefixes.text(*one) for one in gateways],
        "notes": notes,
    }


def _made(
    live: Enrolment, host: str, namespace: bytes, gateways: tuple[Prefix, ...], seconds: float
) -> tuple[Invitation, bytes, bytes]:
    """(an invitation that is in the list now, its secret, the id of the list)."""
    key, secret, now = os.urandom(ID_SIZE), os.urandom(SECRET_SIZE), time.time()
    hashed = enrol_book.hashed(secret)
    invitation = Invitation(key, hashed, host, namespace, now, now + seconds, gateways)

    def edit(book: Book) -> Book:
        if invitation.place in book.hosts:
            since = date(book.hosts[invitation.place].since)
            hint = f"to let it join anew: tunrouter revoke {host}"
            raise ValueError(f"host {host} is enrolled already, since {since}; {hint}")
        return enrol_book.invited(book, invitation, now)

    return invitation, secret, live.change(edit).id


def _refuse_strangers(other: Hub, hub: Hub) -> None:
    if not other.settings.authers and other.settings.enrol is None:
        name = other.settings.name
        also = f", which shares domain {hub.settings.domain} with it," if other is not hub else ""
        hint = "add `enrol: PATH` to the metadata of its handler"
        raise ValueError(f"service {name}{also} lets in everybody without a login: {_COME_BACK}; {hint}")


def _refuse_other_logins(other: Hub, tables: Tables, host: str, namespace: bytes) -> None:
    for auther in other.settings.authers:
        who = tables.logins(auther.name).may_use(host, namespace)
        if who:
            hint = "bind that login to its own `hosts`, or invite under another name"
            raise ValueError(f"the name {host} may be used by {who}: {_COME_BACK} by it; {hint}")


def _refuse_certificates(hub: Hub) -> None:
    if hub.settings.cert_hosts or hub.settings.transport.tls.ca_file:
        text = "takes clients with a certificate of their own only, and an invitation brings none"
        raise ValueError(f"service {hub.settings.name} {text}")


def _gateways(
    tables: Tables, hub: Hub, texts: Iterable[object], host: str, namespace: bytes
) -> tuple[tuple[Prefix, ...], list[str]]:
    """(the prefixes to route to a host, what is worth knowing about them). Raises ValueError."""
    found: dict[Prefix, None] = {}
    for text in map(str, texts):
        try:
            found[packed_prefix(text)] = None
        except ValueError as wrong:
            raise ValueError(f"--gateway: {wrong}") from None
        if network := widened(text):
            raise ValueError(f"--gateway: {text} is no network: write {network}, or {text.partition('/')[0]}")
    if len(found) > MAX_GATEWAYS:
        raise ValueError(f"--gateway: {MAX_GATEWAYS} prefixes at most")
    table = router_of(tables.enrolled.settings, hub.settings, namespace)
    if found and table is None:
        raise ValueError(f"--gateway: {_no_router(hub, namespace)}")
    if pool := next((one for one in found if table is not None and one in table.pool), None):
        raise ValueError(
            f"--gateway: {prefixes.text(*pool)} is the pool that hosts get addresses from; routed to {host} "
            f"it had none for others; leave it out, or name one address of it for {host}"
        )
    notes = []
    routes = tables.routes(table.name) if table is not None else None
    if isinstance(routes, RouteTable):
        for prefix in found:
            group = routes.tries.of(prefix[0]).get(*prefix)
            others = [name for tier in group.tiers for name in tier if name != host] if group else []
            if others:
                notes.append(
                    f"{prefixes.text(*prefix)} is routed to {others[0]} already, which is preferred"
                    "; a second site with the same addresses appears under others (map=, in the recipes)"
                )
    is_of_none = namespace == ids.NO_NAMESPACE and hub.settings.default_table is None
    whose = _whose(hub) if is_of_none else []
    if whose:
        notes.append(
            f"no router here is for hosts without a namespace, so {host} will reach nobody: say whose host "
            f"it is with --ns ({', '.join(whose)})"
        )
    elif not _has_address(hub, host, namespace, found):
        notes.append(
            f"no route leads to an address of {host} itself: give it one with --gateway ADDRESS, "
            "or give the router a pool"
        )
    return tuple(found), notes


def _no_router(hub: Hub, namespace: bytes) -> str:
    uuid = ids.format_uuid(namespace)
    if namespace != ids.NO_NAMESPACE:
        return f"namespace {uuid} has no router of its own with routes; add one that is named {uuid}"
    return f"service {hub.settings.name} has no router with routes of its own (a plugin's are the plugin's)"


def _whose(hub: Hub) -> list[str]:
    """The namespaces that have a router, by their titles; of many the first ones."""
    keys = sorted(hub.domain.tables)
    more = [f"{counted(len(keys) - MAX_NAMED, 'more namespace')}"] if len(keys) > MAX_NAMED else []
    return [namespace_titles.title_of(key) or ids.format_uuid(key) for key in keys[:MAX_NAMED]] + more


def _has_address(hub: Hub, host: str, namespace: bytes, found: Iterable[Prefix]) -> bool:
    """Whether a route of full length leads to a host."""
    if any(length == 8 * len(address) for address, length in found):
        return True
    if gives_addresses(hub.tables.enrolled.settings, hub.settings, namespace):
        return True
    for table in hub.domain.namespace(namespace).tables:
        if not isinstance(table, RouteTable) or len(table) > FEW:
            return True  # a plugin may know one, and to look through a long table would hold up packets
        for trie, full in ((table.tries.four, 32), (table.tries.six, 128)):
            if any(length == full and host in group.names for _, length, group in trie.unordered()):
                return True
    return False


# --- hosts


def hosts(hubs: Hubs, tables: Tables, request: Mapping[str, Any]) -> dict[str, object]:
    """List who is enrolled, and who is invited: optional "host", "ns", "service". Raises ValueError."""
    wanted, now = ctl_filter.read(request), time.time()
    rows: list[dict[str, object]] = []
    invitations: list[dict[str, object]] = []
    for live in _lists(hubs, tables, str(request.get("service") or "")):
        book, connected = _book(live), _connected(hubs, live)
        for row in sorted(book.hosts.values(), key=lambda row: row.place):
            if wanted.fits(row.host, row.namespace):
                seen = now if row.place in connected else max(row.seen, live.seen.get(row.place, 0.0))
                rows.append(
                    _row(row)
                    | {
                        "since": round(row.since, 3),
                        "seen": round(seen, 3),
                        "connected": row.place in connected,
                    }
                )
        invitations += [
            _row(one) | {"expires": round(one.expires, 3)}
            for one in sorted(book.invitations.values(), key=lambda one: one.place)
            if one.is_open(now) and wanted.fits(one.host, one.namespace)
        ]
    return {"hosts": rows, "invitations": invitations}


def _row(row: enrol_book.Enrolled | Invitation) -> dict[str, object]:
    return {
        "host": row.host,
        **namespace_titles.fields(row.namespace),
        "gateways": [prefixes.text(*one) for one in row.gateways],
    }


# --- revoke


def revoke(hubs: Hubs, tables: Tables, request: Mapping[str, Any]) -> dict[str, object]:
    """Take a host's login away and end its sessions: {"host"}, optional "ns", "service", "all".

    Raises ValueError where there is no such host, or where several namespaces have one, without "all".
    """
    host = str(request["host"])
    wanted = ctl_filter.Filter(host, _namespace(request) if request.get("ns") else None)
    lists = _lists(hubs, tables, str(request.get("service") or ""))
    found = [(live, place) for live in lists for place in _places(_book(live), wanted)]
    if not found:
        rows = [row for live in lists for row in _book(live).hosts.values()]
        names = {row.host for row in rows if wanted.namespace in (None, row.namespace)}
        hint = ("" if host in names else did_you_mean(host, names)) or "`tunrouter hosts` says who is"
        raise ValueError(f"no host {host[:64]!r} is enrolled or invited here; {hint}")
    if len(found) > 1 and not request.get("all"):
        many = counted(len(found), "namespace")
        named = ", ".join(namespace_titles.option(place[0]) for _, place in found)
        raise ValueError(f"{many} have a host {host[:64]!r}: {named}; say which one, or --all")
    ended, notes = 0, []
    for live, place in found:
        before = _sessions(hubs, live, place)
        live.change(lambda book, place=place: enrol_book.revoked(book, place, time.time()))  # type: ignore[misc]
        count = before - _sessions(hubs, live, place)
        ended += count
        notes += _still(hubs, tables, live, place)
        for hub in _hubs_of(hubs, live):
            say(
                Entry.HOST_REVOKED,
                "service %s: host %s in namespace %s is revoked; sessions that ended: %d",
                *(hub.settings.name, host, ids.format_uuid(place[0]), count),
                service=hub.settings.name,
                host=host,
                namespace=ids.format_uuid(place[0]),
                sessions=count,
            )
    return {"hosts": len(found), "sessions": ended, "notes": notes}


def looked(hubs: Hubs, tables: Tables, request: Mapping[str, Any]) -> dict[str, object]:
    """Look at all lists, which another worker may have changed: {"host"}. Returns how many sessions it has.

    Raises ValueError where one cannot be read.
    """
    for live in tables.enrolled.all():
        live.look()
        if live.error:
            raise ValueError(live.error)
    every = [one for hub in hubs.values() for one in hub.sessions.values() if not one.sender.closed_because]
    return {"sessions": sum(one.attachment.host == request["host"] for one in every)}


def _places(book: Book, wanted: ctl_filter.Filter) -> list[Place]:
    """The places of hosts that are enrolled, or invited still."""
    open_ = (one for one in book.invitations.values() if one.is_open(time.time()))
    rows: list[enrol_book.Enrolled | Invitation] = [*book.hosts.values(), *open_]
    return list(dict.fromkeys(row.place for row in rows if wanted.fits(row.host, row.namespace)))


def _still(hubs: Hubs, tables: Tables, live: Enrolment, place: Place) -> list[str]:
    """Who may use the name of a revoked host all the same, by logins that were added after its invitation."""
    notes = []
    for hub in _hubs_of(hubs, live):
        for other in _same_domain(hubs, hub):
            for auther in other.settings.authers:
                who = tables.logins(auther.name).may_use(place[1], place[0])
                notes += [f"the name {place[1]} may still be used by {who}"] if who else []
    return list(dict.fromkeys(notes))


# --- which hubs and lists


def _namespace(request: Mapping[str, Any]) -> bytes:
    text = str(request.get("ns") or "")
    return namespace_titles.namespace_named(text) if text else ids.NO_NAMESPACE


def _hub(hubs: Hubs, name: str) -> Hub:
    """The hub that a host is invited to. Raises ValueError."""
    chosen = [hub for hub in hubs.values() if name in ("", hub.settings.name)]
    with_list = [hub for hub in chosen if hub.settings.enrol is not None]
    if len(with_list) > 1 or not chosen:
        raise ValueError(ctl_filter.which_hub(name, hubs))
    if with_list:
        return with_list[0]
    for hub in chosen:
        _refuse_strangers(hub, hub)
    text = "keeps no list of enrolled hosts; add `enrol: PATH` (or a Redis) to the metadata of its handler"
    raise ValueError(f"service {chosen[0].settings.name} {text}")


def _list(tables: Tables, hub: Hub) -> Enrolment:
    assert hub.settings.enrol is not None
    return tables.enrolled.of(hub.settings.enrol)


def _lists(hubs: Hubs, tables: Tables, service: str) -> list[Enrolment]:
    """The lists of all hubs, or of one. Raises ValueError where there is none."""
    if service and service not in hubs:
        raise ValueError(ctl_filter.which_hub(service, hubs))
    sources = {hub.settings.enrol: None for name, hub in hubs.items() if service in ("", name)}
    found = [tables.enrolled.of(source) for source in sources if source is not None]
    for live in found:
        live.look()  # another process may have changed it just now
    if not found:
        raise ValueError("no service here keeps a list of enrolled hosts (`enrol` in a handler's metadata)")
    return found


def _book(live: Enrolment) -> Book:
    if live.book is None:
        raise ValueError(live.error or f"{live.label}: the list has not been read yet")
    return live.book


def _hubs_of(hubs: Hubs, live: Enrolment) -> list[Hub]:
    return [hub for hub in hubs.values() if hub.settings.enrol == live.source]


def _same_domain(hubs: Hubs, hub: Hub) -> list[Hub]:
    """All hubs that let hosts into the same namespaces."""
    return [other for other in hubs.values() if other.domain is hub.domain]


def _connected(hubs: Hubs, live: Enrolment) -> set[Place]:
    return {
        (session.attachment.namespace.id, session.attachment.host)
        for hub in _hubs_of(hubs, live)
        for session in hub.sessions.values()
    }


def _sessions(hubs: Hubs, live: Enrolment, place: Place) -> int:
    """How many sessions of a host go on."""
    return sum(
        (session.attachment.namespace.id, session.attachment.host) == place
        and not session.sender.closed_because
        for hub in _hubs_of(hubs, live)
        for session in list(hub.sessions.values())
    )
