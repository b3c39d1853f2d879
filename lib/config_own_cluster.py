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
        "its addresses and a secret",
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
        "required",
        "secret: fedcba9876543210fedcba9876543210",
        (
            "Whoever has it is a hub of the cluster, and may claim any host of any namespace. It signs what "
            "stands in the registry, and certificates are made of it."
        ),
    ),
)
