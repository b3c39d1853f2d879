"""Hubs of a cluster in one process, each with the real registry, namespace and link code, beside a real Redis.

Knows: how a hub is put together without sessions and devices. Refuses to know: what is measured or tested.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import gevent

from lib import forward, framing
from lib.capture_taps import Taps
from lib.cluster_live import Cluster
from lib.forward_frame import Output
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.route_table import RouteTable
from lib.service_scheduling import Pauses
from lib.settings_registry import ClusterSettings
from lib.settings_sources import RedisSource
from tests.support.redis_local import free_port

NAMESPACE = b"N" * 16
SECRET = "a secret of thirty-two letters, or more"


class Session:
    """The sender of a session: what came for its host, and when."""

    queued = 0

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes]] = []
        self.closed = ""

    def send(self, buffers: Sequence[Buffer], /) -> None:
        """Note what would go to the client."""
        self.came.append((time.monotonic(), b"".join(map(bytes, buffers))))

    def close(self, because: str, /) -> None:
        """Note why the session is to end."""
        self.closed = because

    def is_alive(self, seconds: float, /) -> bool:
        """Returns True."""
        return True


class Node:
    """One hub."""

    def __init__(self, name: str, redis: str, routes: RouteTable, **more: Any) -> None:
        """`redis` is the address of the registry, `more` further settings (ClusterSettings)."""
        port = free_port()
        self.name, self.domain = name, Domain({NAMESPACE: routes})
        owner: Any = SimpleNamespace(
            settings=SimpleNamespace(name=name),
            failed_plugins=set(),
            taps=Taps(),
            output=Output(),
            pauses=Pauses(),
            domain=self.domain,
            tables=SimpleNamespace(routers=list),
        )
        whole: dict[str, Any] = {
            "name": name,
            "registry": RedisSource(redis, key="cluster"),
            "services": (name,),
            "host": "127.0.0.1",
            "port": port,
            "address": f"127.0.0.1:{port}",
            "secret": SECRET,
        }
        self.cluster = Cluster(ClusterSettings(**(whole | more)), owner)
        self.started = False

    def start(self) -> None:
        """Join the cluster."""
        self.started = True
        self.cluster.start()

    def stop(self) -> None:
        """Leave it."""
        if self.started:
            self.started = False
            self.cluster.stop()

    def join(self, host: str, namespace: bytes = NAMESPACE) -> Attachment:
        """A session of a host begins here."""
        made = Attachment(self.domain.namespace(namespace), host, "192.0.2.7:1", mtu=1500, is_tunrouter=True)
        made.sender = Session()
        self.domain.enter(made, time.monotonic())
        return made

    def where(self, host: str, namespace: bytes = NAMESPACE) -> list[str]:
        """The other hubs that this one knows a host at."""
        return [hub.name for hub in self.cluster.registry.where((namespace, host))]

    def send(self, attachment: Attachment, packet: bytes) -> None:
        """Forward a packet of a session here."""
        frame = framing.encode(packet)
        data = bytearray(frame + bytes(framing.SLACK))
        output = Output()
        forward.scan(attachment, data, memoryview(data), 0, len(frame), time.monotonic(), output)
        for target, buffers in output.runs.items():
            target.sender.send(buffers)


def wait_for(true: Callable[[], object], seconds: float = 30.0) -> float:
    """Let hubs work until something is true; returns the seconds that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not come about"
        gevent.sleep(0.002)
    return time.monotonic() - began
