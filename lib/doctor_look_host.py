"""Looks of `tunrouter doctor` at this host: TUN, the kernel's verdicts, networks, firewall, clock.

Knows: where the kernel, its programs and /proc say it. Refuses to know: what is wrong with it (doctor_host),
what leaves this host (doctor_look_way, doctor_look_tunnel).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from lib import (
    client_killswitch,
    doctor_firewall_rules,
    netlink_input,
    prefixes,
    service_command,
    service_environment,
    stream_certificates,
    stream_dial,
    stream_options,
    tun,
)
from lib.addresses import join_host_port, packed_prefix
from lib.client_transit import Transit
from lib.counters import Traffic
from lib.doctor_facts import (
    Certificate,
    Claim,
    Clock,
    Filtered,
    Gateway,
    Listening,
    Local,
    Locked,
    Networks,
    Refused,
    Tun,
    Unknown,
)
from lib.doctor_firewall import NOT_LO, Chain, Firewall, Packet
from lib.errors import HostError
from lib.forward_drop_reasons import Reason
from lib.netlink_request import opened
from lib.netlink_watch import index_of
from lib.prefixes import Prefix
from lib.settings import ClientSettings, HubSettings, Settings
from lib.settings_map import PrefixMap, to_inside
from lib.settings_transport import AUTO, SYSTEM, has_datagrams
from lib.stream_bounded import Bounds

PROGRAM_SECONDS = 4.0
MAX_RULES = 64 << 20
"""Bytes of the rules of a firewall that are read."""
CONNECT_SECONDS = 2.0
MAX_ROUTES = 64
"""Routes of a client whose sources the kernel is asked about."""

Row = Mapping[str, Any]
"""A client or a hub in the reply to `status`."""


# --- the device and the kernel's verdicts -------------------------------------------------------


def tun_device(rows: Sequence[Row]) -> Tun:
    """Make a TUN device and remove it at once; not where a running client has one already."""
    if any(row["device"] and os.path.exists(f"/sys/class/net/{row['device']}") for row in rows):
        return Tun()
    try:
        made = tun.open_tun()
    except HostError as error:
        return Tun(str(error))
    made.close()
    return Tun("", "" if made.capabilities else made.refusal or "no offloads")


def gateways(rows: Sequence[Row]) -> tuple[Gateway, ...]:
    """The prefixes that hubs route to this host, with the kernel's verdict on each."""
    return tuple(found for row in rows for found in _gateways(row))


def _gateways(row: Row) -> Iterator[Gateway]:
    name, networks = row["device"], [prefixes.packed(ip_interface(text).network) for text in row["addresses"]]
    verdict, maps = _verdicts(name), _maps(row)
    transit = Transit(
        lambda source, destination: verdict(source, to_inside(maps, destination)),
        *(Traffic(), time.monotonic, lambda: networks),
    )
    transit.gateways = tuple(packed_prefix(text) for text in row.get("prefixes", ()))
    stuck = set(transit.stuck())
    for prefix in transit.gateways:
        yield Gateway(row["service"], prefixes.text(*prefix), prefix in stuck)


def _maps(row: Row) -> tuple[PrefixMap, ...]:
    """The prefix maps of a running client; an older process says nothing of them."""
    return tuple(PrefixMap(*map(packed_prefix, pair)) for pair in row.get("map", {}).items())


def _verdicts(device: str) -> Any:
    index = index_of(device)
    return lambda source, destination: netlink_input.dropped(device, index, source, destination)


def filtered(clients: Sequence[ClientSettings], rows: Sequence[Row]) -> tuple[Filtered, ...]:
    """What the reverse path filter drops of packets from each running client's routes to its addresses."""
    known = {client.name: client for client in clients}
    found: list[Filtered] = []
    for row in rows:
        client = known.get(row["service"])
        own = [ip_interface(text) for text in row["addresses"]]
        if client is None or not own or not row["device"]:
            continue
        verdict = _verdicts(row["device"])
        for network in (*(one.network for one in own), *(to for to, _ in client.device.routes[:MAX_ROUTES])):
            to = next((one.ip for one in own if one.version == network.version), None)
            if to is None or network.num_addresses < 4:
                continue
            source = network.network_address + network.num_addresses // 3
            if source != to and verdict(source.packed, to.packed) is Reason.REVERSE_PATH:
                setting = f"net.ipv4.conf.{row['device']}.rp_filter"
                found.append(Filtered("packets from the tunnel", row["device"], str(network), setting))
    return tuple(found)


# --- networks -----------------------------------------------------------------------------------


def networks(clients: Iterable[ClientSettings], rows: Sequence[Row]) -> Networks:
    """The networks of this host's devices, and what its tunnels claim."""
    names = {row["service"]: row["device"] for row in rows}
    claims: list[Claim] = []
    for client in clients:
        device = names.get(client.name) or client.device.name
        own = [one.network for one in client.device.addresses]
        claims += [Claim(client.name, device, prefixes.packed(network), False) for network in own]
        routes = [to for to, _ in client.device.routes if to.prefixlen and to not in own]
        claims += [Claim(client.name, device, prefixes.packed(network), True) for network in routes]
        claims += [Claim(client.name, device, one.outside, False) for one in client.maps]
    tunnels = {claim.device for claim in claims} | set(names.values())
    local = tuple(Local(device, prefix) for device, prefix in local_networks() if device not in tunnels)
    return Networks(local, tuple(claims))


def local_networks() -> list[tuple[str, Prefix]]:
    """(device, network) of each address of this host, without lo and addresses of one link only."""
    found = []
    with opened() as ip:
        devices = {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}
        for row in ip.get_addr():
            address = row.get_attr("IFA_LOCAL") or row.get_attr("IFA_ADDRESS")
            network = ip_network(f"{address}/{row['prefixlen']}", strict=False)
            if not network.is_loopback and not network.is_link_local:
                found.append((devices.get(row["index"], ""), prefixes.packed(network)))
    return found


def locked() -> Locked | Unknown | None:
    """The killswitch that no process has; None where there is none."""
    if os.geteuid() != 0:
        return Unknown("only root may read the firewall's rules")
    if client_killswitch.is_held():
        return None
    kept = client_killswitch.look()
    return Locked(client_killswitch.described(kept)) if kept is not None else None


# --- the firewall -------------------------------------------------------------------------------


def firewall(settings: Settings, rows: Sequence[Row], facts: tuple[Gateway, ...]) -> Firewall | Unknown:
    """The rules of nftables and of iptables' old kind, and the packets that tunnels need."""
    if os.geteuid() != 0:
        return Unknown("only root may read the firewall's rules")
    chains: list[Chain] = []
    program = service_command.find("nft")
    if program:
        chains += doctor_firewall_rules.from_nft(_said(program, "-j", "list", "ruleset"))
    for version, names in (("4", "ip_tables_names"), ("6", "ip6_tables_names")):
        if _has_tables(names):
            legacy = f"ip{'6' if version == '6' else ''}tables-legacy-save"
            found = service_command.find(legacy) or service_command.find(legacy.replace("-legacy", ""))
            if found is None:
                return Unknown(f"the kernel has tables of iptables, and there is no {legacy} here")
            chains += doctor_firewall_rules.from_iptables(_said(found), version)
    if not program and not chains:
        return Unknown("there is no nft(8) here")
    return Firewall(tuple(chains), tuple(_packets(settings, rows, facts)))


def _has_tables(name: str) -> bool:
    try:
        return bool(Path("/proc/net", name).read_text().strip())
    except OSError:
        return False


def _said(*argv: str) -> str:
    """What a program prints. Raises HostError where it fails or takes too long."""
    environ = service_environment.whole(os.environ)
    outcome = service_command.run(argv, environ, PROGRAM_SECONDS, keep=MAX_RULES)
    if outcome.failure:
        raise HostError(f"{argv[0]}: {outcome.said or outcome.failure}")
    return outcome.output


def _packets(settings: Settings, rows: Sequence[Row], facts: tuple[Gateway, ...]) -> Iterator[Packet]:
    for hub in settings.hubs:
        port, version = str(hub.port), "6" if ":" in hub.host else "4"
        about = f"clients' connections to service {hub.name} (TCP port {port})"
        yield Packet(about, "in", version, "tcp", port, NOT_LO)
        if has_datagrams(hub.channel, hub.transport):
            about = f"clients' datagrams to service {hub.name} (UDP port {port})"
            yield Packet(about, "in", version, "udp", port, NOT_LO)
    devices = {row["service"]: row["device"] for row in rows}
    for client in settings.clients:
        device = devices.get(client.name) or client.device.name
        if not device:
            continue
        for version in {str(address.version) for address in client.device.addresses} or {"4"}:
            ping = "icmp" if version == "4" else "icmpv6"
            yield Packet(f"packets from the tunnel {device} for this host", "in", version, ping, iif=device)
            yield Packet(f"packets of this host into the tunnel {device}", "out", version, ping, oif=device)
        for node in client.nodes:
            about = f"connections to the hub (TCP port {node.first.port})"
            yield Packet(about, "out", "6" if ":" in node.first.host else "4", "tcp", str(node.first.port))
    maps = {row["service"]: _maps(row) for row in rows}
    yield from _forwarded(devices, facts, maps)


def _forwarded(
    devices: Mapping[str, str], facts: tuple[Gateway, ...], maps: Mapping[str, tuple[PrefixMap, ...]]
) -> Iterator[Packet]:
    """Packets between a tunnel and the networks behind this host."""
    behind = local_networks()
    for gateway in facts:
        prefix, device = packed_prefix(gateway.prefix), devices.get(gateway.service, "")
        mapped = [
            one.inside for one in maps.get(gateway.service, ()) if prefixes.overlap(one.outside, prefix)
        ]
        wanted = [*mapped, prefix]
        lan = next(
            (
                name
                for name, one in behind
                if name != device and any(prefixes.overlap(one, it) for it in wanted)
            ),
            "",
        )
        if not lan or not device:
            continue
        version = "6" if ":" in gateway.prefix else "4"
        about = f"what the tunnel {device} brings for {gateway.prefix}"
        yield Packet(about, "forward", version, "tcp", iif=device, oif=lan)
        yield Packet(f"what {gateway.prefix} sends into the tunnel {device}", "forward", version, "tcp",
                     iif=lan, oif=device)  # fmt: skip


# --- hubs, clock, congestion --------------------------------------------------------------------


def listening(hubs: Iterable[HubSettings]) -> tuple[Listening, ...]:
    """Connect to each hub service of the process that runs here."""
    found = []
    for hub in hubs:
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(hub.host, hub.host)
        error = remedy = ""
        try:
            stream_dial.dial(host, hub.port, Bounds(CONNECT_SECONDS, 0)).close()
        except OSError as wrong:
            error = f"no connection to it from here: {wrong.strerror or wrong}"
            remedy = "tunrouter health; ss -ltnp; look for a firewall that drops packets on lo"
        found.append(Listening(hub.name, join_host_port(hub.host, hub.port), error, remedy))
    return tuple(found)


def clock(settings: Settings) -> Clock:
    """The clock, the newest of our files, and the certificates of hubs here."""
    now, files = time.time(), list(settings.files)
    certificates = []
    for hub in settings.hubs:
        path = hub.transport.tls.cert_file if hub.transport.encrypted else ""
        if hub.transport.encrypted and not path:
            made = str(stream_certificates.state_directory() / stream_certificates.HERE[0])
            path = next(filter(os.path.exists, (stream_certificates.HERE[0], made)), "")
        certificate = _certificate(path) if path else None
        if certificate is not None:
            files.append(path)
            certificates.append((path, certificate))
    times = {path: os.stat(path).st_mtime for path in files if os.path.exists(path)}
    newest = max(times.items(), key=lambda pair: pair[1], default=("", 0.0))
    return Clock(now, newest, tuple(dict.fromkeys(certificates)))


def _certificate(path: str) -> Certificate | None:
    from cryptography import x509  # 8 MB that only this needs
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        read = x509.load_pem_x509_certificate(Path(path).read_bytes())
    except (OSError, ValueError):
        return None
    begins, ends = read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()
    return Certificate(begins, ends, read.fingerprint(SHA256()).hex())


def congestion(settings: Settings) -> tuple[Refused, ...]:
    """The congestion controls that services would use and do not get."""
    wanted = [(hub.name, hub.transport.congestion) for hub in settings.hubs]
    wanted += [
        (client.name, node.transport.congestion) for client in settings.clients for node in client.nodes
    ]
    found = []
    for service, name in dict.fromkeys(wanted):
        algorithm = stream_options.BBR if name == AUTO else name
        why = stream_options.missing(algorithm) if name != SYSTEM else ""
        if why:
            found.append(Refused(service, algorithm, why))
    return tuple(found)
