"""Hosts behind a hub whose router has an access list, packet by packet and without a socket.

Knows: how a packet is put through forwarding, and how its fate is read.
Refuses to know: whether the fate is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib import framing, packet_offload
from lib.acl import Acl
from lib.forward import scan
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Output
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.route_table import RouteTable
from lib.settings_acl import AclRule
from tests.support import packets as p
from tests.support.routes import entry

KEY = b"k" * 16
HOSTS = {
    "10.0.0.1/32": "one",
    "10.0.0.2/32": "two",
    "10.0.0.3/32": "three",
    "10.2.0.0/16": "two",
    "fd00::1/128": "one",
    "fd00::2/128": "two",
    "fd00::3/128": "three",
    "fd00:2::/64": "two",
}
"""Prefix -> host: three hosts, and nets behind the second."""


class Listed:
    """A namespace with an access list; rules None: without one."""

    def __init__(
        self,
        rules: Sequence[AclRule] | None,
        routes: Mapping[str, str] = HOSTS,
        default: RouteTable | None = None,
    ) -> None:
        self.table = RouteTable([entry(prefix, host) for prefix, host in routes.items()])
        self.table.acl = Acl(rules) if rules is not None else None
        self.domain = Domain({KEY: self.table}, default if default is not None else RouteTable(()))
        self.attachments: dict[str, Attachment] = {}
        for host in sorted(set(routes.values()), key=list(routes.values()).index):
            self.join(host)

    @property
    def namespace(self) -> Namespace:
        return self.domain.namespace(KEY)

    @property
    def acl(self) -> Acl:
        assert self.table.acl is not None
        return self.table.acl

    def join(self, host: str) -> None:
        """One more host."""
        attachment = self.attachments[host] = Attachment(self.namespace, host, "test")
        attachment.mtu = 65535
        attachment.is_tunrouter = True
        attachment.offloads = packet_offload.ALL
        self.domain.enter(attachment, 0.0)

    def fate(self, data: bytes, now: float = 0.0, host: str = "") -> str | Reason:
        """Which host gets a packet, or why none does. It comes from the host that its source leads to."""
        sender = self.attachments[host or self._home(data)]
        frames, out = bytearray(p.frame(data) + bytes(framing.SLACK)), Output()
        before = dict(sender.traffic.drops)
        scan(sender, frames, memoryview(frames), 0, len(data) + 2, now, out)
        found = [attachment.host for attachment, runs in out.runs.items() if p.frame(data) in runs]
        more = [reason for reason, count in sender.traffic.drops.items() if count != before.get(reason, 0)]
        (fate,) = found + more
        return fate

    def goes(self, data: bytes, now: float = 0.0, host: str = "") -> bool:
        """Whether a packet passes."""
        return not isinstance(self.fate(data, now, host), Reason)

    def _home(self, data: bytes) -> str:
        packet = data[packet_offload.HEADER_SIZE :] if data[0] >> 4 == 0 else data
        found = self.namespace.route_to(p.packed(p.ends_of(packet)[0]), 0.0)
        assert isinstance(found, tuple)
        return next(iter(found[0].names))
