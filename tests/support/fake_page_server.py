"""A server that plays a hub with many hosts for the web page: the page's tests need no namespaces, and no hub.

Knows: what the page asks for under /x/ and the form of each reply; hosts, routes and drops as a big hub would have
them, the same in each run. Run by itself (`python -m tests.support.fake_page_server`) it serves until Ctrl-C.
Refuses to know: what a real hub decides (tests/page/test_real_hub.py has one).
"""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lib import api_page, cluster_view, ctl_drops, page_files
from lib.api_request import Who
from lib.forward_drop_reasons import Reason, Refusal

COLUMNS = (
    "id", "host", "ns", "state", "since", "problems", "peer", "address", "prefixes", "rtt", "loss", "in", "out", "queue", "queue_s",
    "drops", "drops_s", "software", "service",
)  # fmt: skip
TENANTS = (
    "",
    "Bäckerei Sommer",
    "City of Aarhus",
    "Farm robots",
    "Hospital North",
    "Lab 4",
    "Retail",
    "Ships",
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

Row = dict[str, Any]


def _uuid(number: int) -> str:
    return (
        f"{number * 0x1F3D5B79:08x}-0000-4000-8000-{number:012x}"
        if number
        else "00000000-0000-0000-0000-000000000000"
    )


class FakeHub:
    """What the hub knows. Tests change it, and call tick()."""

    def __init__(
        self, hosts: int = 1000, routes: int = 100_000, login: bool = False, role: str = "admin"
    ) -> None:
        self.random = random.Random(7)
        self.login, self.role, self.routes = login, role, routes
        self.may = list(api_page.MAY[role])
        self.user: str | None = None if login else ""
        self.now = time.time()
        self.seq = 1
        self.rows: dict[int, Row] = {number: self._host(number) for number in range(1, hosts + 1)}
        self.asked: list[tuple[str, Row]] = []
        """(path, body) of every change that was asked for."""
        self.packets: list[list[Any]] = [
            [
                self.now,
                "forwarded",
                "hall-0001",
                "hall-0002",
                "session 10.0.0.7:41000",
                "",
                "10.0.0.1 > 10.0.0.2: ICMP echo request, 84 B",
            ]
        ]
        self.difference: Row = {
            "stamp": "s1", "differs": True, "problems": [], "warnings": [{"where": "hub.yml:9:5", "text": "an rlimiter that nothing names", "hint": "name it in a service, or remove it"}],
            "changes": [
                {"service": "hub", "kind": "changed", "lines": ["-  handshakeTimeout: 5s", "+  handshakeTimeout: 10s"]},
                {"service": "branch", "kind": "added", "lines": ["+- name: branch", "+  addr: :8444"]},
            ],
        }  # fmt: skip
        self.news = threading.Condition()
        self.changes: list[tuple[int, Row]] = []
        self.hubs = [self._of_cluster(f"hub-{number}") for number in range(1, 31)]
        self.pending: Row | None = None
        """The change that waits until somebody keeps it."""
        self.cuts = 0
        """Raised by cut(): streams that are open end."""
        self.step = 10
        """Seconds between two points of a curve."""

    def _host(self, number: int) -> Row:
        chance = self.random
        tenant = number % len(TENANTS)
        kind = ("hall", "shop", "mast", "ship", "ward", "van")[number % 6]
        busy = chance.random() ** 6
        row: Row = {
            "id": number, "host": f"{kind}-{number:04}", "ns": _uuid(tenant), "state": "up", "since": int(self.now - chance.random() ** 3 * 4e6 - 5),
            "problems": [], "peer": f"198.51.{number // 250}.{number % 250 + 1}:{40000 + number}", "address": f"10.{tenant}.{number // 250}.{number % 250 + 1}",
            "prefixes": [f"172.{16 + tenant}.{number % 250}.0/24"] + ([f"2001:db8:{number:x}::/48", 12] if number % 9 == 0 else []),
            "rtt": round(0.002 + 0.09 * chance.random() ** 3, 4), "loss": round(0.004 * chance.random(), 4) if number % 3 else None,
            "in": float(f"{busy * 4e7 + 30:.2g}"), "out": float(f"{busy * 1.6e7 * chance.random() + 20:.2g}"), "queue": 0, "queue_s": 0.0,
            "drops": 0, "drops_s": 0.0, "software": "tunrouter 0.9.0" if number % 5 else "", "service": "hub",
        }  # fmt: skip
        return row

    def _of_cluster(self, name: str) -> Row:
        number = int(name.removeprefix("hub-"))
        row: Row = {
            "name": name, "here": number == 1, "live": True, "state": "good", "error": "", "hosts": 10 * number, "sessions": 10 * number + 1,
            "rtt_s": None if number % 3 else 0.0004 * number, "software": "tunrouter 0.9.0", "up_s": 86400.0 * number, "heard_s": 0.4 if number > 1 else None,
            "address": f"hub-{number}.example:8444",
        }  # fmt: skip
        return row

    def lose(self, name: str, state: str, error: str = "") -> None:
        """Let a hub of the cluster be in a state that is not good."""
        row = next(row for row in self.hubs if row["name"] == name)
        row.update(state=state, live=state != "gone", error=error)

    def cluster(self) -> Row:
        """The reply to /x/cluster."""
        found = cluster_view.view(self.hubs[0], self.hubs[1:])
        return {"cluster": "hub-1", "registry": "redis://redis.example:6379/0", "error": "", **found}

    def trouble(self) -> None:
        """A dozen hosts with each kind of problem."""
        kinds = ("away", "away", "flapping", "dropping", "queue", "conflict", "loss")
        self.lose("hub-7", "gone")
        self.lose("hub-9", "unreachable", "Connection refused")
        self.lose("hub-12", "behind")
        for at, number in enumerate(range(11, len(self.rows), max(1, len(self.rows) // 14))):
            self.spoil(number, kinds[at % len(kinds)])

    def spoil(self, number: int, problem: str) -> Row:
        """Give a host a problem; returns its row."""
        row = self.rows[number]
        row["problems"] = [problem]
        if problem == "away":
            row.update(
                state="away",
                since=int(self.now - 340),
                rtt=None,
                loss=None,
                queue=0,
                queue_s=0.0,
                **{"in": 0.0, "out": 0.0},
            )
        if problem == "dropping":
            row.update(drops=row["drops"] + 1234, drops_s=41.0)
        if problem == "queue":
            row.update(queue=1_800_000, queue_s=0.412)
        if problem == "loss":
            row.update(loss=0.071)
        return row

    def totals(self) -> Row:
        """Of all hosts together."""
        rows = self.rows.values()
        away = sum(row["state"] == "away" for row in rows)
        return {
            "up": len(rows) - away,
            "away": away,
            **{key: sum(row[key] for row in rows) for key in ("in", "out", "drops_s")},
        }

    def namespaces(self) -> Row:
        """UUID -> title and number of hosts."""
        found: Row = {}
        for row in self.rows.values():
            number = next(at for at in range(len(TENANTS)) if _uuid(at) == row["ns"])
            found.setdefault(row["ns"], {"title": TENANTS[number], "hosts": 0})["hosts"] += 1
        return found

    def snapshot(self) -> Row:
        """The reply to /x/hosts."""
        with self.news:
            rows = [[row[name] for name in COLUMNS] for row in self.rows.values()]
            return {
                "seq": self.seq, "now": self.now, "tick_s": 2, "columns": COLUMNS, "rows": rows, "namespaces": self.namespaces(),
                "totals": self.totals(), "more": 0,
            }  # fmt: skip

    def tick(self, change: Callable[[FakeHub], object] = lambda hub: None) -> None:
        """Change something, and tell all pages the difference."""
        with self.news:
            before = {number: dict(row) for number, row in self.rows.items()}
            self.now = time.time()
            change(self)
            rows = []
            for number, row in self.rows.items():
                was = before.get(number)
                pairs = [
                    part
                    for at, name in enumerate(COLUMNS)
                    if was and was[name] != row[name]
                    for part in (at, row[name])
                ]
                if pairs:
                    rows.append([number, *pairs])
            new = [
                [row[name] for name in COLUMNS] for number, row in self.rows.items() if number not in before
            ]
            self.seq += 1
            told = {
                "seq": self.seq, "now": self.now, "rows": rows, "new": new, "gone": [number for number in before if number not in self.rows],
                "totals": self.totals(), "namespaces": self.namespaces(),
            }  # fmt: skip
            self.changes = [*self.changes[-31:], (self.seq, told)]
            self.news.notify_all()

    def breathe(self) -> None:
        """Other rates for every third host, as in real life."""
        for row in self.rows.values():
            if row["state"] == "up" and self.random.random() < 0.33:
                factor = 0.8 + 0.4 * self.random.random()
                row["in"], row["out"] = (
                    float(f"{row['in'] * factor:.2g}"),
                    float(f"{row['out'] * factor:.2g}"),
                )
                row["rtt"] = round(row["rtt"] * factor, 4)

    def cut(self) -> None:
        """End every stream, as a restarted proxy does."""
        with self.news:
            self.cuts += 1
            self.news.notify_all()

    # --- replies

    def me(self) -> Row:
        """The reply to /x/me."""
        if self.login and not self.user:
            return api_page.told(None, True)
        found = api_page.told(Who(self.user or "", self.role), self.login)
        return {
            **found,
            "cluster": self.role != "tenant",
            "may": self.may,
            "software": "tunrouter 0.9.0",
            "title": "hub.example",
        }

    def host(self, number: int) -> Row:
        """The reply to /x/hosts/ID."""
        row = self.rows[number]
        up = row["state"] != "away"
        texts = {
            "away": ("no session for 5 min; the last one ended: connection reset by peer", "look whether its line and its client work: `tunrouter doctor` there says what is wrong"),
            "dropping": ("1,234 packets in the last 30 s: no-route", Reason.NO_ROUTE.remedy),
        }  # fmt: skip
        session = {
            "service": "hub", "host": row["host"], "namespace": row["ns"], "peer": row["peer"], "via": "", "address": row["address"], "prefixes": row["prefixes"][:4],
            "transport": "tls", "congestion": "bbr", "mptcp_paths": 0, "software": row["software"], "since_s": self.now - row["since"], "rtt_s": row["rtt"],
            "lanes": [{"peer": row["peer"], "carries": "bulk", "rtt_s": 0.0221}, {"peer": row["peer"], "carries": "sparse", "rtt_s": 0.0118}],
            "channel": {"state": "good", "reason": "", "peer": row["peer"], "rtt_s": 0.0117, "jitter_s": 0.001, "loss": row["loss"] or 0.0, "path_mtu": 1420, "sent_datagrams": 88123, "received_datagrams": 90211},
            "no_channel": "", "queue_bytes": row["queue"], "queue_s": row["queue_s"], "superpackets": True, "received_packets": 8812345, "received_bytes": 73123456789,
            "sent_packets": 4812345, "sent_bytes": 13123456789, "marked": 0, "drops": {},
        }  # fmt: skip
        flows = [
            {"src": row["address"], "dst": f"10.1.0.{at}", "proto": "tcp", "sport": 40000 + at, "dport": 443, "bytes_s": 4e6 / at, "dir": "in"} for at in range(1, 6)
        ]  # fmt: skip
        return {
            "id": number, "host": row["host"], "ns": row["ns"], "title": "", "state": row["state"], "since": row["since"], "service": "hub",
            "problems": [{"code": code, "text": texts.get(code, (code, ""))[0], "remedy": texts.get(code, ("", "see the drops"))[1]} for code in row["problems"]],
            "prefixes": [one for one in row["prefixes"] if isinstance(one, str)], "more_prefixes": 0, "sessions": [session] if up else [],
            "drops": [{"reason": "no-route", "count": row["drops"], "about": Reason.NO_ROUTE.doc, "remedy": Reason.NO_ROUTE.remedy, "last": {"packet": "10.0.0.1 > 192.0.2.9: TCP 41000 > 443 [S]", "ago_s": 2.0}}] if row["drops"] else [],
            "flows": flows if up else [], "flows_note": "",
            "history": [{"at": row["since"], "what": row["state"], "text": f"from {row['peer']}"}, {"at": row["since"] - 90, "what": "down", "text": "connection reset by peer"}],
        }  # fmt: skip

    def curves(self, number: int, since: float) -> Row:
        """The reply to /x/hosts/ID/curves."""
        row, step = self.rows[number], self.step
        end = int(time.time()) // step * step
        times = [one for one in range(end - 359 * step, end + 1, step) if one > since]
        chance = random.Random(number)
        wave = [0.6 + 0.4 * chance.random() + (0.8 if at % 120 > 90 else 0.0) for at in range(len(times))]
        gone = row["state"] == "away"
        shown = [not (gone and one > self.now - 340) for one in times]
        peak = max(row["in"], 3e5)

        def line(scale: float, low: float = 0.0, measured: bool = True) -> list[float | None]:
            seen = [one and measured for one in shown]
            return [low + scale * one if there else None for one, there in zip(wave, seen, strict=True)]

        rtt, loss = line(0.02, 0.004, bool(row["software"])), line(0.004, 0.0, number % 3 > 0)
        return {
            "step_s": step, "start": times[0] if times else end, "in": line(peak), "out": line(peak * 0.4), "rtt": rtt, "loss": loss, "queue_s": line(row["queue_s"] + 0.004),
            "drops_s": line(0.0),
        }  # fmt: skip

    def route(self, at: int) -> Row:
        """One route."""
        row = self.rows[at % len(self.rows) + 1]
        other = self.rows[(at + 6) % len(self.rows) + 1]["host"]
        gateways = [
            {
                "host": row["host"],
                "metric": 0,
                "source": "routes.txt",
                "fall_through": False,
                "live": row["state"] == "up",
                "carries": row["state"] == "up",
            }
        ]
        if at % 5 == 0:
            gateways.append(
                {
                    "host": other,
                    "metric": 10,
                    "source": "routes.txt",
                    "fall_through": False,
                    "live": True,
                    "carries": row["state"] != "up",
                }
            )
        return {
            "service": "hub",
            "table": row["ns"] if at % 6 == 0 else "main",
            "ns": None if at % 3 else row["ns"],
            "prefix": f"10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}/32",
            "gateways": gateways,
        }

    def listed(self, query: Row) -> Row:
        """The reply to /x/routes."""
        wanted, limit, after = query.get("q", ""), int(query.get("limit", 100)), int(query.get("after", 0))
        if wanted.endswith("/error"):
            raise Refused(400, f"{wanted!r} is no prefix", "write one, such as 10.0.0.0/8")
        found: list[Row] = []
        at = after
        while at < self.routes and len(found) < limit:
            row = self.route(at)
            at += 1
            if (
                not wanted
                or row["prefix"].startswith(wanted)
                or any(wanted in one["host"] for one in row["gateways"])
            ):
                found.append(row)
        return {
            "rows": found,
            "next": str(at) if at < self.routes else None,
            "matching": None if wanted else self.routes,
            "total": self.routes,
        }

    def explain(self, query: Row) -> Row:
        """The reply to /x/explain."""
        if query["to"].count(".") != 3 and ":" not in query["to"]:
            raise Refused(400, f"ADDRESS: {query['to']!r} is no IP address", "write one, such as 10.0.0.9")
        delivered = not query["to"].startswith("192.0.2.")
        end = (
            ["decision", "delivered to hall-0007, session 198.51.0.8:40007"]
            if delivered
            else ["decision", "dropped: no-route, no table has a route to the destination"]
        )
        return {
            "service": "hub", "delivered": delivered,
            "lines": [["namespace", "00000000-0000-0000-0000-000000000000, 126 hosts"], ["source", f"10.0.0.2: may come from {query['from']}"], ["destination", query["to"]],
                      ["table main", "10.0.7.0/24 through hall-0007" if delivered else "no route fits"], ["access rules", "rule 3 permits it"], end],
        }  # fmt: skip

    def drops(self) -> Row:
        """The reply to /x/drops."""
        rows = [
            {"namespace": _uuid(at % 8), "host": f"hall-{6 * at + 6:04}", "peer": "198.51.0.7:40006", "reason": reason.value, "count": 90000 // (at + 1), "about": reason.doc, "remedy": reason.remedy,
             "last": {"packet": "10.0.0.1 > 192.0.2.9: TCP 41000 > 443 [S], 60 B", "ago_s": 3.0 + 40 * at}}
            for reason in (Reason.NO_ROUTE, Reason.TRUNCATED, Reason.NOT_IP) for at in range(9)
        ]  # fmt: skip
        rows.append({**rows[-1], "host": ctl_drops.ENDED, "peer": "", "count": 60_000, "last": None})
        refusals = [
            {"service": "hub", "reason": one.value, "count": 30 * (at + 1), "about": one.doc, "remedy": one.remedy, "last": {"peer": "203.0.113.9:5050", "why": one.doc, "ago_s": 20.0 * (at + 1)}}
            for at, one in enumerate((Refusal.UNAUTHORIZED, Refusal.MALFORMED, Refusal.NAME))
        ]  # fmt: skip
        places = [
            {
                "namespace": _uuid(at % 8),
                "destination": f"192.0.2.{at}",
                "reasons": {"no-route": 100 - at},
                "last_s": 2.0 * at,
            }
            for at in range(1, 9)
        ]
        return {"drops": rows, "destinations": places, "refusals": refusals, "more": 0}

    def config(self) -> Row:
        """The reply to /x/config."""
        text = "services:\n- name: hub\n  addr: :8443\n  handler:\n    type: router\n    auther: people\n    metadata:\n      router: main\n      handshakeTimeout: 5s\n  listener: {type: tls}\nauthers:\n- name: people\n  auths: [{username: ada, password: '***'}]\n"
        return {"files": ["/etc/tunrouter/hub.yml"], "loaded": int(self.now - 7200), "text": text}


class Refused(Exception):
    """A request that gets an error: its status, a sentence, what to do."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test looks at what the page shows."""

    def _send(
        self,
        status: int,
        body: bytes = b"",
        kind: str = "application/json",
        packed: bytes | None = None,
        **headers: str,
    ) -> None:
        accepts = "gzip" in self.headers.get("Accept-Encoding", "")
        small = (packed or gzip.compress(body, 5)) if accepts and len(body) > 500 else None
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        if small is not None:
            self.send_header("Content-Encoding", "gzip")
        if status != 204:
            self.send_header("Content-Length", str(len(small if small is not None else body)))
        self.end_headers()
        self.wfile.write(small if small is not None else body)

    def _json(self, told: object, status: int = 200) -> None:
        self._send(status, json.dumps(told).encode(), Cache_Control="no-store")

    def do_GET(self) -> None:
        """Reply."""
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if not parts.path.startswith("/x/"):
            file = page_files.find(parts.path)
            if file is None:
                self._json({"code": 404, "msg": "no such page"}, 404)
            else:
                kept = {"ETag": file.etag, "Cache_Control": "no-cache"}
                self._send(200, file.body, file.type, file.gzip_body, **kept)
            return
        hub = self.server.hub
        if parts.path != "/x/me" and hub.login and not hub.user:
            self._json({"code": 401, "msg": "log in first"}, 401)
            return
        try:
            self._reply(hub, parts.path.split("/")[2:], query)
        except Refused as refused:
            self._json({"code": refused.status, "msg": refused.message, "hint": refused.hint}, refused.status)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _reply(self, hub: FakeHub, path: list[str], query: Row) -> None:
        streams = {"events": self._events, "trace": self._trace}
        if path[0] in streams:
            streams[path[0]](hub, query)
            return
        if path[0] == "hosts" and len(path) > 1:
            number = int(path[1])
            if number not in hub.rows:
                raise Refused(404, "no such host")
            self._json(
                hub.curves(number, float(query.get("since", 0))) if len(path) > 2 else hub.host(number)
            )
            return
        replies: dict[str, Callable[[], Row]] = {
            "me": hub.me, "hosts": hub.snapshot, "routes": lambda: hub.listed(query), "explain": lambda: hub.explain(query), "drops": hub.drops, "cluster": hub.cluster, "confirm": lambda: {"pending": hub.pending},
            "config": lambda: hub.difference if len(path) > 1 else hub.config(),
        }  # fmt: skip
        if path[0] not in replies:
            raise Refused(404, "no such path")
        self._json(replies[path[0]]())

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _event(self, event: str, told: object) -> None:
        self.wfile.write(f"event: {event}\ndata: {json.dumps(told)}\n\n".encode())
        self.wfile.flush()

    def _events(self, hub: FakeHub, query: Row) -> None:
        since, cuts = int(query.get("since", -1)), hub.cuts
        self._begin()
        oldest = hub.changes[0][0] - 1 if hub.changes else hub.seq
        if not oldest <= since <= hub.seq:
            self._event("reset", {})
            return
        self.wfile.write(b": \n\n")  # a page is live from here on
        sent = since
        with hub.news:
            while True:
                hub.news.wait(0.5)  # who comes and goes meanwhile finds the lock free
                if hub.cuts > cuts or self.server.ending:
                    return
                for seq, told in hub.changes:
                    if seq > sent:
                        sent = seq
                        self._event("hosts", told)

    def _trace(self, hub: FakeHub, query: Row) -> None:
        if "nonsense" in query.get("filter", ""):
            raise Refused(
                400, "'nonsense' is no word of a filter", "there is host, net, port, proto, dropped, …"
            )
        self._begin()
        self._event("packets", {"packets": hub.packets})
        self._event("skipped", {"count": 7})
        cuts = hub.cuts
        with hub.news:
            hub.news.wait_for(lambda: hub.cuts > cuts or self.server.ending, 60)

    def do_POST(self) -> None:
        """Change something."""
        hub, path = self.server.hub, self.path.split("/")[2:]
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.headers.get("X-Tunrouter") != "1":
            self._json({"code": 403, "msg": "not from this page"}, 403)
            return
        hub.asked.append((self.path, body))
        if path == ["session"]:
            if (body.get("username"), body.get("password")) == ("ada", "right"):
                hub.user = "ada"
                self._json({"data": {"name": "ada"}})
            else:
                self._json({"code": 401, "msg": "Unauthorized"}, 401)
        elif path[0] in ("confirm", "undo"):
            hub.pending = None
            self._json({})
        elif path[0] == "hosts":
            number, act = int(path[1]), path[2]
            if hub.rows[number]["state"] == "away":
                self._json({"code": 409, "msg": "it is not connected", "hint": "wait until it is"}, 409)
                return
            hub.tick(
                lambda hub: (
                    hub.rows[number].update(state="draining") if act == "drain" else hub.spoil(number, "away")
                )
            )
            self._json({"sessions": 1})
        else:
            done: Row = {"applied": ["reloaded: service hub changed", "reloaded: service branch added"]}
            if path[-1] == "reload?confirm=60s":
                hub.pending = {"id": "c1", "change": "reload", "user": "", "left_s": 60.0}
                done["confirm"] = "c1"
            self._json(done)

    def do_DELETE(self) -> None:
        """End the session: the only thing that is taken away by this method."""
        self.server.hub.user = None
        self._json({"msg": "OK"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: FakeHub, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self.ending = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a browser closes connections as it likes."""


@contextmanager
def serving(hub: FakeHub, port: int = 0) -> Iterator[str]:
    """Serve the page and a hub; the address of the page."""
    server = _Server(hub, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        with hub.news:
            server.ending = True
            hub.news.notify_all()
        server.shutdown()
        server.server_close()


def main() -> None:
    """Serve 1,000 hosts that are alive, until Ctrl-C."""
    hub = FakeHub()
    hub.trouble()
    with serving(hub, 8099) as address:
        print(address, flush=True)
        while True:
            time.sleep(2)
            hub.tick(FakeHub.breathe)


if __name__ == "__main__":
    main()
