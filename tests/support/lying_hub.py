"""A hub of a cluster that lies: python -m tests.support.lying_hub REDIS NAME CERTIFICATE HUB=CERTIFICATE …

It is trusted by nobody for the namespace of hosts that name none, and trusts everybody. There it claims host-2,
sends packets to host-1 as host-2 and as host-1, and publishes again whatever others have published. Prints
`lying` once it does all of that.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import gevent
from redis import RedisError

from lib import framing
from lib.ids import NO_NAMESPACE
from lib.settings_registry import TrustSettings
from lib.settings_sources import RedisSource
from lib.source_redis import redis_connection
from lib.stream_bounded import Bounds
from tests.support import packets as p
from tests.support.program import OVERLAY_1, OVERLAY_2
from tests.support.registry_nodes import Node, wait_for
from tests.support.routes import table

AGAIN = 5
"""How often each message is published again; none of its own, of which there would be more and more."""


def replay(redis: str, own: bytes) -> None:
    """Publish again what others publish."""
    listening = redis_connection(RedisSource(redis), Bounds(600, 1 << 30))
    saying = redis_connection(RedisSource(redis), Bounds(600, 1 << 30))
    listening.send_command("SUBSCRIBE", "tunrouter:cluster:changes")
    seen: set[bytes] = set()
    while True:
        reply = listening.read_response()
        data = reply[2]
        if reply[0] != b"message" or own in data or data in seen:
            continue
        seen.add(data)
        for _ in range(AGAIN):
            saying.send_command("PUBLISH", "tunrouter:cluster:changes", data)
            saying.read_response()


def replay_while_there_is_a_redis(redis: str, own: bytes) -> None:
    """Until the Redis ends: the test is over."""
    with suppress(RedisError):
        replay(redis, own)


def main(redis: str, name: str, certificate: str, *others: str) -> None:
    """Lie until somebody ends it."""
    trust = tuple(TrustSettings(one.partition("=")[0], (), one.partition("=")[2], None) for one in others)
    routes = table((f"{OVERLAY_1}/32", "host-1"), (f"{OVERLAY_2}/32", "host-2"))
    registry = RedisSource(redis, key="tunrouter:cluster")
    node = Node(name, redis, routes, secret="", registry=registry, cert_file=certificate, trust=trust)
    node.start()
    wait_for(lambda: node.where("host-1", NO_NAMESPACE) == ["hub-1"], 20)
    node.join("host-2", NO_NAMESPACE)
    gevent.spawn(replay_while_there_is_a_redis, redis, name.encode())
    hosts: Any = node.cluster.hosts
    far = hosts.attachment(node.domain.namespace(NO_NAMESPACE), "host-1", "hub-1")
    print("lying", flush=True)
    while True:
        for source in (OVERLAY_1, OVERLAY_2):
            far.sender.send([framing.encode(p.udp(source, OVERLAY_1))])
        gevent.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
