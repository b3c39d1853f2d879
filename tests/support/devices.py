"""TUN devices of lib.tun in test namespaces, set up by lib.netlink."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network

from lib import stream_resolve
from lib.client_around import Around
from lib.netlink import configure
from lib.netlink_host_routes import HostRoutes
from lib.settings import ClientSettings, DeviceSettings
from lib.settings_dial import PLAIN_DIAL, DialSettings
from lib.stream_resolve import Address
from lib.tun import HEADER_SIZE, TunDevice, open_tun
from tests.support.netns import Namespace, in_namespace


class NoTunnel(Around):
    """The ways of a client that has no device: every socket is left to the kernel, which is not asked."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings, self.device_name, self.session = settings, "", None
        self.device_settings = settings.device
        super().__init__(self, HostRoutes())

    def device_for(self, address: str, how: DialSettings = PLAIN_DIAL) -> str | None:
        """None."""
        return None

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        """As the C library has it."""
        return stream_resolve.look_up(host, port, seconds)


READ_SIZE = HEADER_SIZE + 65535
"""Bytes that hold whatever a read of a device can give."""


def settings(*addresses: str, routes: dict[str, str] | None = None, **rest: object) -> DeviceSettings:
    """Device settings from texts; routes as {prefix: gateway}."""
    return DeviceSettings(
        addresses=tuple(map(ip_interface, addresses)),
        routes=tuple((ip_network(prefix), gateway) for prefix, gateway in (routes or {}).items()),
        **rest,  # type: ignore[arg-type]
    )


@contextmanager
def device(namespace: Namespace, wanted: DeviceSettings | None = None, name: str = "") -> Iterator[TunDevice]:
    """A TUN device in a namespace, configured if settings are given."""
    with in_namespace(namespace.name):
        tun = open_tun(name)
        try:
            if wanted is not None:
                configure(wanted, tun.name, tun.capabilities)
        except BaseException:
            tun.close()
            raise
    try:
        yield tun
    finally:
        tun.close()


def readable(tun: TunDevice, seconds: float) -> bool:
    """Whether a packet comes within so many seconds."""
    poll = select.poll()
    poll.register(tun.fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
