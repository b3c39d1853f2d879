"""The configuration keys that GOST does not know: type and unit, default, example and meaning of each.

Knows: the words of the guide's table of these keys, and of the manual page.
Refuses to know: what a key does (config_schema, config_gost_keys and those that read them). Tests compare the
two: every key of ours is here, with the type that the schema has; its example works; its default is in force.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key, and what a user has to know to write it; Markdown, in one line each."""

    place: str
    """Where it stands in a file, in the guide's words."""
    key: str
    kind: str
    """Type and unit; `a`, `b` or `c` for a choice, and `X to Y` for what is allowed."""
    default: str
    """As it could be written in a file, between backticks; words where it could not."""
    example: str
    """YAML."""
    about: str
    """What it does, in whole sentences."""


KEYS = (
    OwnKey(
        "top level", "user", "name of a user account", "none",
        "user: nobody",
        "The process becomes this user once devices and ports are open.",
    ),
    OwnKey(
        "top level", "recorder", "size, 64KB to 1GB; or `off`", "`off`",
        "recorder: 16MB",
        "So much memory keeps the last packets, for `tunrouter capture --recorder`.",
    ),
    OwnKey(
        "top level", "tests", "list of policy tests", "none",
        "tests: [{from: host-1, to: 10.2.0.9, port: tcp/22, expect: deny}]",
        (
            "Packets of which the hub must let some through, and others not. `check` and `tunrouter test` "
            "run them, and so does a reload, which one that fails refuses."
        ),
    ),
    OwnKey(
        "policy test", "from", "host name", "required",
        "from: host-2",
        "The host that sends the packet.",
    ),
    OwnKey(
        "policy test", "to", "address", "required",
        "to: 10.2.0.10",
        "The address that the packet is for.",
    ),
    OwnKey(
        "policy test", "port", "`tcp/` or `udp/`, and a port", "a ping",
        "port: tcp/22",
        "The packet's protocol and destination port.",
    ),
    OwnKey(
        "policy test", "expect", "`allow` or `deny`", "required",
        "expect: allow",
        "Whether the packet must be delivered, or dropped for whatever reason.",
    ),
    OwnKey(
        "policy test", "source", "address", "one of each prefix that leads to the host",
        "source: 10.0.0.7",
        "The address that the packet comes from.",
    ),
    OwnKey(
        "policy test", "ns", "UUID", "that of clients without `router.id`",
        "ns: e87f56dd-fd57-4921-9ab8-a0847662daae",
        "The namespace that the packet is in.",
    ),
    OwnKey(
        "policy test", "service", "name of a service with handler router", "the only hub",
        "service: hub",
        "The hub whose tables decide. Wanted where hubs have different tables.",
    ),
    OwnKey(
        "top level", "notify", "list of receivers", "nobody",
        "notify: [{url: https://alerts.example/tunrouter}]",
        (
            "Who is told about hosts of the hubs that join, leave, stay away, come and go all the time, "
            "and about gateways that take over."
        ),
    ),
    OwnKey(
        "receiver of notify", "name", "text", "notify-0, notify-1 …",
        "name: pager",
        "Its name in the log, in `status` and in metrics.",
    ),
    OwnKey(
        "receiver of notify", "command", "program and arguments; text", "none",
        "command: /usr/local/bin/tell --urgent, url: null",
        "The program that is started for each event, without a shell; JSON is its standard input.",
    ),
    OwnKey(
        "receiver of notify", "url", "URL, http or https", "none",
        "url: https://alerts.example/other",
        "Where each event is posted as JSON. The certificate is always checked.",
    ),
    OwnKey(
        "receiver of notify", "headers", "names and values", "none",
        'headers: {Authorization: "Bearer secret"}',
        "Further headers of such a request.",
    ),
    OwnKey(
        "receiver of notify", "events", "list of `join`, `leave`, `away`, `flap` and `takeover`",
        "all of them",
        "events: [away, takeover]",
        "What it is told of.",
    ),
    OwnKey(
        "receiver of notify", "hosts", "list of host names", "every host",
        'hosts: [host-1, "*.site-1"]',
        "The hosts that it is told of.",
    ),
    OwnKey(
        "receiver of notify", "grace", "duration, 0s to 168h", "`5m`",
        "grace: 1m",
        "A host that has left is `away` after this time.",
    ),
    OwnKey(
        "receiver of notify", "timeout", "duration, 1s to 300s", "`10s`",
        "timeout: 3s",
        "How long one try may take.",
    ),
    OwnKey(
        "receiver of notify", "retries", "integer, 0 to 100", "`5`",
        "retries: 2",
        "How often an event is tried again, after 1 s, 2 s, 4 s and so on, 60 s at most.",
    ),
    OwnKey(
        "receiver of notify", "queue", "integer, 1 to 100000", "`1000`",
        "queue: 50",
        "How many events may wait for it. Of more the oldest is dropped, and counted.",
    ),
    OwnKey(
        "auther", "bindings", "`file`, `redis` and `http`, and `reload`, as in a table",
        "only `hosts` and `namespaces` bind",
        "bindings: {file: {path: /etc/tunrouter/bindings}}",
        (
            "Where it stands which hosts and namespaces each login may use. A login without a row "
            "there and without `hosts` or `namespaces` of its own is refused."
        ),
    ),
    OwnKey(
        "login", "passwords", "list of passwords or hashes, 4 at most with `password`", "none",
        "passwords: [new, old]",
        "Further passwords that are right too, while clients change from one to the other.",
    ),
    OwnKey(
        "login", "hosts", "list of host names", "every host",
        'hosts: [host-1, "*.site-1"]',
        "The login is good for these hosts only.",
    ),
    OwnKey(
        "login", "namespaces", "list of UUIDs", "every namespace",
        "namespaces: [e87f56dd-fd57-4921-9ab8-a0847662daae]",
        "The login is good for these namespaces only.",
    ),
    OwnKey(
        "router", "compat", "`first-match`", "longest prefix",
        "compat: first-match",
        "The first route in the list that matches wins, as in GOST.",
    ),
    OwnKey(
        "router", "holdDown", "duration", "`5s`",
        "holdDown: 30s",
        "A gateway that comes back must stay so long before it is preferred again.",
    ),
    OwnKey(
        "router", "acl", "list of access rules", "all is allowed",
        "acl: [{action: allow, protocol: icmp}]",
        "What may be sent. The first rule that matches decides; what no rule matches is denied.",
    ),
    OwnKey(
        "router", "address", "address with the length of its prefix, one of each version of IP", "none",
        "address: 10.20.0.1/16",
        (
            "The hub's own address in the networks of this router. With it the hub is a hop: it answers "
            "pings, shows in traceroute, and bounds the MSS of TCP."
        ),
    ),
    OwnKey(
        "router", "pool", "prefixes, with commas or as a list", "none",
        "pool: 10.20.0.0/16",
        (
            "A host that joins gets an address from here, of IPv4 and of IPv6 where there are prefixes of "
            "both, and always the same one."
        ),
    ),
    OwnKey(
        "router", "hosts", "host names with their addresses", "none",
        "hosts: {host-1: 10.20.0.7}",
        "Addresses of hosts, in place of ones from the pool: one, or several with commas or as a list.",
    ),
    OwnKey(
        "route", "metric", "integer, 0 to 4294967295", "in the order written",
        "metric: 10",
        (
            "Gateways of a prefix with the same metric share flows, and a lower metric goes first. A "
            "gateway without one counts as 0, and shares with none."
        ),
    ),
    OwnKey(
        "route", "fallThrough", "switch", "`off`",
        "fallThrough: on",
        (
            "While no gateway of this prefix is connected, a route with a shorter prefix may carry "
            "its packets."
        ),
    ),
    OwnKey(
        "access rule", "action", "`allow` or `deny`", "required",
        "action: deny",
        "What happens to a packet that this rule matches.",
    ),
    OwnKey(
        "access rule", "from", "prefix or host name", "`any`",
        "from: host-1",
        "Where the packet comes from.",
    ),
    OwnKey(
        "access rule", "to", "prefix or host name", "`any`",
        "to: 192.168.200.0/24",
        "Where the packet goes.",
    ),
    OwnKey(
        "access rule", "protocol", "`tcp`, `udp`, `icmp`, `icmpv6`, `gre`, `esp`, or a number, 0 to 255",
        "`any`",
        "protocol: tcp",
        "The packet's protocol.",
    ),
    OwnKey(
        "access rule", "port", "ports and ranges of ports, with commas; text", "every port",
        'protocol: tcp, port: "22,8000-8080"',
        "The packet's destination port; wants `protocol` tcp or udp.",
    ),
    OwnKey(
        "metadata of handler router", "domain", "text", "none",
        "domain: inside",
        "Services with the same domain share their namespaces and hosts.",
    ),
    OwnKey(
        "metadata of handler router", "sourceCheck", "switch", "`on`",
        "sourceCheck: off",
        (
            "A packet whose source does not route back to the host that sent it is dropped. ICMP "
            "errors of routers behind the host pass, ten a second."
        ),
    ),
    OwnKey(
        "metadata of handler router", "onDuplicate", "`share`, `replace` or `refuse`",
        "share, and a warning about two machines",
        "onDuplicate: refuse",
        (
            "What happens when a second session uses the name of a host: both share its flows, the "
            "new one replaces the old one, or the new one is refused while the old one shows that it "
            "lives. `share` that is written says that two machines of one name are meant: then there "
            "is no warning."
        ),
    ),
    OwnKey(
        "metadata of handler router", "certHosts", "switch", "`off`",
        "certHosts: on",
        (
            "A client may only use a host name that stands in its certificate; wants a listener with "
            "`caFile`."
        ),
    ),
    OwnKey(
        "metadata of handler router", "enrol", "path of a file; or `redis`, as in a table", "nobody enrols",
        "enrol: /var/lib/tunrouter/hosts",
        (
            "Hosts that were invited (`tunrouter invite`) and have joined (`tunrouter join`) are in this "
            "list, and are let in by their own logins, beside those of an auther. In a Redis several hubs "
            "share it: `enrol: {redis: {addr: 127.0.0.1:6379, key: hosts}}`."
        ),
    ),
    OwnKey(
        "metadata of handler router", "handshakeTimeout", "duration, above 0", "`10s`",
        "handshakeTimeout: 5s",
        "All handshakes of a connection (TLS, WebSocket, GOST's) together must be done in this time.",
    ),
    OwnKey(
        "metadata of handler router", "drainTimeout", "duration", "`5s`",
        "drainTimeout: 3s",
        "A hub that is told to end waits at most so long until its clients are elsewhere.",
    ),
    OwnKey(
        "metadata of handler router", "queueMemory", "size", "`256MB`",
        "queueMemory: 128MB",
        "All send queues of the hub together hold at most this.",
    ),
    OwnKey(
        "metadata of handler router", "trustedProxies", "list of prefixes", "none",
        "trustedProxies: [127.0.0.1, 10.0.0.0/24]",
        (
            "Proxies before the hub that are believed when they name a client's address; they have "
            "no limits by address."
        ),
    ),
    OwnKey(
        "metadata of handler router", "trustedProxies.header", "name of an HTTP header", "`X-Forwarded-For`",
        "trustedProxies.header: X-Real-IP",
        "The one header in which trusted proxies name the client (ws and wss).",
    ),
    OwnKey(
        "metadata of handler router or tun", "keepalive.timeout", "duration, 1s to 1h", "`15s`",
        "keepalive.timeout: 10s",
        "A peer that has sent nothing for so long, although it was asked, counts as dead.",
    ),
    OwnKey(
        "metadata of handler router or tun", "superpackets", "switch", "`on`",
        "superpackets: off",
        "Off: one packet a frame, to tunrouters too.",
    ),
    OwnKey(
        "metadata of handler router or tun", "lanes", "integer, 1 to 2", "`2`",
        "lanes: 1",
        (
            "Connections of a session between tunrouters. By the second one goes what is not bulk, so it "
            "does not wait behind a transfer."
        ),
    ),
    OwnKey(
        "metadata of a service", "hookTimeout", "duration, 1s to 1h", "`30s`",
        "hookTimeout: 10s, preUp: [/bin/true]",
        (
            "How long each command of `preUp`, `postUp`, `preDown` and `postDown` may take. It is "
            "killed then, with all that it has started, and counts as failed."
        ),
    ),
    OwnKey(
        "metadata of a listener or a dialer", "congestion", "name of an algorithm, `auto` or `system`",
        "`auto`",
        "congestion: cubic",
        (
            "How fast TCP sends. `auto` is bbr where the kernel lets us use it, else the kernel's own "
            "choice; `system` is always that choice. Others are named as in "
            "`sysctl net.ipv4.tcp_available_congestion_control`."
        ),
    ),
    OwnKey(
        "metadata of a dialer", "mptcp", "switch", "`off`",
        "mptcp: on",
        (
            "The connection may have several paths, where the kernels of both ends know MPTCP and the "
            "hub's listener has `mptcp: true`, as in GOST."
        ),
    ),
    OwnKey(
        "metadata of a dialer", "pin", "`sha256:` and 64 hex digits", "none",
        "pin: sha256:0f343b0931126a20f133d67c2b018a3b7f4c5d6e7a8b9c0d1e2f30415263748a",
        "The client trusts the hub's certificate with this fingerprint, and no other.",
    ),
)  # fmt: skip

OWN = frozenset(row.key.lower() for row in KEYS if row.place.startswith("metadata"))
"""The metadata keys among them, in lower case."""

_COMMON_WORDS = frozenset(
    (
        *("hosts", "address", "from", "to", "protocol", "port", "action"),
        *("source", "ns", "service", "expect", "tests"),
        *("name", "command", "url", "headers", "events", "grace", "timeout", "retries", "queue"),
    )
)
"""Keys that may mean anything else."""


def place_of_own(word: str) -> str:
    """A hint where a key of ours belongs that is none of metadata; "" for a word that is none."""
    for row in KEYS:
        if row.key.lower() == word.lower() and word not in _COMMON_WORDS and row.key.lower() not in OWN:
            return f"it belongs to {_PLACES.get(row.place, row.place)}"
    return ""


_PLACES = {
    "top level": "the top level of the file",
    "auther": "an auther",
    "receiver of notify": "a receiver of notify",
    "login": "a login of an auther",
    "router": "a router",
    "route": "a route of a router",
    "access rule": "a rule of a router's acl",
    "policy test": "one of tests, at the top level of the file",
}
