"""The keys of a cluster that GOST does not know: type and unit, default, example and meaning of each.

Knows: the words of the guide's table of these keys, and of the manual page.
Refuses to know: what a key does (config_cluster), other keys (config_own_keys).
"""

from __future__ import annotations

from lib.config_own_key import OwnKey

CLUSTER_KEYS = (
    OwnKey(
        "top level",
        "cluster",
        "this hub among others",
        "none",
        "cluster: {name: hub-9, link: {listen: ':8444', address: 'hub-9.example:8444', "
        "secret: 0123456789abcdef0123456789abcdef}}",
        (
            "The hub knows the hosts of other hubs by a registry in Redis (`sd`), and passes packets to "
            "them over links."
        ),
    ),
    OwnKey(
        "sd",
        "redis",
        "where a Redis is: addr, db, username, password, key",
        "none",
        "redis: {addr: 'redis.example:6379'}",
        "The registry of the cluster. All hubs of a cluster have the same one, with the same key.",
    ),
    OwnKey(
        "cluster",
        "name",
        "letters, digits, `.`, `_` and `-`; 63 at most",
        "required",
        "name: hub-7",
        "What this hub is called among the others. No two hubs have the same name.",
    ),
    OwnKey(
        "cluster",
        "link",
        "its addresses, and a secret or a certificate",
        "required",
        "link: {listen: ':8445', address: 'hub-7.example:8445', secret: 0123456789abcdef0123456789abcdef}",
        "How other hubs reach this one, and by what hubs know each other.",
    ),
    OwnKey(
        "link of a cluster",
        "listen",
        "address and port, HOST:PORT",
        "required",
        "listen: 192.0.2.1:8444",
        "Where links from other hubs are accepted. They are TLS 1.3 with certificates of both ends.",
    ),
    OwnKey(
        "link of a cluster",
        "address",
        "HOST:PORT",
        "required",
        "address: hub-8.example:8444",
        "Where other hubs dial it. It stands in the registry.",
    ),
    OwnKey(
        "link of a cluster",
        "secret",
        "text, 32 letters at least",
        "none; it or `tls` is required",
        "secret: fedcba9876543210fedcba9876543210",
        (
            "Whoever has it is a hub of the cluster, and may claim any host of any namespace. It signs what "
            "stands in the registry, and certificates are made of it."
        ),
    ),
    OwnKey(
        "link of a cluster",
        "tls",
        "`certFile` and `keyFile`",
        "none; it or `secret` is required",
        "tls: {certFile: /etc/tunrouter/hub-7.pem, keyFile: /etc/tunrouter/hub-7.key}",
        (
            "Each hub has a certificate of its own in the place of a secret of all. It signs what stands in "
            "the registry, and both ends of a link show theirs. Whom this hub believes is said by `trust`."
        ),
    ),
    OwnKey(
        "link of a cluster",
        "channel",
        "`auto`, `stream` or `datagram`",
        "`stream`",
        "channel: datagram",
        (
            "Whether links have a UDP channel, on the UDP port of the same number, by which UDP and ICMP go "
            "while that is better than the stream. `stream`: never. `auto` and `datagram` are the same here."
        ),
    ),
    OwnKey(
        "link of a cluster",
        "datagram",
        "host:port",
        "the address that was dialled, and the port of `listen`",
        "datagram: hub-7.example:8446, channel: auto",
        (
            "Where other hubs send datagrams, if a NAT stands in front of this one. Without a host it is "
            "only another port."
        ),
    ),
    OwnKey(
        "tls of a link",
        "certFile",
        "path of a file (PEM)",
        "required",
        "certFile: /etc/tunrouter/hub-8.pem",
        (
            "The certificate of this hub, with a key that is Ed25519, of an elliptic curve or RSA. Others "
            "trust it by its pin, whoever has signed it. A changed file is taken within some seconds."
        ),
    ),
    OwnKey(
        "tls of a link",
        "keyFile",
        "path of a file (PEM)",
        "that of `certFile`",
        "keyFile: /etc/tunrouter/hub-8.key",
        "Its private key.",
    ),
    OwnKey(
        "cluster",
        "trust",
        "list of hubs, each with `hub`, `pin` or `certFile`, and `namespaces`",
        "nobody",
        "trust: [{hub: hub-6, certFile: /etc/tunrouter/hub-6.pem, namespaces: '*'}]",
        (
            "Which other hubs are believed, and of which namespaces each may claim hosts. Only with `tls` in "
            "`link`."
        ),
    ),
    OwnKey(
        "trust of a cluster",
        "hub",
        "name of a hub",
        "required",
        "hub: hub-5",
        "The `name` in `cluster` of that hub.",
    ),
    OwnKey(
        "trust of a cluster",
        "pin",
        "`sha256:` and 64 hex digits; 4 at most",
        "none; it or `certFile` is required",
        f"pin: 'sha256:{'0123456789abcdef' * 4}'",
        (
            "SHA-256 of that hub's certificate, as `tunrouter check` says it there. Write the next one "
            "beside it before the certificate is changed."
        ),
    ),
    OwnKey(
        "trust of a cluster",
        "certFile",
        "path of a file (PEM)",
        "none; it or `pin` is required",
        "certFile: /etc/tunrouter/hub-5.pem",
        "That hub's certificate. A file that has changed is taken within some seconds.",
    ),
    OwnKey(
        "trust of a cluster",
        "namespaces",
        "UUIDs or titles; `*` for every namespace",
        "nothing",
        "namespaces: [e87f56dd-fd57-4921-9ab8-a0847662daae]",
        (
            "What that hub may claim: it is believed for hosts of these namespaces, and only their packets "
            "are taken from it."
        ),
    ),
)
