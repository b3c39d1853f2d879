"""Handlers of the web API's /x/hosts: the list and its events, one host, its curves, kick and drain.

Knows: the fields of these replies. Refuses to know: HTTP, what the list holds (api_hosts, api_live).
"""

from __future__ import annotations

import time
from typing import Any

from lib import api_audit, api_endpoint
from lib.api_endpoint import EVENTS, NO_STORE
from lib.api_history import FIELDS, STEP_SECONDS
from lib.api_hosts import Host
from lib.api_hubs import About, Hubs, Key, Row
from lib.api_live import Live
from lib.api_request import Refused, Reply, Request
from lib.api_shared import Shared
from lib.namespace_titles import title_of_uuid
from lib.session_problems import INTENDED

FLOW_SECONDS = 0.25
"""How long packets are looked at for the flows that carry most."""
MAX_LOOKS = 4
"""Such looks at the same time."""
MAX_PREFIXES = 100
_INTENDED = {reason.value for reason in INTENDED}

_WORDS = {
    "away": ("it is not connected", "look at its own log and at the way to it: `tunrouter doctor` there"),
    "flapping": ("three sessions or more began in the last 10 minutes", "its log says why each one ended"),
    "silent": (
        "nothing that is sent by one of its sessions is acknowledged: packets go by another hub",
        "look for what drops packets between it and this hub, in one direction or both",
    ),
    "dropping": ("packets were dropped in the last 30 s", "its drops say which, and what to do"),
    "queue": ("what waits for it stands in the queue", "its line is full, or its machine does not read"),
    "conflict": ("two machines use its name", "give each machine a name of its own"),
    "loss": ("its datagram channel loses more than 2 %", "the way to it is lossy, or its line is full"),
    "name": ("its name or router.id is wrong", "correct the name, or add a route to it"),
}


class HostPages:
    """The handlers; what they change is written into the audit log."""

    def __init__(self, live: Live, hubs: Hubs, shared: Shared) -> None:
        self._live, self._hubs, self._shared = live, hubs, shared
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
        about = self._hubs.about(_key(host))
        flows, note = self._flows(host, bool(about.sessions))
        now = time.monotonic()
        shown, more = _prefixes(host, about)
        return {
            "id": host.id,
            "host": host.host,
            "ns": host.ns,
            "title": title_of_uuid(host.ns),
            "state": host.state,
            "since": host.since,
            "service": host.service,
            "problems": _problems(host, about, now),
            "prefixes": shown,
            "more_prefixes": more,
            "sessions": about.sessions,
            "drops": about.drops,
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
        count = self._hubs.kick(_key(host), f"kicked by {request.who.name or 'the web API'}")
        return self._done(request, host, "kick", "kicked", count)

    def drain(self, request: Request) -> Reply:
        """Ask a host to get another session before it gives up this one."""
        host = self._host(request)
        return self._done(request, host, "drain", "drained", self._hubs.drain(_key(host)))

    def _done(self, request: Request, host: Host, what: str, done: str, count: int | None) -> Reply:
        """The answer to who has kicked or drained so many sessions; the log and the host's page have it."""
        if count is None:
            raise Refused(409, f"host {host.host} is not connected")
        host.excused = host.excused or done == "kicked"
        host.happened(time.time(), done, f"{done} by {request.who.name or 'the web API'}")
        self._shared.forget()
        api_audit.tell(request, f"{what} host {host.host} in namespace {host.ns}")
        return Reply({"sessions": count})

    # --- which host

    def _host(self, request: Request) -> Host:
        ns = api_endpoint.scope(request)
        text = request.arguments["id"]
        host = self._live.hosts.by_id.get(int(text)) if text.isdecimal() and len(text) < 16 else None
        if host is None or (ns and host.ns != ns):  # of another tenant: nobody is told that it exists
            raise Refused(404, "there is no such host here")
        return host

    def _flows(self, host: Host, connected: bool) -> tuple[list[Row], str]:
        if not connected:
            return [], "the host is not connected"
        if self._looks >= MAX_LOOKS:
            return [], "others are looking at flows just now"
        self._looks += 1
        try:
            rows = self._hubs.flows(_key(host), FLOW_SECONDS)
        finally:
            self._looks -= 1
        return rows, "" if rows else f"nothing was forwarded in {FLOW_SECONDS:g} s"


def _key(host: Host) -> Key:
    return host.domain, host.namespace, host.host


def _prefixes(host: Host, about: About) -> tuple[list[str], int]:
    """(the prefixes of a host, how many more there are)."""
    texts = about.prefixes or [text for text in host.prefixes if isinstance(text, str)]
    hidden = sum(number for number in host.prefixes if isinstance(number, int))
    total = max(len(texts), sum(isinstance(one, str) for one in host.prefixes) + hidden)
    return texts[:MAX_PREFIXES], total - len(texts[:MAX_PREFIXES])


def _problems(host: Host, about: About, now: float) -> list[dict[str, str]]:
    found = []
    for code in host.problems(now):
        text, remedy = _WORDS[code]
        worst = next((row for row in about.drops if row["reason"] not in _INTENDED), None)
        if code == "dropping" and worst is not None:
            text, remedy = f"{text}: {worst['reason']}, {worst['about']}", worst["remedy"]
        if code in ("conflict", "name"):
            text = "; ".join(about.warnings) or text
        found.append({"code": code, "text": text, "remedy": remedy})
    return found
