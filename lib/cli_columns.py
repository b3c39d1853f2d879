"""Columns of the tables that commands print: sessions, clients, tables, routes, drops, refusals.

Knows: which field of the control socket's replies stands where, which column a narrow terminal loses first.
Refuses to know: widths and terminals (cli_table).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib import cluster_view
from lib.cli_table import GREEN, RED, YELLOW, Column, Row
from lib.humanize import ago, milliseconds, number, packets, rate, size, span

NOBODY = "00000000-0000-0000-0000-000000000000"
"""The default namespace: that of clients without a router.id."""
SHORT_TITLE = 14
"""Letters of a title that a narrow terminal shows."""


def _plain(name: str) -> Callable[[Row], str]:
    return lambda row: str(row[name] or "-")


def _namespace(row: Row) -> str:
    uuid = "-" if row["namespace"] in (NOBODY, None) else str(row["namespace"])
    return str(row.get("title") or uuid)


def _short_namespace(row: Row) -> str:
    title = str(row.get("title") or "")
    return f"{title[:SHORT_TITLE]}…" if len(title) > SHORT_TITLE + 1 else title or _namespace(row)[:8]


def namespace_column(rank: int) -> Column:
    """The column of a row's namespace: its title where it has one, else its UUID."""
    return Column("namespace", _namespace, rank, short=_short_namespace, tells_apart=True)


def _dropped(row: Row) -> int:
    return sum(row["drops"].values())


def _why(row: Row) -> str:
    by_count = sorted(row["drops"].items(), key=lambda item: -item[1])
    return ", ".join(f"{number(count)} {reason}" for reason, count in by_count) or "-"


def _problems(row: Row) -> str:
    """What is wrong just now, as codes; - beside a process of an older version too."""
    silent = f"silent for {span(row['silent_s'])}" if row.get("silent_s") is not None else "silent"
    return ", ".join(silent if code == "silent" else code for code in row.get("problems", ())) or "-"


def _version(row: Row) -> str:
    text: str = row["software"]
    return text.removeprefix("tunrouter ") if text else "GOST" if row.get("hub", True) else "-"


def _of_channel(row: Row, field: str) -> str:
    """A field of a session's datagram channel as text; - where there is none."""
    return str((row.get("channel") or {}).get(field) or "-")


def _datagrams(row: Row) -> str:
    """What a session's datagram channel is good for, or why there is none; - beside a GOST peer."""
    return f"none: {row['no_channel']}" if row.get("no_channel") else _of_channel(row, "state")


def _loss(row: Row) -> str:
    """The share of a session's datagrams that is lost on the way, in percent."""
    channel = row.get("channel")
    return f"{channel['loss']:.1%}" if channel and channel["state"] == "good" else "-"


_COUNTERS = (
    Column(
        "for", lambda row: span(row["since_s"]) if row["since_s"] is not None else "-", 4,
        lambda row: row["since_s"] or 0, right=True,
    ),
    Column("rtt", lambda row: milliseconds(row["rtt_s"]), 3, lambda row: row["rtt_s"], right=True),
    Column(
        "in", lambda row: rate(row["received_bytes_per_s"]), 1, lambda row: row["received_bytes_per_s"],
        right=True,
    ),
    Column(
        "out", lambda row: rate(row["sent_bytes_per_s"]), 1, lambda row: row["sent_bytes_per_s"], right=True
    ),
    Column(
        "packets in", lambda row: packets(row["received_packets_per_s"]), 11,
        lambda row: row["received_packets_per_s"], right=True,
    ),
    Column(
        "packets out", lambda row: packets(row["sent_packets_per_s"]), 12,
        lambda row: row["sent_packets_per_s"], right=True,
    ),
    Column(
        "queue", lambda row: size(row["queue_bytes"]) if row["queue_bytes"] else "-", 6,
        lambda row: row["queue_bytes"], right=True,
    ),
    Column("waits", lambda row: milliseconds(row["queue_s"]), 13, lambda row: row["queue_s"], right=True),
    Column(
        "dropped", lambda row: number(_dropped(row)) if row["drops"] else "-", 2, _dropped, right=True,
        style=lambda row: YELLOW if row["drops"] else "",
    ),
    Column("by reason", _why, 14, _dropped),
    Column(
        "marked", lambda row: number(row["marked"]) if row.get("marked") else "-", 16,
        lambda row: row.get("marked", 0), right=True,
    ),
    Column(
        "lanes", lambda row: str(len(row.get("lanes", ())) or "-"), 17, lambda row: len(row.get("lanes", ())),
        right=True,
    ),
    Column("datagrams", _datagrams, 13),
    Column("lost", _loss, 15, lambda row: (row.get("channel") or {}).get("loss", 0.0), right=True),
    Column("path mtu", lambda row: _of_channel(row, "path_mtu"), 18, right=True),
)  # fmt: skip

_WHERE = (
    namespace_column(7),
    Column("over", _plain("transport"), 9),
    Column("version", _version, 10),
    Column("paths", lambda row: str(row.get("mptcp_paths") or "-"), 17, right=True),
    Column("congestion", lambda row: row.get("congestion") or "-", 16),
)

_PROBLEMS = Column(
    "problems", _problems, 6, lambda row: len(row.get("problems", ())), right=False,
    style=lambda row: "" if _problems(row) == "-" else YELLOW,
)  # fmt: skip

SESSIONS = (
    Column("host", _plain("host"), tells_apart=True),
    _WHERE[0],
    _PROBLEMS,
    Column("peer", _plain("peer"), 5),
    Column("address", _plain("address"), 8),
    *_WHERE[1:],
    *_COUNTERS,
    Column("prefixes", lambda row: ", ".join(row["prefixes"]) or "-", 15),
)


def _exit(name: str) -> Callable[[Row], str]:
    """`nat` or `killswitch` of a client: the name of its table of nftables, or off."""

    def text(row: Row) -> str:
        found = row.get(name)
        if not found:
            return "-"
        return str(found["table"] or "on, but not set") if found["on"] else "off"

    return text


def _exit_column(name: str) -> Column:
    text = _exit(name)
    return Column(name, text, 9, style=lambda row: RED if "not set" in text(row) else "")


CLIENTS = (
    Column("host", _plain("host"), tells_apart=True),
    _WHERE[0],
    Column("device", _plain("device"), 5),
    Column(
        "hub", lambda row: row["hub"] or "not connected", 0,
        style=lambda row: "" if row["hub"] else RED,
    ),
    Column("address", lambda row: ", ".join(row["addresses"]) or "-", 8),
    *(_exit_column("nat"), _exit_column("killswitch")),
    *_WHERE[1:],
    *_COUNTERS,
)  # fmt: skip


def every_peer(reply: Row) -> list[dict[str, Any]]:
    """A hub's sessions and this process's clients as rows of one table with the columns SESSIONS."""
    clients = [
        {**row, "peer": row["hub"] or "not connected", "address": ", ".join(row["addresses"]), "prefixes": []}
        for row in reply["clients"]
    ]
    return [*reply["sessions"], *clients]


def _of_link(field: str, show: Callable[[Any], str]) -> Callable[[Row], str]:
    """A field of the link with another hub as text; - where there is no link."""
    return lambda row: show(row["link"][field]) if row["link"] else "-"


def _link_datagrams(row: Row) -> str:
    """What the datagram channel of the link with another hub is good for, or why there is none."""
    return _datagrams(row["link"]) if row["link"] else "-"


def _hub_state(row: Row) -> str:
    if not row["live"]:
        return "away"
    return row["error"] or ("its list is read again" if row["behind"] else "good")


HUBS = (
    Column("other hub", _plain("name"), tells_apart=True),
    Column("address", _plain("address"), 3),
    Column("hosts", lambda row: number(row["hosts"]), right=True),
    Column("heard", lambda row: ago(row["heard_s"]) if row["heard_s"] is not None else "-", 4, right=True),
    Column("link", _of_link("peer", str), 1),
    Column("rtt", _of_link("rtt_s", milliseconds), 5, right=True),
    Column("datagrams", _link_datagrams, 7),
    Column("received", _of_link("received_bytes", size), 6, right=True),
    Column("sent", _of_link("sent_bytes", size), 6, right=True),
    Column("state", _hub_state, style=lambda row: "" if _hub_state(row) == "good" else RED),
)


def _state_in_view(row: Row) -> str:
    """What is the case with a hub in the view of a cluster."""
    why = row["error"] or cluster_view.STATES.get(row["state"], "")
    return f"{row['state']}: {why}" if why else str(row["state"])


CLUSTER = (
    Column("hub", lambda row: f"{row['name']}{' (this one)' if row['here'] else ''}", tells_apart=True),
    Column("hosts", lambda row: number(row["hosts"]), right=True),
    Column("sessions", lambda row: number(row["sessions"]), 4, right=True),
    Column("rtt", lambda row: milliseconds(row["rtt_s"]) if row["rtt_s"] else "-", 3, right=True),
    Column("datagrams", lambda row: row.get("datagrams") or "-", 5),
    Column("version", lambda row: str(row["software"]).removeprefix("tunrouter ") or "-", 2),
    Column("up", lambda row: span(row["up_s"]), 5, right=True),
    Column("heard", lambda row: ago(row["heard_s"]) if row["heard_s"] is not None else "-", 6, right=True),
    Column("address", _plain("address"), 7),
    Column("state", _state_in_view, style=lambda row: "" if row["state"] == cluster_view.GOOD else RED),
)


def _source_state(row: Row) -> str:
    bad = row.get("bad_rows")
    if not row["error"]:
        wrong = f", but {number(bad)} bad row{'' if bad == 1 else 's'} (see the log, or check)" if bad else ""
        return f"good{wrong}" if row["read_s"] is not None else "-"
    since = f" for {span(row['failing_s'])}" if row["failing_s"] is not None else ""
    return f"failing{since}: {row['error']}"


TABLES = (
    Column("table", lambda row: f"{row['kind']} {row['name']}"),
    Column("rows", lambda row: number(row["rows"]), right=True),
    Column("source", _plain("source"), 1),
    Column("read", lambda row: ago(row["read_s"]) if row["read_s"] is not None else "-", 2, right=True),
    Column(
        "state",
        _source_state,
        style=lambda row: RED if row["error"] else YELLOW if row.get("bad_rows") else "",
    ),
)


def sources_of(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each source, and for each plugin, of each table."""
    found = []
    for table in tables:
        shared = {"kind": table["kind"], "name": table["name"], "rows": table["rows"]}
        for source in table["sources"]:
            named = f"{source['kind']} {source['name']}"
            found.append({**source, **shared, "source": named})
        plugin = table["plugin"]
        if plugin:
            last = {"read_s": plugin["answered_s"], "error": plugin["error"], "failing_s": None}
            found.append({**last, **shared, "source": f"plugin {plugin['url']}"})
        if not plugin and not table["sources"]:
            found.append({"read_s": None, "error": "", "failing_s": None, **shared, "source": "inline"})
    return found


def _gateway(gateway: Row) -> str:
    words = [gateway["host"]]
    words += [f"metric={gateway['metric']}"] if gateway["metric"] is not None else []
    words += ["fallThrough"] if gateway["fall_through"] else []
    words += [] if gateway["live"] else ["(away)"]
    words += [f"(at hub {hub})" for hub in gateway.get("hubs", ())]
    return " ".join(words)


def _carrying(row: Row) -> str:
    return ", ".join(dict.fromkeys(one["host"] for one in row["gateways"] if one["carries"])) or "nobody"


FAR_HUBS = (
    Column("other hub", _plain("hub"), tells_apart=True),
    Column("by", _plain("service"), 2),
    Column("packets in", lambda row: packets(row["received_packets"]), 1, right=True),
    Column("packets out", lambda row: packets(row["sent_packets"]), 1, right=True),
    Column("dropped", lambda row: number(_dropped(row)) if row["drops"] else "-", 0, right=True),
    Column("by reason", _why, 3, _dropped),
)
ROUTES = (
    Column("prefix", _plain("prefix"), tells_apart=True),
    Column("now by", _carrying, style=lambda row: RED if _carrying(row) == "nobody" else GREEN),
    Column("gateways", lambda row: ", ".join(map(_gateway, row["gateways"])), 1),
    Column("table", _plain("table"), 2),
    namespace_column(3),
    Column("from", lambda row: ", ".join(dict.fromkeys(one["source"] for one in row["gateways"])), 4),
)
DROPS = (
    Column("dropped", lambda row: number(row["count"]), right=True),
    Column("reason", _plain("reason"), style=lambda row: YELLOW, tells_apart=True),
    Column("host", _plain("host"), tells_apart=True),
    namespace_column(3),
    Column("peer", _plain("peer"), 4),
    Column("last", lambda row: ago(row["last"]["ago_s"]) if row["last"] else "-", 1, right=True),
    Column("last packet", lambda row: row["last"]["packet"] if row["last"] else "-", 2),
)
DESTINATIONS = (
    Column("to", _plain("destination"), tells_apart=True),
    namespace_column(2),
    Column("last", lambda row: ago(row["last_s"]), 1, right=True),
    Column("dropped", lambda row: ", ".join(f"{number(n)} {why}" for why, n in row["reasons"].items())),
)
REFUSALS = (
    Column("refused", lambda row: number(row["count"]), right=True),
    Column("reason", _plain("reason"), style=lambda row: YELLOW),
    Column("service", _plain("service"), 2),
    Column("last", lambda row: ago(row["last"]["ago_s"]), 1, right=True),
    Column("from", lambda row: row["last"]["peer"], 3),
    Column("because", lambda row: row["last"]["why"], 4),
)
