"""The log's events: the name, level and fields of each (PROTOCOL.md, The log).

Knows: the names that scripts may rely on. None of them changes its meaning, and fields are only added.
Refuses to know: how a line looks (log_setup), and the event's prose (whoever logs it).
"""

from __future__ import annotations

from enum import Enum
from typing import Self

FOLDED = ("repeated", "seconds_counted")
"""Further fields of a line that sums up repeated ones (log_dedup): how many, and in how many seconds."""


class Entry(Enum):
    """An event. Its value is the name in the log; `doc` explains it to users (the table in PROTOCOL.md)."""

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
        *("session-opened", "info", "service host namespace peer via transport"),
        "a client has been let in",
    )
    SESSION_CLOSED = (
        *("session-closed", "info", "service host namespace peer reason seconds received_bytes sent_bytes"),
        "a session has ended: why, after how long, and what it had sent to the hub and been sent",
    )
    SESSION_SILENT = "session-silent", "info", "host namespace peer reason", "a hub does not reach a host"
    SESSION_REVOKED = "session-revoked", "info", "service change", "sessions end because rules have changed"
    INVITED = (
        *("invited", "info", "service host namespace seconds"),
        "`tunrouter invite` has made an invitation, which is good for so many seconds",
    )
    ENROLLED = (
        *("enrolled", "info", "service host namespace peer"),
        "a host has joined by its invitation: it has a login now",
    )
    HOST_REVOKED = (
        *("host-revoked", "info", "service host namespace sessions"),
        "`tunrouter revoke` has taken a host's login away, and has ended so many sessions",
    )
    REFUSED = (
        *("refused", "warning", "service peer reason detail"),
        "a connection did not become a session; `tunrouter drops` explains each `reason`",
    )
    CONNECTION_LOST = (
        *("connection-lost", "info", "service peer reason"),
        "a connection ended before it was a session",
    )
    CONGESTION_REFUSED = (
        *("congestion-refused", "warning", "service wanted used reason"),
        "the kernel refuses the congestion control that the configuration names; it has `used` another one",
    )
    NO_MPTCP = (
        *("no-mptcp", "warning", "service reason"),
        "`mptcp` is on, and the kernel has no MPTCP for us: connections are plain TCP",
    )
    CLIENT_UNNAMED = (
        *("client-unnamed", "warning", "service peer reason"),
        "a trusted proxy has not named its client, or by an address that cannot be read",
    )
    NOT_ACCEPTING = (
        *("not-accepting", "warning", "service reason"),
        "there is no descriptor or memory for one more connection",
    )
    POOL_FULL = (
        *("pool-full", "warning", "router host"),
        "a router's pool has no address left for a host: every one belongs to a host that is connected",
    )
    POOL_LOW = "pool-low", "warning", "router left", "a router's pool has few addresses left for new hosts"
    POOL_NOT_KEPT = "pool-not-kept", "warning", "router file reason", "a pool's file cannot be used"
    POOL_NOT_SHARED = "pool-not-shared", "warning", "router reason", "a pool cannot be shared by the hubs"
    NOT_TOLD = (
        *("routes-not-told", "warning", "service namespace reason"),
        "hosts of a namespace are not told all of its routes: there are too many",
    )
    MISTAKEN_IDENTITY = (
        *("mistaken-identity", "warning", "service host namespace peer mistake reason"),
        "a host's name or router.id is wrong; `mistake`: gateway-of-nothing, unknown-namespace or name-twice",
    )
    LANE_JOINED = (
        *("lane-joined", "debug", "service host peer lane"),
        "a session has a second lane: one more connection of its client, for what is not bulk",
    )
    LANE_LOST = (
        *("lane-lost", "debug", "service host peer lane reason"),
        "a session goes on with one of its two lanes, or its client could not get a second one",
    )
    NO_DATAGRAMS = (
        *("no-datagrams", "warning", "service address reason"),
        "a hub could not open the UDP port beside its listener or its port for links; all goes by streams",
    )
    NO_CHANNEL = (
        *("no-channel", "warning", "service host peer reason"),
        "a client could not use the datagrams that its hub offers; its session has only its stream",
    )
    HELLO = "hello", "debug", "service host peer software offloads", "the far side is a tunrouter"

    # a client
    DEVICE_READY = "device-ready", "info", "service host device addresses", "a client has its TUN device"
    DEVICE_RENAMED = "device-renamed", "info", "service device before", "a client's device has another name"
    DEVICE_REMOVED = (
        *("device-removed", "warning", "service device"),
        "another program has removed a client's device; it is made anew",
    )
    DEVICE_DIFFERS = (
        *("device-differs", "warning", "service device difference"),
        "a client's device is not as configured, and is left so: set down, moved away, or the kernel refuses",
    )
    NO_SUPERPACKETS = (
        *("no-superpackets", "warning", "service device reason"),
        "the kernel refuses a client's device its offloads: packets go one by one, which is slow",
    )
    PUT_BACK = (
        *("put-back", "warning", "service device what"),
        "something was missing on a client's device, because it had been set down or by another program",
    )
    CONNECTED = (
        *("connected", "info", "service host hub tries"),
        "a hub has let this client in, after so many failed tries",
    )
    RECONNECTING = "reconnecting", "warning", "service hub reason", "a client has no session, and tries again"
    CONNECTS_ANEW = (
        *("connects-anew", "info", "service hub reason"),
        "a reload has changed what a client's session is made of: another one is made at once",
    )
    AROUND = (
        *("around-tunnel", "info", "service address route"),
        "a client's own routes cover an address that it dials: it has set this host route around its tunnel",
    )
    NOT_AROUND = (
        *("no-host-route", "warning", "service address route reason"),
        "the kernel refuses such a host route, and rp_filter=1 will drop the replies",
    )
    TABLE_LEFT = (
        *("nft-table-left", "info", "table"),
        "a process that was killed had left a table of ours in nftables: it has been deleted",
    )
    NAT_SET = (
        *("nat-set", "info", "service device"),
        "a client is an exit (`nat`): what comes out of its tunnel leaves under an address of this host",
    )
    NAT_FAILED = (
        *("nat-failed", "warning", "service device reason"),
        "masquerading or forwarding of an exit (`nat`) could not be set, or not set back",
    )
    KILLSWITCH_SET = (
        *("killswitch-set", "info", "service"),
        "a client's `killswitch` is set: nothing leaves this host beside the tunnel",
    )
    KILLSWITCH_TAKEN = (
        *("killswitch-taken", "info", "what"),
        "a killswitch that an ended run has left is taken over; `what` it lets out until then",
    )
    KILLSWITCH_GONE = (
        *("killswitch-gone", "info", ""),
        "the killswitch is gone, as its process ends cleanly or no client wants it any more",
    )
    KILLSWITCH_STAYS = (
        *("killswitch-stays", "warning", ""),
        "this process ends, and not cleanly: its killswitch stays (`tunrouter unlock`)",
    )
    TABLE_PUT_BACK = (
        *("nft-table-put-back", "warning", "table"),
        "somebody has removed a table of ours in nftables (`nft flush ruleset`); it is set again",
    )
    KILLSWITCH_FAILED = (
        *("killswitch-failed", "warning", "reason"),
        "the killswitch could not be changed as it should be",
    )
    KILLSWITCH_LEFT = (
        *("killswitch-left", "warning", "what"),
        "an ended run has left a killswitch, and no client here wants one (`tunrouter unlock`)",
    )
    SETTINGS_TAKEN = (
        *("settings-taken", "info", "service host hub what"),
        "a client has set, or removed, what its hub tells it: addresses, routes, an MTU, a name server",
    )
    SETTINGS_REFUSED = (
        *("settings-refused", "warning", "service host hub reason"),
        "a client does not set something that its hub tells it, or nothing of it: the hub is not verified",
    )
    NAMES_NOT_KEPT = (
        *("names-not-kept", "warning", "reason"),
        "somebody has changed resolv.conf or hosts, and what a client had set there cannot be put back",
    )
    HUB_ADVICE = (
        *("hub-advice", "warning", "service host hub advice"),
        "the hub finds this client's host name or router.id wrong",
    )
    HUB_DRAINS = (
        *("hub-drains", "info", "service hub"),
        "the hub asks for another session in place of this one: it ends, or somebody drains the host",
    )
    HUB_PREFERRED = "hub-preferred", "info", "service host hub reason", "a client's new flows go by this hub"
    NO_WAY = "no-way", "warning", "service host hub address", "a client's hub does not reach an address now"
    NOT_MOVED = (
        *("not-moved", "debug", "service reason"),
        "a client tried another hub beside the present one, and got no session",
    )

    MAP_NOT_ROUTED = (
        *("map-not-routed", "warning", "service host reason"),
        "what the hub routes to a host does not fit the prefixes under which its networks appear (map)",
    )
    MAP_KEPT = (
        *("map-kept", "warning", "service reason"),
        "the kernel has not forgotten connections that a changed `map` concerns: they keep their addresses",
    )
    NOT_FORWARDING = (
        *("not-forwarding", "warning", "service host reason"),
        "the hub routes a network behind this host to it, and the kernel does not forward",
    )

    # packets
    DROPS = (
        *("drops", "warning", "service host peer reason detail"),
        "packets are dropped for a reason for the first time in this session",
    )
    HARMLESS_DROPS = (
        *("harmless-drops", "debug", "service host peer reason detail"),
        "the same for packets that hosts send by themselves (multicast, link-local)",
    )
    ADVICE = "advice", "warning", "service host advice", "what would let such packets pass"
    DROP_COUNT = (
        *("drop-count", "info", "namespace session reason count"),
        "packets dropped so far (SIGUSR1, -D)",
    )
    REFUSAL_COUNT = "refusal-count", "info", "service reason count", "connections refused so far"

    DECISION = "decision", "debug", "decision", "what is done with a flow, and why (-D)"
    TRACE = "trace", "info", "packet", "a packet that matches --trace, and what became of it"
    TRACE_UNHEARD = (
        *("trace-unheard", "warning", ""),
        "--trace was given, but the log level leaves its lines out",
    )

    # tables
    TABLE_LOADED = (
        *("table-loaded", "info", "table source rows added changed removed seconds"),
        "a source of a router was read, and its routes have changed",
    )
    RULES_LOADED = (
        *("rules-loaded", "info", "table source rows"),
        "a source of an ingress, an auther or its bindings was read, and its rows have changed",
    )
    BAD_ROW = "bad-row", "warning", "table reason", "a row of a source is wrong and is left out"
    SOURCE_FAILED = (
        *("source-failed", "warning", "table source reason"),
        "a source could not be read, or gave no table; its last good rows stay",
    )
    SOURCE_RECOVERED = (
        *("source-recovered", "info", "table source"),
        "a source that had failed could be read again",
    )
    PLUGIN_FAILED = (
        *("plugin-failed", "warning", "service namespace address reason"),
        "a router plugin gave no reply about a packet",
    )
    PLUGIN_RECOVERED = "plugin-recovered", "info", "service", "a plugin that had failed replies again"
    SD_FAILED = (
        *("sd-failed", "warning", "service sd reason"),
        "an sd was not told of a session, or did not say where a host is; what it has said before counts on",
    )
    SD_REFUSED = (
        *("sd-refused", "warning", "service sd host reason"),
        "an sd has named an entrypoint that is none of one hub, or that `entrypoint.allow` has not",
    )
    CLUSTER_JOINED = "cluster-joined", "info", "hub address", "a hub tells a cluster of its hosts from now on"
    REGISTRY_LOST = "registry-lost", "warning", "registry reason", "the registry of a cluster is away"
    REGISTRY_REFUSED = "registry-refused", "warning", "registry reason", "what a registry says is not used"
    HUB_LOST = "hub-lost", "warning", "hub", "another hub has said nothing for its lease: its hosts are gone"
    LINK_OPENED = "link-opened", "info", "hub peer", "a link with another hub is there"
    LINK_CLOSED = "link-closed", "info", "hub reason", "a link with another hub has ended: why"
    LINK_FAILED = "link-failed", "warning", "hub reason", "another hub could not be reached for a link"
    LINK_REFUSED = "link-refused", "warning", "peer reason", "who dials for a link is no hub of this cluster"
    WORKERS = "workers", "info", "workers", "so many processes have the sessions of the hubs from now on"
    WORKER_ENDED = "worker-ended", "error", "worker reason", "a worker has ended; another one takes its place"
    WORKER_FAILED = "worker-failed", "error", "reason", "no worker can be made: the process ends"
    FILES_NOT_WATCHED = (
        *("files-not-watched", "warning", "reason"),
        "changes of files are only seen on SIGHUP and by `reload`",
    )

    # hooks
    HOOK_RAN = (
        *("hook-ran", "info", "service hook program said"),
        "a command of `preUp`, `postUp`, `preDown` or `postDown` has ended well; `said` is its last line",
    )
    HOOK_FAILED = (
        *("hook-failed", "warning", "service hook program reason"),
        "such a command has failed; where it is a `preUp`, its service does not start",
    )

    # notifications
    OBSERVER_FAILED = (
        *("observer-failed", "warning", "observer reason"),
        "an observer has not taken events, which are told again, or states of services were dropped for it",
    )
    NOTIFY_FAILED = (
        *("notify-failed", "warning", "notify reason"),
        "a receiver of `notify` was not told of an event: it is tried again, given up, or dropped (`reason`)",
    )

    # certificates
    CERTIFICATE = (
        *("certificate", "info", "service fingerprint"),
        "a hub shows this certificate; a client's `pin` is its fingerprint",
    )
    CERTIFICATE_RELOADED = (
        *("certificate-reloaded", "info", "file fingerprint"),
        "a certificate was read again, because its files had changed",
    )
    CERTIFICATE_FAILED = (
        *("certificate-failed", "error", "file reason"),
        "certificate files have changed, but cannot be used",
    )
    CERTIFICATE_MADE = "certificate-made", "info", "file", "a hub without a certificate has made one"
    CERTIFICATE_NOT_KEPT = (
        *("certificate-not-kept", "warning", "directory reason"),
        "the certificate that was made cannot be kept; the next start makes another one",
    )

    # the process
    POLICY_FAILS = (
        *("policy-test-fails", "warning", "test reason hint file line column"),
        "a policy test fails in a running process: from the start on, or since a table has changed",
    )
    POLICY_NOT_JUDGED = (
        *("policy-test-not-judged", "warning", "test reason hint file line column"),
        "a policy test cannot be judged in a running process, as a source or a plugin cannot be asked",
    )
    POLICY_HOLDS = (
        *("policy-test-holds", "info", "test seconds file line column"),
        "a policy test holds again, which did not for so many seconds",
    )
    CONFIG_WARNING = "config-warning", "warning", "file line column hint", "something odd in a configuration"
    CONFIG_NOTICE = "config-notice", "info", "file line column hint", "something decided for the user"
    RELOAD_CHANGE = "reload-change", "info", "change", "one change that a reload has made"
    RELOAD_DONE = (
        *("reload-done", "info", "added changed removed"),
        "a reload is done; the fields count services",
    )
    RELOAD_FAILED = (
        *("reload-failed", "error", "service reason"),
        "a reload failed: nothing has changed, or that service has not",
    )
    USER_CHANGED = "user-changed", "info", "user", "the process has become this user"
    CONTROL_LISTENING = (
        *("control-listening", "info", "path"),
        "`tunrouter status` and the like ask the process by this control socket",
    )
    CONTROL_FAILED = "control-failed", "warning", "path reason", "the control socket cannot be opened"
    ANSWER_CUT = "answer-cut", "debug", "reason", "a table was replaced while it was being listed"
    API_CHANGE = (
        *("api-change", "info", "user role peer change difference"),
        "somebody has changed something by the web API: who, from where, what, and what differs now",
    )
    AUDIT_FAILED = (
        *("audit-failed", "error", "path reason"),
        "the audit log cannot be written: what has changed waits in memory, and is in this log",
    )
    AUDIT_WRITTEN = (
        *("audit-written", "info", "path"),
        "the audit log is written again, with all that has waited",
    )
    METRICS_LISTENING = "metrics-listening", "info", "address path", "metrics can be scraped"
    API_LISTENING = "api-listening", "info", "address", "the web API can be asked"
    API_REQUEST = "api-request", "info", "address method path status", "a request to the web API (accesslog)"
    LOGIN_REFUSED = (
        *("login-refused", "warning", "server peer reason"),
        "a wrong login at the web API or the metrics (`server`), or one more after too many of them",
    )
    HELD = "held", "debug", "file", "another one holds the --single file: this one ends at once"
    MANAGER_FAILED = "manager-failed", "warning", "reason", "$NOTIFY_SOCKET: the service manager is not told"
    NO_SIGN_OF_LIFE = (
        *("no-sign-of-life", "error", "reason"),
        "something is broken that only a restart may mend; the service manager's watchdog is no longer fed",
    )
    TASK_FAILED = (
        *("task-failed", "error", "task reason"),
        "an unexpected error, after which a task goes on, or by which one session, request or call has ended",
    )
    LOG_FAILED = "log-failed", "warning", "path reason", "the log cannot be rotated or opened anew"
    LINES_LOST = (
        *("lines-lost", "error", "output lines reason"),
        "lines of the log were lost here: nobody read them, or they could not be written",
    )
