"""Handlers of the web API's /x/hosts: the list and its events, one host, its curves, kick and drain.

Knows: the fields of these replies. Refuses to know: HTTP, what the list holds (api_hosts, api_live).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import gevent

from lib import api_audit, api_endpoint, ctl_session, hub_drain, prefixes
from lib.api_endpoint import EVENTS, NO_STORE
from lib.api_flows import Flows
from lib.api_history import FIELDS, STEP_SECONDS
from lib.api_hosts import Host
from lib.api_live import Live, domain_of
from lib.api_request import Refused, Reply, Request
from lib.api_shared import Shared
from lib.capture_taps import Taps
from lib.counters import Seen
from lib.ctl_routes import PrefixesByHost
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.hub_session import HubSession
from lib.namespace_titles import title_of_uuid
from lib.packet_text import summary
from lib.service_scheduling import in_steps
from lib.session_problems import INTENDED

FLOW_SECONDS = 0.25
"""How long packets are looked at for the flows that carry most."""
MAX_LOOKS = 4
"""Such looks at the same time."""
MAX_PREFIXES = 100

_WORDS = {
    "away": ("it is not connected", "look at its own log and at the way to it: `tunrouter doctor` there"),
    "flapping": ("three sessions or more began in the last 10 minutes", "its log says why each one ended"),
    "dropping": ("packets were dropped in the last 30 s", "its drops say which, and what to do"),
    "queue": ("what waits for it stands in the queue", "its line is full, or its machine does not read"),
    "conflict": ("two machines use its name", "give each machine a name of its own"),
    "loss": ("its datagram channel loses more than 2 %", "the way to it is lossy, or its line is full"),
    "name": ("its name or router.id is wrong", "correct the name, or add a route to it"),
}


class HostPages:
    """The handlers; what they change is written into the audit log."""

    def __init__(self, live: Live, hubs: Mapping[str, Hub], taps: Taps, shared: Shared) -> None:
        self._live, self._hubs, self._taps, self._shared = live, hubs, taps, shared
        self._looks = 0

    def hosts(self, request: Request) -> Reply:
        """The list."""
        return Reply(self._live.whole(api_endpoint.scope(request)), headers=NO_STORE)

    def events(self, request: Request) -> Reply:
        """What changes in it from a number on."""
        since = int(api_endpoint.number("since", request.query.get("since", "0")))
        events = self._live.follow(api_endpoint.scope(request), since, request.who.valid, request.gone)
        return Reply(events, kind=EVENTS, headers=NO_STORE, streams=True)

    def host(self, request: Request) -> Reply:
        """One host: all pages of it get the same reply, whoever looks on."""
        host = self._host(request)
        return Reply(self._shared.reply(("host", host.id), lambda: self._about(host)), headers=NO_STORE)

    def _about(self, host: Host) -> dict[str, Any]:
        sessions = self._sessions(host)
        flows, note = self._flows(host, bool(sessions))
        now = time.monotonic()
        shown, more = self._prefixes(host, sessions)
        return {
            "id": host.id,
            "host": host.host,
            "ns": host.ns,
            "title": title_of_uuid(host.ns),
            "state": host.state,
            "since": host.since,
            "service": host.service,
            "problems": self._problems(host, sessions, now),
            "prefixes": shown,
            "more_prefixes": more,
            "sessions": self._rows(sessions, now),
            "drops": _drops(sessions, now),
            "flows": flows,
            "flows_note": note,
            "history": [{"at": at, "what": what, "text": text} for at, what, text in reversed(host.events)],
        }

    def curves(self, request: Request) -> Reply:
        """The last hour of a host, or what is later than `since`."""
        host = self._host(request)
        ahead = time.time() - time.monotonic()
        since = request.query.get("since")
        last = (
            round((api_endpoint.number("since", since, whole=False) - ahead) / STEP_SECONDS) if since else -1
        )
        first, series = host.history.after(last) if host.history else (0, {name: [] for name in FIELDS})
        start = round(first * STEP_SECONDS + ahead)
        return Reply({"step_s": int(STEP_SECONDS), "start": start, **series}, headers=NO_STORE)

    def kick(self, request: Request) -> Reply:
        """End the sessions of a host."""
        host = self._host(request)
        sessions = self._connected(host)
        host.excused = True
        self._tell(request, host, "kick", "kicked")
        for session in sessions:
            session.sender.close(f"kicked by {request.who.name or 'the web API'}")
        return Reply({"sessions": len(sessions)})

    def drain(self, request: Request) -> Reply:
        """Ask a host to get another session before it gives up this one."""
        host = self._host(request)
        sessions = self._connected(host)
        self._tell(request, host, "drain", "drained")
        return Reply({"sessions": sum([hub_drain.move(session) for session in sessions])})

    def _tell(self, request: Request, host: Host, what: str, done: str) -> None:
        by = request.who.name or "the web API"
        host.happened(time.time(), done, f"{done} by {by}")
        self._shared.forget()
        api_audit.tell(request, f"{what} host {host.host} in namespace {host.ns}")

    # --- which host

    def _host(self, request: Request) -> Host:
        ns = api_endpoint.scope(request)
        text = request.arguments["id"]
        host = self._live.hosts.by_id.get(int(text)) if text.isdecimal() and len(text) < 16 else None
        if host is None or (ns and host.ns != ns):  # of another tenant: nobody is told that it exists
            raise Refused(404, "there is no such host here")
        return host

    def _sessions(self, host: Host) -> list[HubSession]:
        return [
            session
            for hub in list(self._hubs.values())
            if domain_of(hub) == host.domain
            for session in list(hub.sessions.values())
            if session.attachment.host == host.host and session.attachment.namespace.id == host.namespace
        ]

    def _connected(self, host: Host) -> list[HubSession]:
        sessions = self._sessions(host)
        if not sessions:
            raise Refused(409, f"host {host.host} is not connected")
        return sessions

    # --- what is told of it

    def _rows(self, sessions: list[HubSession], now: float) -> list[dict[str, object]]:
        known = PrefixesByHost()
        for session in sessions:
            for _ in in_steps(known.read(session.attachment.namespace)):
                pass
        return [
            ctl_session.session_row(session, known.of(session.attachment), now)
            for session in sessions
            if session.attachment.live
        ]

    def _prefixes(self, host: Host, sessions: list[HubSession]) -> tuple[list[str], int]:
        """(the prefixes of a host, how many more there are)."""
        if sessions and (found := sessions[0].hub.prefixes.of(sessions[0].attachment.namespace, host.host)):
            texts = [prefixes.text(*one) for one in found]
        else:
            texts = [text for text in host.prefixes if isinstance(text, str)]
        hidden = sum(number for number in host.prefixes if isinstance(number, int))
        total = max(len(texts), sum(isinstance(one, str) for one in host.prefixes) + hidden)
        return texts[:MAX_PREFIXES], total - len(texts[:MAX_PREFIXES])

    def _problems(self, host: Host, sessions: list[HubSession], now: float) -> list[dict[str, str]]:
        found = []
        for code in host.problems(now):
            text, remedy = _WORDS[code]
            if code == "dropping" and (worst := _worst(sessions)) is not None:
                text, remedy = f"{text}: {worst.value}, {worst.doc}", worst.remedy
            if code in ("conflict", "name"):
                text = "; ".join(self._warnings(host, now)) or text
            found.append({"code": code, "text": text, "remedy": remedy})
        return found

    def _warnings(self, host: Host, now: float) -> list[str]:
        return [
            line
            for hub in list(self._hubs.values())
            if domain_of(hub) == host.domain
            for namespace, name, line in filter(
                None, in_steps(hub.identities.warnings(list(hub.sessions.values()), now))
            )
            if (namespace, name) == (host.namespace, host.host)
        ][:5]

    def _flows(self, host: Host, connected: bool) -> tuple[list[dict[str, Any]], str]:
        if not connected:
            return [], "the host is not connected"
        if self._looks >= MAX_LOOKS:
            return [], "others are looking at flows just now"
        flows = Flows(host.host, host.namespace.hex())
        self._looks += 1
        self._taps.add(flows)
        try:
            gevent.sleep(FLOW_SECONDS)
        finally:
            self._taps.remove(flows)
            self._looks -= 1
        rows = flows.rows(FLOW_SECONDS)
        return rows, "" if rows else f"nothing was forwarded in {FLOW_SECONDS:g} s"


def _worst(sessions: list[HubSession]) -> Reason | None:
    counts: Counter[Reason] = Counter()
    for session in sessions:
        counts.update(session.attachment.traffic.drops)
    return next((reason for reason, _ in counts.most_common() if reason not in INTENDED), None)


def _drops(sessions: list[HubSession], now: float) -> list[dict[str, Any]]:
    """Drops by reason, of all sessions of a host together."""
    counts: Counter[Reason] = Counter()
    last: dict[Reason, Seen] = {}
    for session in sessions:
        traffic = session.attachment.traffic
        counts.update(traffic.drops)
        for reason, seen in traffic.last.items():
            if reason not in last or last[reason].at <= seen.at:
                last[reason] = seen
    return [
        {
            "reason": reason.value,
            "count": count,
            "about": reason.doc,
            "remedy": reason.remedy,
            "last": _last(last.get(reason), now),
        }
        for reason, count in counts.most_common()
        if count
    ]


def _last(seen: Seen | None, now: float) -> dict[str, Any] | None:
    return {"packet": summary(seen.head), "ago_s": round(now - seen.at, 1)} if seen is not None else None
