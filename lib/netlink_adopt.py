"""A persistent TUN device, made by `ip tuntap add`: taken over for a client, and put back as it was found.

Knows: what is noted before the device is changed, and what is undone afterwards.
Refuses to know: the device's descriptor (tun), how each setting is made (netlink).

Who made the device may have set everything on it already. Then nothing is changed here, so that a client
without any privilege can use it (`ip tuntap add … user NAME`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

from lib import netlink, netlink_left, netlink_watch
from lib.errors import HostError
from lib.netlink_messages import Address, Route, TunState
from lib.netlink_plan import Kind, Operation, Seen, plan
from lib.settings import DeviceSettings

_STATIC = 4  # RTPROT_STATIC


@dataclass(frozen=True, slots=True)
class Found:
    """A persistent TUN device before we changed anything."""

    index: int
    state: TunState
    seen: Seen
    has_names: bool = False
    """Whether a killed client has left name servers of it at systemd-resolved."""


def find(name: str) -> Found | None:
    """The persistent TUN device of this name; None where there is none. Raises HostError if it is in use."""
    try:
        index = netlink_watch.index_of(name)
    except HostError:
        return None
    state = netlink_watch.tun_state(index)
    if state is None or not state.persists:
        return None
    if state.queues:
        raise HostError(f"TUN device {name}: another program uses it")
    before = netlink_left.sweep(index)
    seen = netlink_watch.look(index)
    if before is not None and seen.link is not None:
        seen = replace(seen, link=seen.link._replace(up=before.up, mtu=before.mtu))
        state = state._replace(
            queue_length=before.queue_length,
            gso_max_size=before.gso_max_size,
            gso_max_segs=before.gso_max_segs,
            address_mode=before.address_mode,
        )
    return Found(index, state, seen, before is not None and before.has_names)


def prepare(found: Found, name: str) -> None:
    """Keep the device silent before anybody attaches to it, where that is allowed."""
    with suppress(HostError):
        netlink.silence(found.index, name)


def configure(settings: DeviceSettings, found: Found, name: str, capabilities: int) -> int:
    """Set on the device what is not set yet.

    Returns the offload bits of `capabilities` (packet_offload) that may be used: none where superpackets
    could not be limited. Raises HostError like netlink.configure().
    """
    netlink.check(settings, name)
    link, state = found.seen.link, found.state
    if link is not None:
        with suppress(HostError):  # without a privilege nothing is changed
            sizes = state.queue_length, state.gso_max_size, state.gso_max_segs, state.address_mode
            netlink_left.note(found.index, netlink_left.Before(link.up, link.mtu, *sizes))
    missing = plan(settings, found.seen, put_up=True)
    is_limited = 0 < found.state.gso_max_size <= netlink.GSO_MAX_SIZE
    if not netlink.tune(found.index, name, capabilities) and not is_limited:
        capabilities = 0
    for operation, reason in netlink.put_back(missing, settings, found.index, name).items():
        raise HostError(reason if reason.startswith(name) else f"{name}: {operation}: {reason}")
    return capabilities


def restore(settings: DeviceSettings, found: Found, name: str) -> None:
    """Remove what `settings` has brought to the device, and set the rest as it was. Raises nothing.

    To be called when the descriptor is closed: the kernel gives a device without address settings of ours an
    address of its own as soon as somebody attaches to it.
    """
    before = found.seen
    if before.link is None:
        return
    with suppress(HostError):
        seen = netlink_watch.look(found.index)
        if seen.link is None:
            return
        ours = Seen(seen.link, seen.addresses - before.addresses, seen.routes - before.routes)
        netlink.remove(_added(settings, ours), found.index)
        netlink.reset(found.index, name, before.link, found.state)
        now = netlink_watch.look(found.index)
        lost = [_address(one) for one in before.addresses - now.addresses]
        lost += [_route(one) for one in before.routes - now.routes if before.link.up]
        netlink.put_back(lost, settings, found.index, name, _STATIC)
        netlink_left.note(found.index, None)


def _added(settings: DeviceSettings, ours: Seen) -> list[Operation]:
    """What `settings` wants of that which was not on the device before, in the order to remove it."""
    assert ours.link is not None
    bare = plan(settings, Seen(ours.link), put_up=True)
    missing = set(plan(settings, ours, put_up=True))
    added = [one for one in bare if one not in missing and one.kind in (Kind.ROUTE, Kind.ADDRESS)]
    return added[::-1]


def _address(one: Address) -> Operation:
    own = ip_interface((one.address, one.length))
    return Operation(Kind.ADDRESS, own, str(ip_address(one.peer)) if one.peer else "")


def _route(route: Route) -> Operation:
    prefix = ip_network((route.prefix, route.length))
    gateway = str(ip_address(route.gateway)) if route.gateway else ""
    return Operation(Kind.ROUTE, prefix=prefix, gateway=gateway)
