"""The configuration keys that GOST does not know: type and unit, default, example and meaning of each.

Knows: the words of the guide's table of these keys, and of the manual page.
Refuses to know: what a key does (config_schema, config_gost_keys and those that read them). Tests compare the
two: every key of ours is here, with the type that the schema has; its example works; its default is in force.
"""

from __future__ import annotations

from lib.config_own_cluster import CLUSTER_KEYS
from lib.config_own_key import OwnKey
from lib.config_own_metadata import METADATA_KEYS
from lib.config_own_redis import REDIS_KEYS

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
        "top level", "workers", "number, 1 to 64; or `auto`", "`1`",
        "workers: 2",
        (
            "So many processes have the sessions of the hubs, on as many processors; `auto` is one for each. "
            "The main process accepts connections and gives each to the worker that has fewest."
        ),
    ),
    OwnKey(
        "top level", "tests", "list of policy tests", "none",
        "tests: [{from: host-1, to: 10.2.0.9, port: tcp/22, expect: deny}]",
        (
            "Packets of which the hub must let some through, and others not. `check` and `tunrouter test` "
            "run them, and so does a reload: one that would begin to fail refuses it."
        ),
    ),
    OwnKey(
        "top level", "namespaces", "list of namespaces with their titles", "none",
        'namespaces: [{id: e87f56dd-fd57-4921-9ab8-a0847662daae, title: "Shop Berlin"}]',
        (
            "What people call a namespace. Commands, the log and metrics show it beside or instead of the "
            "UUID, and `--ns` takes it."
        ),
    ),
    OwnKey(
        "namespace", "id", "UUID", "required",
        "id: 5b1bd3c5-6d4c-4ae5-8b44-1a2e7fd3c1d0",
        "The namespace that has this title; all zeros are that of clients without `router.id`.",
    ),
    OwnKey(
        "namespace", "title", "text, 64 bytes at most", "required",
        'title: "Shop Berlin"',
        "What people call it. Two namespaces never have the same title, in whatever case.",
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
        "policy test", "ns", "UUID or title", "that of clients without `router.id`",
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
    *CLUSTER_KEYS,
    *REDIS_KEYS,
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
        "web API", "tls", "section `tls`, as of a listener", "none",
        "tls: {certFile: cert.pem, keyFile: key.pem}",
        "The API is served by HTTPS. Without a certificate here, that of a listener without one is taken.",
    ),
    OwnKey(
        "web API", "insecure", "switch", "`off`",
        "addr: 192.0.2.1:18080, insecure: on",
        "An address that others reach is opened without TLS: for a proxy before it that has TLS.",
    ),
    OwnKey(
        "web API", "hosts", "list of names", "none",
        "hosts: [hub.example.com]",
        (
            "Further names that a browser may ask for. The Host header must name the address that is asked, "
            "or one of these."
        ),
    ),
    OwnKey(
        "web API", "users", "list of users", "only `auth` or `auther`",
        "users: [{username: eve, password: secret, role: viewer}]",
        "Users with roles, beside those of `auth` or `auther`, who may do everything.",
    ),
    OwnKey(
        "web API", "auditLog", "path of a file", "none",
        "auditLog: /var/log/tunrouter-audit.log",
        (
            "A file with a line of JSON for each change by the API: who, from where, what, and what differs. "
            "Mode 0600; at 10 MB a new one is begun, and ten old ones are kept."
        ),
    ),
    OwnKey(
        "user of the web API", "username", "text", "required",
        "username: frank",
        "The user name.",
    ),
    OwnKey(
        "user of the web API", "password", "password or hash", "required",
        "password: other",
        "The password, or its hash as `tunrouter hash` prints it.",
    ),
    OwnKey(
        "user of the web API", "role", "`admin`, `viewer`, or `tenant` with a `namespace`", "`admin`",
        "role: viewer",
        "What the user may do: everything, only read, or see and change one namespace.",
    ),
    OwnKey(
        "user of the web API", "namespace", "UUID", "none",
        "role: tenant, namespace: e87f56dd-fd57-4921-9ab8-a0847662daae",
        "The namespace of a tenant.",
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
            "both, and always the same one. Hubs of a cluster with a secret share it."
        ),
    ),
    OwnKey(
        "router", "hosts", "host names with their addresses", "none",
        "hosts: {host-1: 10.20.0.7}",
        "Addresses of hosts, in place of ones from the pool: one, or several with commas or as a list.",
    ),
    OwnKey(
        "router", "mtu", "integer, 576 to 65521", "as the hosts are configured",
        "mtu: 1380",
        "The MTU that hosts give their devices which take their settings from the hub (`acceptRoutes`).",
    ),
    OwnKey(
        "router", "dnsDomain", "domain of two words or more", "none",
        "dnsDomain: tun.example.com",
        (
            "The hub answers DNS at its `address` for names below this domain: `host-1.tun.example.com`, "
            "and back."
        ),
    ),
    OwnKey(
        "router", "names", "names with their addresses", "none",
        "names: {printer: 192.168.200.9}",
        (
            "Further names below `dnsDomain`, for devices behind hosts: one address, or several with commas "
            "or as a list."
        ),
    ),
    OwnKey(
        "router", "title", "text, 64 bytes at most", "none",
        'title: "Shop Berlin"',
        "What people call the namespace whose UUID is the name of this router.",
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
    *METADATA_KEYS,
)  # fmt: skip

OWN = frozenset(row.key.lower() for row in KEYS if row.place.startswith("metadata"))
"""The metadata keys among them, in lower case."""

_COMMON_WORDS = frozenset(
    (
        *("hosts", "address", "from", "to", "protocol", "port", "action"),
        *("source", "ns", "service", "expect", "tests", "id", "title", "namespaces"),
        *("tls", "insecure", "users", "username", "password", "role", "namespace"),
        *("certfile", "keyfile", "pin", "hub", "addrs"),
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
    "sd": "one of sds, at the top level of the file",
    "redis": "a section redis",
    "sentinel of a redis": "sentinel, in a section redis",
    "cluster": "the section cluster",
    "link of a cluster": "link, in the section cluster",
    "tls of a link": "tls in link, in the section cluster",
    "trust of a cluster": "trust, in the section cluster",
    "login": "a login of an auther",
    "router": "a router",
    "route": "a route of a router",
    "access rule": "a rule of a router's acl",
    "web API": "the section api",
    "user of the web API": "one of users, in the section api",
    "policy test": "one of tests, at the top level of the file",
    "namespace": "one of namespaces, at the top level of the file",
}
