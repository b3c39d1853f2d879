"""The keys of a `redis` section that GOST does not know: type and unit, default, example and meaning of each.

Knows: the words of the guide's table of these keys, and of the manual page.
Refuses to know: what a key does (config_sources), other keys (config_own_keys).
"""

from __future__ import annotations

from lib.config_own_key import OwnKey

REDIS_KEYS = (
    OwnKey(
        "redis",
        "tls",
        "`secure`, `serverName`, `caFile`, `certFile` and `keyFile`, as of a dialer",
        "no TLS",
        "tls: {secure: true}",
        (
            "The Redis is spoken to over TLS, and so are its Sentinels. `secure: true` checks its "
            "certificate by the system's authorities, or by those in `caFile`, and its name "
            "(`serverName`, or that in `addr`). `certFile` is what this side shows."
        ),
    ),
    OwnKey(
        "redis",
        "sentinel",
        "`addrs` and `master`",
        "none: `addr` is the Redis",
        "sentinel: {addrs: ['s1.example:26379', 's2.example:26379'], master: mymaster}",
        (
            "The Sentinels of the Redis say which one is the master, instead of `addr`. After a failover the "
            "new one is used."
        ),
    ),
    OwnKey(
        "sentinel of a redis",
        "addrs",
        "addresses, HOST:PORT, 16 at most",
        "required",
        "addrs: ['s3.example:26379', 's4.example']",
        (
            "Where the Sentinels are. They are asked in turn, the one that replied last time first. The port "
            "is 26379 where none is written."
        ),
    ),
    OwnKey(
        "sentinel of a redis",
        "master",
        "text",
        "required",
        "master: registry",
        "What the Sentinels call the Redis.",
    ),
    OwnKey(
        "sentinel of a redis",
        "username",
        "text",
        "none",
        "username: hub",
        "The login at the Sentinels, where they want one.",
    ),
    OwnKey(
        "sentinel of a redis",
        "password",
        "text",
        "none",
        "password: letmein",
        "Its password. That of the Redis itself is beside `addr`.",
    ),
)
