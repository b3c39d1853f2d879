"""Mistaken identities at a hub: a host without a route, an unknown router.id, one name on two machines.

Knows: how each of these is found out, when it is over, and what is written about it.
Refuses to know: who is let in (auth_admission), how sessions of one host share its flows (route_gateways).

Sessions are looked at every second, beside the packets: a route may come later, and a session of a host may
be a half-open one that is about to end. A finding stays for as long as what it says is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from lib import hub_log, ids
from lib.addresses import host_of
from lib.bounded_dict import BoundedDict
from lib.did_you_mean import nearest
from lib.hub_log import Mistake
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.route_table import RouteTable
from lib.service_scheduling import in_steps
from lib.settings import HubSettings
from lib.wire_control import Advice, Trouble

LOOKED_AT = 16
"""Hosts without a route that are judged in one look; the others have their turn in the next one."""
MANY = 1000
"""Sessions that are looked at every second; of twice as many, every second one."""
SILENT = 256
"""Sessions that are gone through for warnings in one step."""
MAX_CANDIDATES = 100
"""Names among which the one that was perhaps meant is sought, in steps: a long one takes 0.3 ms."""
MAX_TABLES = 64
"""Namespaces in whose tables a host is looked for that is in none of its own."""
ALIVE_SECONDS = 2.5
"""A session is alive beside a newer one if it is heard so long after that one began."""
IN_TURN_SECONDS, IN_TURN = 60.0, 3
"""One name is on two machines that end each other's sessions so often within this time."""
CLAIM_SECONDS = 600.0
"""How long a claim to a name is told of after it was last made: who is refused may wait 300 s."""
MAX_CLAIMS = 1024

NEW, UNKNOWN = -1, -2
"""In place of a generation of tables: not looked at yet, and: its routes are not known."""
NOTHING = Advice()


@dataclass(slots=True)
class Verdict:
    """What is wrong with one session: lines for people, and what its client is told."""

    routes: int = NEW
    """The generation of the namespace's tables by which it was judged last; or NEW, or UNKNOWN."""
    table_line: str = ""
    """That no route leads to the host, or that its router.id is unknown; empty where all is well."""
    twice_line: str = ""
    """That another machine has its name; empty where none has."""
    advice: Advice = NOTHING
    told: Advice = NOTHING
    """What its client has been told last."""


@dataclass(slots=True)
class Claim:
    """Machines that want one host name in turn, where the hub lets only one have it."""

    line: str = ""
    """What is written about it; empty while it may still be one machine that moves."""
    times: int = 0
    """How often one has ended the other's session, with less than IN_TURN_SECONDS in between."""
    last: float = 0.0
    """When it was last made, in seconds of a steady clock."""


class Session(Protocol):
    """What is looked at of a session (hub_session.HubSession)."""

    attachment: Attachment
    verdict: Verdict

    def tell(self) -> None:
        """Tell the client its verdict's advice, where that has changed and the client understands it."""


S = TypeVar("S", bound=Session)


@dataclass(slots=True)
class Tables:
    """The tables of a domain as they are now, for one look."""

    domain: Domain
    find_unread: Callable[[], frozenset[int]]
    """Returns id() of each RouteTable of which a source has never been read."""
    _unread: frozenset[int] | None = None
    _names: dict[int, frozenset[str] | None] = field(default_factory=dict)
    _together: dict[tuple[int, ...], frozenset[str] | None] = field(default_factory=dict)

    def gateways(self, tables: Iterable[object]) -> frozenset[str] | None:
        """All gateways in these tables; None where that cannot be known: plugins, and tables not read yet."""
        tables = tuple(tables)
        key = tuple(map(id, tables))
        if key not in self._together:
            names = [self._gateways(table) for table in tables]
            known = [found for found in names if found is not None]
            self._together[key] = frozenset().union(*known) if len(known) == len(names) else None
        return self._together[key]

    def _gateways(self, table: object) -> frozenset[str] | None:
        if self._unread is None:
            self._unread = self.find_unread()
        if not isinstance(table, RouteTable) or id(table) in self._unread:
            return None
        if id(table) not in self._names:
            self._names[id(table)] = table.names()
        return self._names[id(table)]

    def namespaces_with(self, host: str) -> Iterator[bytes]:
        """Namespaces in whose own tables a host is a gateway, of the first MAX_TABLES."""
        for key, table in list(self.domain.tables.items())[:MAX_TABLES]:
            if host in (self._gateways(table) or ()):
                yield key


class Identities:
    """The identities of a hub's clients."""

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        self._claims: BoundedDict[tuple[bytes, str], Claim] = BoundedDict(MAX_CLAIMS)
        self._left, self._turn = LOOKED_AT, 0

    def due(self, sessions: list[S]) -> list[S]:
        """Begin a look; returns the sessions that it is the turn of: new ones, and some of the others."""
        self._left = LOOKED_AT
        self._turn += 1
        stride = 1 + len(sessions) // MANY
        if stride == 1:
            return sessions
        chosen = self._turn % stride
        return [
            session
            for number, session in enumerate(sessions)
            if session.verdict.routes == NEW or number % stride == chosen
        ]

    def look(self, session: Session, tables: Tables, now: float) -> bool:
        """Judge one session, log what is new, and tell its client. Returns whether it took milliseconds."""
        attachment, verdict = session.attachment, session.verdict
        routes, left = attachment.namespace.generation(now), self._left
        if routes != verdict.routes and left:
            self._judge_routes(attachment, verdict, tables, routes)
        if not self.settings.shared_by_intent and len(attachment.namespace.sessions_of(attachment.host)) > 1:
            self._judge_name(attachment, verdict)
        elif verdict.twice_line:
            verdict.twice_line = ""
        troubles = verdict.advice.troubles & ~Trouble.NAME_TWICE
        troubles |= Trouble.NAME_TWICE if verdict.twice_line else 0
        if troubles != verdict.advice.troubles:
            verdict.advice = Advice(troubles, verdict.advice.name)
        session.tell()
        return left != self._left

    # --- routes

    def _judge_routes(self, attachment: Attachment, verdict: Verdict, tables: Tables, routes: int) -> None:
        namespace, host = attachment.namespace, attachment.host
        gateways = tables.gateways(namespace.tables)
        if gateways is None:
            verdict.routes, verdict.table_line, verdict.advice = UNKNOWN, "", NOTHING
            return  # and again at the next look: a source may have been read by then
        verdict.routes = routes
        before = verdict.table_line
        is_known = self._is_known(namespace, tables.domain, host in gateways)
        troubles = (0 if host in gateways else Trouble.NO_GATEWAY) | (
            0 if is_known else Trouble.UNKNOWN_NAMESPACE
        )
        hint = line = ""
        self._left -= bool(troubles)
        if not is_known:
            line = _unknown_namespace(namespace, host, tables)
        elif host not in gateways:
            hint = _perhaps(host, gateways, namespace)
            line = _no_gateway(namespace, host, hint, tables)
        verdict.table_line, verdict.advice = line, Advice(int(troubles), hint)
        if line and line != before:
            mistake = Mistake.GATEWAY_OF_NOTHING if is_known else Mistake.UNKNOWN_NAMESPACE
            self._say(mistake, line, attachment)

    def _say(self, mistake: Mistake, line: str, about: Attachment) -> None:
        hub_log.identity(mistake, self.settings.name, line, about.host, about.namespace.id, about.peer)

    def _is_known(self, namespace: Namespace, domain: Domain, is_gateway: bool) -> bool:
        """Whether somebody has meant this namespace to be here.

        Where a host is a gateway by the handler's `router:` alone, any router.id will do, unless the hub
        names some namespaces, and neither an ingress nor a login says who may be in which.
        """
        if namespace.id == ids.NO_NAMESPACE or namespace.id in domain.tables:
            return True
        says = self.settings.ingress is not None or any(
            auther.bindings or auther.plugin or any(row.namespaces for row in auther.logins)
            for auther in self.settings.authers
        )
        return is_gateway and (says or not domain.tables)

    # --- one name on two machines

    def _judge_name(self, attachment: Attachment, verdict: Verdict) -> None:
        """Judge whether another machine is connected under the same name."""
        before, verdict.twice_line = verdict.twice_line, ""
        for other in attachment.namespace.others(attachment):
            if _are_two(attachment, other):
                first, second = sorted((attachment, other), key=lambda one: one.since)
                verdict.twice_line = (
                    f"host {attachment.host} is connected from {first.peer} and from {second.peer}, and both "
                    f"are alive{_in(attachment.namespace.id)}: they share its packets; give each machine a "
                    "name of its own, or write onDuplicate: share where this is meant"
                )
                if attachment is second and not before:
                    self._say(Mistake.NAME_TWICE, verdict.twice_line, attachment)
                return

    def replaced(self, old: Attachment, new: Attachment, now: float) -> None:
        """Note that a new session ends another one of its host name (onDuplicate: replace)."""
        one, other = host_of(old.peer), host_of(new.peer)
        if one == other:
            return
        claim = self._claim(new.namespace.id, new.host, now)
        claim.times = 1 if now - claim.last > IN_TURN_SECONDS else claim.times + 1
        claim.last = now
        if claim.times >= IN_TURN:
            line = (
                f"host {new.host} is wanted by {min(one, other)} and by {max(one, other)}"
                f"{_in(new.namespace.id)}, which end each other's sessions in turn (onDuplicate: "
                "replace): give each machine a name of its own"
            )
            self._tell_claim(claim, line, (new.host, new.namespace.id, new.peer))

    def refused(self, namespace: bytes, host: str, peer: str, owner: str, now: float) -> None:
        """Note that `peer` is refused: a live session, of `owner`, has its name (onDuplicate: refuse)."""
        if host_of(peer) == host_of(owner):
            return
        claim = self._claim(namespace, host, now)
        claim.last = now
        line = (
            f"host {host} of {host_of(owner)} is wanted by {host_of(peer)} too{_in(namespace)} "
            "(onDuplicate: refuse): give each machine a name of its own"
        )
        self._tell_claim(claim, line, (host, namespace, peer))

    def _claim(self, namespace: bytes, host: str, now: float) -> Claim:
        claim = self._claims.get((namespace, host))
        if claim is None or now - claim.last > CLAIM_SECONDS:
            claim = Claim()
        self._claims.renew((namespace, host), claim)
        return claim

    def _tell_claim(self, claim: Claim, line: str, about: tuple[str, bytes, str]) -> None:
        """`about`: host name, namespace, and the peer that came last."""
        before, claim.line = claim.line, line
        if not before:
            hub_log.identity(Mistake.NAME_TWICE, self.settings.name, line, *about)

    # --- for people

    def warnings(self, sessions: Iterable[Session], now: float) -> Iterator[tuple[bytes, str, str] | None]:
        """(namespace, host, line) of all that is wrong now, each once; None now and then, in long lists."""
        told: set[tuple[bytes, str]] = set()
        for number, session in enumerate(sessions, 1):
            if not number % SILENT:
                yield None
            attachment, verdict = session.attachment, session.verdict
            for line in filter(None, (verdict.table_line, verdict.twice_line)):
                key = attachment.namespace.id, line
                if key not in told:
                    told.add(key)
                    yield attachment.namespace.id, attachment.host, line
        for (namespace, host), claim in list(self._claims.items()):
            if claim.line and now - claim.last > CLAIM_SECONDS:
                del self._claims[namespace, host]
            elif claim.line:
                yield namespace, host, claim.line


def _are_two(one: Attachment, other: Attachment) -> bool:
    """Whether two sessions of a host are of two machines, both alive.

    They come from different addresses. A client that is a tunrouter, and comes from another address than
    before, is known by its instance; a session that nothing is heard on any more is a left-over.
    """
    if host_of(one.peer) == host_of(other.peer) or ids.is_of_client(one.instance, other.instance):
        return False
    since = max(one.since, other.since) + ALIVE_SECONDS
    return one.heard_at > since and other.heard_at > since


def _perhaps(host: str, gateways: frozenset[str], namespace: Namespace) -> str:
    """The gateway whose name is nearest to a host's, first of those that are not connected; "" for none."""
    letters = sorted(host)
    alike = [name for name in in_steps(gateways) if abs(len(name) - len(host)) <= 2]
    if len(alike) > MAX_CANDIDATES:  # those in which letters have changed places first
        others = {name for name in in_steps(alike) if len(name) != len(host) or sorted(name) != letters}
        alike.sort(key=others.__contains__)
    near = alike[:MAX_CANDIDATES]
    away = [name for name in near if not namespace.sessions_of(name)]
    return nearest(host, in_steps(away)) or nearest(host, in_steps(near))


def _no_gateway(namespace: Namespace, host: str, hint: str, tables: Tables) -> str:
    line = f"host {host} is gateway of nothing in {_where(namespace.id)}: no route leads to it"
    if hint:
        return f"{line}; did you mean {hint!r}?"
    for key in tables.namespaces_with(host):
        return f"{line}; it is a gateway in {_where(key)}: its client has another router.id, or none"
    return line


def _unknown_namespace(namespace: Namespace, host: str, tables: Tables) -> str:
    """Said to people at the hub only: who knows a namespace's UUID may be able to join it."""
    line = f"the router.id of host {host}, {ids.format_uuid(namespace.id)}, names no router of this hub"
    known = {ids.format_uuid(key): key for key in list(tables.domain.tables)[:MAX_CANDIDATES]}
    near = nearest(ids.format_uuid(namespace.id), in_steps(known))
    meant = near or next(map(ids.format_uuid, tables.namespaces_with(host)), "")
    return f"{line}; did you mean {meant}?" if meant else line


def _in(namespace: bytes) -> str:
    return "" if namespace == ids.NO_NAMESPACE else f" in {_where(namespace)}"


def _where(namespace: bytes) -> str:
    if namespace == ids.NO_NAMESPACE:
        return "the namespace of clients without a router.id"
    return f"namespace {ids.format_uuid(namespace)}"
