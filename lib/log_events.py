"""What is logged: every event by its name, its level and its fields.

Knows: the names that scripts may rely on: none of them changes its meaning, fields are only added.
Refuses to know: how a line looks (log_setup), and what people read in it (whoever says it).
"""

from __future__ import annotations

from enum import Enum
from typing import Self

COMMON = ("time", "level", "event", "msg")
"""What every JSON line has."""
FOLDED = ("repeated", "seconds_counted")
"""What a line has besides that stands for so many more of its kind."""


class Entry(Enum):
    """Members have a value, the name in the log; a level; fields; and a doc that explains it."""

    level: str
    fields: frozenset[str]
    doc: str

    def __new__(cls, name: str, level: str, fields: str, doc: str) -> Self:
        member = object.__new__(cls)
        member._value_ = name
        member.level, member.fields, member.doc = level, frozenset(fields.split()), doc
        return member

    # sessions at a hub
    LISTENING = "listening", "info", "service address", "a hub accepts clients from now on"
    SESSION_OPENED = (
        *("session-opened", "info", "service host namespace peer transport"),
        "a client has been let in",
    )
    SESSION_CLOSED = (
        *("session-closed", "info", "service host namespace peer reason seconds received_bytes sent_bytes"),
        "a session has ended: why, after how long, and what it had sent to the hub and been sent",
    )
    SESSION_REVOKED = "session-revoked", "info", "service change", "sessions end because rules have changed"
    REFUSED = (
        *("refused", "warning", "service peer reason detail"),
        "a connection became no session; `reason` as in the table of refusals",
    )
    CONNECTION_LOST = "connection-lost", "info", "service peer reason", "it broke before it was a session"
    NOT_ACCEPTING = "not-accepting", "warning", "service reason", "no descriptor or memory for one more"
    HELLO = "hello", "debug", "service host peer software offloads", "the far side is a tunrouter"

    # a client
    DEVICE_READY = "device-ready", "info", "service host device addresses", "a client has its TUN device"
    CONNECTED = "connected", "info", "service host hub", "a hub has let this client in"
    RECONNECTING = "reconnecting", "warning", "service hub reason", "no session, and another try follows"
    HUB_DRAINS = "hub-drains", "info", "service hub", "the hub is about to end, another one is looked for"
    NOT_MOVED = "not-moved", "debug", "service reason", "a hub that was tried beside the present one said no"

    # packets
    DROPS = (
        *("drops", "warning", "service host peer reason detail"),
        "packets are dropped for a reason for the first time in this session",
    )
    ADVICE = "advice", "warning", "service host advice", "what would let such packets pass"
    DROP_COUNT = (
        *("drop-count", "info", "namespace session reason count"),
        "packets dropped so far (SIGUSR1, -D)",
    )
    REFUSAL_COUNT = "refusal-count", "info", "service reason count", "connections refused so far"

    DECISION = "decision", "debug", "decision", "what is done with a flow, and why (-D)"
    TRACE = "trace", "info", "packet", "a packet that fits --trace, and what became of it"
    TRACE_UNHEARD = "trace-unheard", "warning", "", "--trace, but the log level keeps its lines out"

    # tables
    TABLE_LOADED = (
        *("table-loaded", "info", "table source rows added changed removed seconds"),
        "a source of a router was read and routes differ",
    )
    RULES_LOADED = "rules-loaded", "info", "table source rows", "the same of an ingress or an auther"
    BAD_ROW = "bad-row", "warning", "table reason", "a row that is left out"
    SOURCE_FAILED = "source-failed", "warning", "table source reason", "its last good rows stay"
    SOURCE_RECOVERED = "source-recovered", "info", "table source", "a source that failed is read again"
    PLUGIN_FAILED = "plugin-failed", "warning", "service namespace address reason", "no reply about a packet"
    PLUGIN_RECOVERED = "plugin-recovered", "info", "service", "a plugin that failed answers again"
    FILES_NOT_WATCHED = "files-not-watched", "warning", "reason", "changes are seen on SIGHUP and by `reload`"

    # certificates
    CERTIFICATE = "certificate", "info", "service fingerprint", "a hub shows this one: what a pin names"
    CERTIFICATE_RELOADED = "certificate-reloaded", "info", "file fingerprint", "its files had changed"
    CERTIFICATE_FAILED = "certificate-failed", "error", "file reason", "changed files are of no use"
    CERTIFICATE_MADE = "certificate-made", "info", "file", "there was none"
    CERTIFICATE_NOT_KEPT = (
        *("certificate-not-kept", "warning", "directory reason"),
        "the next start makes another one",
    )

    # the process
    CONFIG_WARNING = "config-warning", "warning", "file line column hint", "something odd in a configuration"
    CONFIG_NOTICE = "config-notice", "info", "file line column hint", "something decided for the user"
    RELOAD_CHANGE = "reload-change", "info", "change", "one thing that a reload made different"
    RELOAD_DONE = "reload-done", "info", "added changed removed", "a reload is through; counts of services"
    RELOAD_FAILED = "reload-failed", "error", "service reason", "nothing, or not that service, has changed"
    USER_CHANGED = "user-changed", "info", "user", "root's powers are given up"
    CONTROL_FAILED = "control-failed", "warning", "path reason", "no control socket"
    ANSWER_CUT = "answer-cut", "debug", "reason", "a table was replaced while it was being listed"
    METRICS_LISTENING = "metrics-listening", "info", "address path", "metrics can be scraped"
    HELD = "held", "debug", "file", "another one holds the --single file: this one ends at once"
    MANAGER_FAILED = "manager-failed", "warning", "reason", "$NOTIFY_SOCKET: the service manager is not told"
    NO_SIGN_OF_LIFE = (
        *("no-sign-of-life", "error", "reason"),
        "something is broken: the service manager's watchdog is no longer fed",
    )
    TASK_FAILED = (
        *("task-failed", "error", "task reason"),
        "something that must run for ever met an error that nobody expected; it is started again",
    )
    LOG_FAILED = "log-failed", "warning", "path reason", "the log cannot be put aside or opened anew"
