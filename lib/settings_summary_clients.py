"""The part of a configuration's summary that is about clients: device, routes, and the way to the hub.

Knows: how a client's settings are put into words, and what is and is not safe on its way.
Refuses to know: hubs, and how long a summary may be (settings_summary).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lib import prefixes, settings_map
from lib.addresses import join_host_port
from lib.humanize import counted
from lib.ids import NO_NAMESPACE, format_uuid
from lib.prefixes import PrefixSet
from lib.settings import ClientSettings, NodeSettings
from lib.settings_transport import TlsSettings

MAX_SHOWN = 8
"""Hubs, and routes, of one client that are named; the others are counted."""


def words(client: ClientSettings, most: int = MAX_SHOWN) -> Iterator[str]:
    """The summary of one client, as lines of text; of its hubs and routes the first `most`."""
    nodes = ways(client)
    behind = ", ".join(nodes[:most]) + _more(nodes, "hub", most)
    yield f"ok: service {client.name} is {_name(client, most)} behind {behind}"
    if client.active > 1:
        yield (
            f"    sessions with {client.active} of these hubs at once: of one cluster both are used, "
            "of others one, and the other stands by"
        )
    device = client.device
    name = f"device {device.name}" if device.name else "a device that the kernel names"
    nets = ", ".join(map(str, device.addresses)) or "no net: it has no address of its own"
    name += f" in network namespace {device.netns}" if device.netns else ""
    yield f"    {name}, {nets if not device.addresses else f'net {nets}'}, MTU {device.mtu}"
    routes = _routes(client)
    yield "    routes into the tunnel: " + (
        ", ".join(routes[:most]) + _more(routes, "route", most) if routes else "none"
    )
    if client.dns:
        yield f"    names are asked of {', '.join(client.dns)}"
    for one in client.maps:
        yield f"    {prefixes.text(*one.inside)} behind this host appears as {prefixes.text(*one.outside)}"
    yield from _told(client)
    yield from _exit(client)
    namespaces = dict.fromkeys(node.namespace for node in client.nodes if node.namespace != NO_NAMESPACE)
    if namespaces:
        yield f"    namespace: {', '.join(map(format_uuid, namespaces))}"
    dialled = dict.fromkeys(text for node in client.nodes if (text := _dialled(node)))
    if dialled:
        yield f"    dialled {'; '.join(dialled)}"
    yield from _safety(client.nodes)


def _name(client: ClientSettings, most: int) -> str:
    """Its host name, or those of which it takes one whenever its device is made."""
    names = [one.name for one in client.hosts]
    if not names:
        return f"host {client.host}"
    how = {"rand": "any", "fifo": "the first", "hash": "by its address"}.get(client.host_strategy, "in turn")
    some = ", ".join(names[:most]) + _more(names, "name", most)
    return f"one of the hosts {some} ({how}, whenever its device is made)"


def _told(client: ClientSettings) -> Iterator[str]:
    """What is taken of the settings that a hub tells."""
    accept = client.accept
    if accept is None:
        return
    routes = ", ".join(map(str, PrefixSet(accept.only).texts())) if accept.only else accept.routes
    taken = [
        *(["addresses"] if accept.addresses else []),
        f"routes ({routes})",
        *(["MTU"] if accept.mtu else []),
    ]
    strange = [node for node in client.nodes if not node.transport.is_verified]
    but = f"; nothing of a hub that is not verified (pin, caFile, secure){_of(strange, client.nodes)}"
    yield f"    what the hub tells is set: {', '.join(taken)}{but if strange else ''}"


def _exit(client: ClientSettings) -> Iterator[str]:
    """What is set in the kernel beside the device."""
    if client.nat:
        yield "    nat: what comes out of the tunnel leaves under an address of this host, which forwards"
    if client.killswitch:
        yield (
            "    killswitch: nothing leaves this host beside the tunnel, but to the hub, DHCP and neighbour "
            "discovery; it stays after a crash, until a clean stop or tunrouter unlock"
        )


def _dialled(node: NodeSettings) -> str:
    """What the settings decide about a connection instead of the kernel and the name servers."""
    dial, parts = node.first.dial, []
    by = [_interface(one.device, one.source) for one in dial.in_turn()]
    if any(by):
        parts.append(", else ".join(one or "any way" for one in by))
    if dial.mark:
        parts.append(f"with mark {dial.mark}")
    if dial.addresses:
        parts.append(f"at {', '.join(dial.addresses)} ({node.first.host} is in hosts)")
    return " ".join(parts)


def _interface(device: str, source: str) -> str:
    return f"through device {device}" if device else f"from {source}" if source else ""


def ways(client: ClientSettings) -> list[str]:
    """Each way to a hub: its address, the transport, and the proxies before it."""
    return [
        f"{join_host_port(node.host, node.port)} over {node.transport.kind}"
        + "".join(
            f" through {proxy.kind}://{join_host_port(proxy.host, proxy.port)}" for proxy in node.proxies
        )
        for node in client.nodes
    ]


def data(client: ClientSettings) -> dict[str, object]:
    """The summary of one client for machines."""
    device = client.device
    return {
        "name": client.name,
        "role": "client",
        "host": client.host,
        "hosts": [one.name for one in client.hosts] or [client.host],
        "hubs": ways(client),
        "active": client.active,
        "device": device.name or None,
        "netns": device.netns or None,
        "net": list(map(str, device.addresses)),
        "routes": [{"dst": str(net), "gateway": via or None} for net, via in device.routes],
        "mtu": device.mtu,
        "acceptRoutes": _accepted(client),
        "nat": client.nat,
        "killswitch": client.killswitch,
        "dns": list(client.dns),
        "namesBy": client.names_by,
        "map": settings_map.texts(client.maps),
        "transports": [node.transport.kind for node in client.nodes],
        "inTheClear": any(not node.transport.encrypted for node in client.nodes),
    }


def _accepted(client: ClientSettings) -> str | list[str] | None:
    """The key acceptRoutes; null where nothing of the hub's settings is taken."""
    if client.accept is None:
        return None
    return list(PrefixSet(client.accept.only).texts()) or client.accept.routes


def _more(items: Sequence[object], noun: str, most: int) -> str:
    return f" and {counted(len(items) - most, f'more {noun}')}" if len(items) > most else ""


def _routes(client: ClientSettings) -> list[str]:
    return [f"{net} via {via}" if via else str(net) for net, via in client.device.routes]


def _safety(nodes: Sequence[NodeSettings]) -> Iterator[str]:
    """Who could read or change what is sent, and how the hub is known; each once."""
    clear = [node for node in nodes if not node.transport.encrypted]
    if clear:
        text = "in the clear: whoever is on the way can read and change what is sent"
        yield f"    {text}{_of(clear, nodes)}"
    by: dict[str, list[NodeSettings]] = {}
    for node in nodes:
        if node.transport.encrypted:
            by.setdefault(_check(node.transport.tls), []).append(node)
    for how, some in by.items():
        yield f"    encrypted; {how}{_of(some, nodes)}"


def _of(some: Sequence[NodeSettings], nodes: Sequence[NodeSettings]) -> str:
    """Which hubs a statement is about, where it is not about all."""
    names = list(dict.fromkeys(join_host_port(node.host, node.port) for node in some))
    return (
        ""
        if len(some) == len(nodes)
        else f" ({', '.join(names[:MAX_SHOWN])}{_more(names, 'hub', MAX_SHOWN)})"
    )


def _check(tls: TlsSettings) -> str:
    if tls.pin:
        how = f"only the hub's certificate sha256:{tls.pin.hex()} is taken"
    elif tls.verify or tls.ca_file:
        whose = f"the authorities in {tls.ca_file}" if tls.ca_file else "the system's authorities"
        name = " and its name" if tls.verify else ", its name is not"
        how = f"the hub's certificate is checked by {whose}{name}"
    else:
        how = "the hub's certificate is not checked: whoever is on the way can be the hub"
    return how + (f"; this client shows {tls.cert_file}" if tls.cert_file else "")
