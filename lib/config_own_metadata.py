"""The metadata keys that GOST does not know: type and unit, default, example and meaning of each.

Knows: the words of the guide's table of these keys, and of the manual page.
Refuses to know: what a key does (config_gost_keys and those that read them), other keys (config_own_keys).
"""

from __future__ import annotations

from lib.config_own_key import OwnKey

METADATA_KEYS = (
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
        "metadata of handler router", "entrypoint.address", "host:port", "the address of `entrypoint`",
        "entrypoint.address: hub-1.example:8420, sd: sd0, entrypoint: ':8420'",
        (
            "Where other hubs send datagrams, as the sd is told, if `entrypoint` listens on every address or "
            "a NAT stands in front of the hub."
        ),
    ),
    OwnKey(
        "metadata of handler router", "entrypoint.allow", "list of prefixes", "every hub that the sd names",
        "entrypoint.allow: [10.0.0.0/24], sd: sd0, entrypoint: 10.0.0.1:8420",
        (
            "The addresses of other hubs: from no other one a datagram is taken, and to no other one a "
            "packet is sent, whatever the sd says."
        ),
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
        "metadata of handler tun", "active", "integer, 1 to 2", "`1`",
        "active: 2",
        (
            "Sessions at once, each with another hub of the nodes. In a cluster each flow stays on one of "
            "them, new ones go by the nearest hub, and when a hub ends or dies its flows go by the other one "
            "at once. Hubs that are in no cluster reach only their own hosts: one is used, the other stands "
            "by."
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
        "metadata of handler tun", "acceptRoutes", "`auto`, `force`, `off`, or a list of prefixes",
        "auto without `net` and `route`; with them nothing that the hub says is set",
        "acceptRoutes: force",
        (
            "Which of the routes that a verified hub tells the client sets: those that do no harm, all, "
            "none, or those within the prefixes. With it or without `net` and `route` the client also sets "
            "the addresses and the MTU that the hub tells, where it has none of its own."
        ),
    ),
    OwnKey(
        "metadata of handler tun", "map", "prefixes that others see, each with the network behind this host",
        "none",
        "map: {10.71.0.0/24: 192.168.1.0/24}",
        (
            "The network behind this host appears to all others under the first prefix, which the hub routes "
            "to this host. Both have the same length. For sites with the same addresses. Wants `nft`."
        ),
    ),
    OwnKey(
        "metadata of handler tun", "nat", "switch", "`off`",
        "nat: on",
        (
            "For an exit: what comes out of the tunnel and is for others leaves this host under its own "
            "address (masquerading), and the kernel forwards. Both end with the client. Wants `nft`."
        ),
    ),
    OwnKey(
        "metadata of handler tun", "killswitch", "switch", "`off`",
        "killswitch: on",
        (
            "Nothing leaves this host beside the tunnel, but to the hub, DHCP and neighbour discovery. It "
            "outlives a crash: only a clean stop or `tunrouter unlock` takes it away. Wants `nft`."
        ),
    ),
    OwnKey(
        "metadata of handler tun", "namesBy", "`auto`, `resolved`, `stub`, `hosts` or `off`", "`auto`",
        "namesBy: stub",
        (
            "How names of the hub's `dnsDomain` are found on the client: by systemd-resolved; by a name "
            "server of its own on loopback, which `/etc/resolv.conf` names first; as lines of `/etc/hosts`, "
            "which follow the hub's; not at all. `auto`: by "
            "systemd-resolved where programs ask that, else by the client's own."
        ),
    ),
    OwnKey(
        "metadata of handler router or tun", "channel", "`auto`, `stream` or `datagram`", "`auto`",
        "channel: stream",
        (
            "Whether a session between tunrouters has a UDP channel, by which UDP and ICMP go while that is "
            "better than the stream. `auto`: over tls and wss, and not past a proxy. `datagram`: over tcp "
            "and ws as well, where its keys go in the clear, and past proxies. `stream`: never."
        ),
    ),
    OwnKey(
        "metadata of handler router", "datagram", "host:port", "the listener's address and port",
        "datagram: tunnel.example:8443",
        (
            "Where clients send datagrams, if a proxy or a NAT stands in front of the hub. Without a host "
            "it is only another port."
        ),
    ),
    OwnKey(
        "metadata of handler router or tun", "dscp", "switch", "`off`",
        "dscp: on",
        (
            "Packets marked as urgent (DSCP 40 and above: CS5, VA, EF, CS6, CS7) go by datagrams, whatever "
            "protocol they are."
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
