"""Two hubs of a cluster in the arena: the tried one, and the one by whose link all that is hostile comes to it.

Knows: who is at which of them, and how they find each other.
Refuses to know: who attacks how (attacks), what is measured (arena).

    host-1 --+                                                         +-- host-2
             +--- the near hub (as host-1) --- link --- the tried hub --+
    crowd ---+                                                         +-- newcomer

The near hub lets everything through, and has a route that the tried one, with its access list, has not. Pings
of host-1 to host-2 go the same way as what attackers send: what one of them costs the tried hub shall not be the
others' loss.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from tests.hostile import streams
from tests.hostile.peer import PORTS
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process
from tests.support.redis_server import Redis

SECRET = "a secret of thirty-two letters, or more"
LINKS = {"tried": 8451, "near": 8452}
ADDRESSES = {"tried": (HUB_TO_HOST_2, "10.77.4.1"), "near": (HUB_TO_HOST_1, "10.77.3.1")}
"""Where each of them listens: the hosts that know this address are its clients."""


def config(whole: str, kind: str, which: str) -> str:
    """The configuration of one of them, made of an arena's with one hub, for one transport."""
    made: dict[str, Any] = json.loads(whole)
    handler = made["services"][0]["handler"]
    handler["metadata"]["sd"] = "registry"
    made["services"] = [
        {"name": f"{kind}-{number}", "addr": f"{address}:{PORTS[kind]}", "handler": handler,
         "listener": {"type": kind}}
        for number, address in enumerate(ADDRESSES[which], 1)
    ]  # fmt: skip
    if which == "near":
        router = made["routers"][0]
        router.pop("acl", None)
        router["routes"].append({"dst": f"{streams.NOWHERE}.0.0/16", "gateway": "host-2"})
    link = f"127.0.0.1:{LINKS[which]}"
    made["sds"] = [{"name": "registry", "redis": {"addr": "127.0.0.1:6380"}}]
    made["cluster"] = {"name": which, "link": {"listen": link, "address": link, "secret": SECRET}}
    return json.dumps(made, indent=1)


def start_registry(namespace: Namespace, building: ExitStack) -> None:
    """Start the Redis that both know."""
    redis = Redis(namespace)
    redis.start()
    building.callback(redis.stop)


def start_near(namespace: Namespace, *words: str) -> Process:
    """Start the near hub with this command line, and wait until it listens."""
    process = namespace.popen(*words)
    process.wait_line("service .*-2: listening on")
    return process
