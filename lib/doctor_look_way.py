"""Looks of `tunrouter doctor` at the way to the hubs: names, connections with TLS and WebSocket, path MTU.

Knows: how far a hub is dialled: up to the relay handshake and no further, for a second session under the same
host name would take packets of the one that runs.
Refuses to know: what is wrong with what it sees (doctor_way), how long all of it may take (cli_doctor).
"""

from __future__ import annotations

import errno
import math
import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from gevent import socket, spawn

from lib import doctor_ping, netlink_lookup, stream_resolve
from lib.addresses import dns_name, is_address, join_host_port, without_zone
from lib.doctor_facts import Certificate, HubDomain, Looked, Names, NameServer, PathMtu, Way
from lib.errors import HostError, ProtocolError
from lib.netlink_request import link_name, opened
from lib.settings import ClientSettings, NodeSettings
from lib.stream_bounded import Bounds, failing_as
from lib.stream_deadline import within
from lib.stream_dial import PLAIN
from lib.stream_layer import AnyStream, Layered
from lib.stream_name_servers import name_servers
from lib.stream_open import dial
from lib.stream_tls import TlsCodec, context

SECONDS = 5.0
"""How long one connection, and one look-up, may take."""
SERVER_SECONDS = 1.0
SERVER_TRIES = 2
MAX_BYTES = 1 << 16


def ways(clients: Iterable[ClientSettings]) -> tuple[Way, ...]:
    """Each client's way to each of its nodes, all at the same time."""
    jobs = [spawn(_way, client, node) for client in clients for node in client.nodes]
    return tuple(job.get() for job in jobs)


def _way(client: ClientSettings, node: NodeSettings) -> Way:
    tls, target = node.transport.tls, join_host_port(node.host, node.port)
    encrypted = node.transport.encrypted
    asked = time.time()
    error, stage, code, _ = _connection(node, lambda stream: None)
    seen = None
    if not error or stage not in ("name", "connection"):
        below = replace(node, transport=replace(node.transport, kind="tcp"))
        *_, seen = _connection(below, lambda stream: _seen(stream, node))
    certificate, date = seen or (None, None)
    verified = bool(tls.verify or tls.ca_file or tls.pin)
    return Way(
        client.name, node.name, target, error, stage, code, encrypted, verified, certificate, date, asked
    )


def _connection(node: NodeSettings, use: Callable[[AnyStream], Any]) -> tuple[str, str, int, Any]:
    """Connect to a node and use the connection; (why that failed, where, errno, the result or None)."""
    bounds = Bounds(math.inf, MAX_BYTES)

    def late() -> OSError:
        return OSError(errno.ETIMEDOUT, f"no connection within {SECONDS:g} s: {bounds.waits_for}")

    try:
        with within(SECONDS, late), failing_as(OSError, OSError, ProtocolError):
            stream = dial(node, PLAIN, bounds)
            try:
                return "", "", 0, use(stream)
            finally:
                stream.close()
    except ProtocolError as error:
        return str(error), error.layer or "connection", 0, None
    except OSError as error:
        is_name = isinstance(error, socket.gaierror) or "was not looked up" in bounds.waits_for
        code = error.errno if not is_name and error.errno else 0
        return error.strerror or str(error), "name" if is_name else "connection", code, None


def _seen(stream: AnyStream, node: NodeSettings) -> tuple[Certificate | None, float | None]:
    """The certificate that a hub shows over TCP, whatever it is, and what its HTTP says the time is."""
    certificate, transport = None, node.transport
    top = stream
    if transport.encrypted:
        unchecked = replace(transport.tls, verify=False, ca_file="", pin=b"")
        name = transport.tls.server_name or without_zone(node.host)
        codec: Any = TlsCodec(context(unchecked, False), False, name)
        layered = Layered(stream, codec)
        layered.open()
        certificate, top = _read(codec), layered
    return certificate, _date(top, node) if transport.kind in ("ws", "wss") else None


def _read(codec: TlsCodec) -> Certificate | None:
    from cryptography import x509  # 8 MB that only this needs

    try:
        read = x509.load_der_x509_certificate(codec.connection.getpeercert(True) or b"")
    except ValueError:
        return None
    begins, ends = read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()
    return Certificate(begins, ends, codec.fingerprint().hex())


def _date(stream: AnyStream, node: NodeSettings) -> float | None:
    """What a hub's HTTP says the time is; None where it does not say."""
    host = node.transport.host or join_host_port(dns_name(without_zone(node.host)), node.port)
    request = f"GET {node.transport.path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    stream.send_all(request.encode("ascii", "replace"))
    data, room = b"", memoryview(bytearray(MAX_BYTES))
    while b"\r\n\r\n" not in data and len(data) < MAX_BYTES:
        size = stream.receive_into(room)
        if not size:
            break
        data += room[:size]
    return read_date(data)


def read_date(data: bytes) -> float | None:
    """The time in a response's Date header (RFC 9110, 6.6.1), in seconds since 1970; None without one."""
    for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"date":
            try:
                return parsedate_to_datetime(value.decode("ascii", "replace").strip()).timestamp()
            except (ValueError, TypeError, OverflowError):
                return None
    return None


# --- path MTU -----------------------------------------------------------------------------------


def paths(clients: Iterable[ClientSettings]) -> tuple[PathMtu, ...]:
    """The path to the first address of each hub, or of the proxy before it, measured."""
    firsts = {(node.first.host, node.first.port): node for client in clients for node in client.nodes}
    jobs = [spawn(_path, host, port) for host, port in firsts]
    return tuple(found for job in jobs if (found := job.get()) is not None)


def _path(host: str, port: int) -> PathMtu | None:
    try:
        address = stream_resolve.look_up(host, port, SECONDS)[0][4][0]
    except (OSError, IndexError):
        return None
    return path_to("to the hub", address)


def path_to(what: str, address: str, source: str = "") -> PathMtu | None:
    """The path to an address, measured; None where it cannot be."""
    try:
        device = device_to(address)
        found = doctor_ping.measure(address, source)
    except (OSError, HostError):
        return None
    return PathMtu(what, address, device, found.answered, found.largest, found.believed)


def device_to(address: str) -> str:
    """The device of the kernel's route to an address; empty where there is none. Raises HostError."""
    with opened() as ip:
        route = netlink_lookup.look_up(ip, address.partition("%")[0])
        index = route.get_attr("RTA_OIF") if route is not None else None
        return link_name(ip, index) if index else ""


def device_around(address: str, tunnels: Iterable[str]) -> str:
    """The device that leads to an address without these ones; empty for none. Raises HostError."""
    with opened() as ip:
        without = {index for name in tunnels for index in ip.link_lookup(ifname=name)}
        route = netlink_lookup.best(ip, address, without, {})
        index = route.get_attr("RTA_OIF") if route is not None else None
        return link_name(ip, index) if index else ""


# --- names --------------------------------------------------------------------------------------


def names(clients: Iterable[ClientSettings], tunnels: frozenset[str]) -> Names:
    """The hubs' names, looked up, and each name server, asked with and without the tunnels' devices."""
    hosts = {node.first.host for client in clients for node in client.nodes if not node.first.dial.addresses}
    looked = [spawn(_looked, host) for host in sorted(hosts) if not is_address(without_zone(host))]
    asked = [spawn(_server, address, tunnels) for address in name_servers()]
    return Names(tuple(job.get() for job in looked), tuple(job.get() for job in asked))


def domains(rows: Iterable[Mapping[str, Any]]) -> tuple[HubDomain, ...]:
    """The domains that hubs have told the running clients, each asked for at the hub and as programs do."""
    told = [(row, row["from_hub"]) for row in rows]
    jobs = [spawn(_domain, row, said) for row, said in told if said["domain"] and said["dns"]]
    return tuple(job.get() for job in jobs)


def _domain(row: Mapping[str, Any], said: Mapping[str, Any]) -> HubDomain:
    domain, server = said["domain"], said["dns"][0]
    try:
        found = {address[4][0] for address in stream_resolve.look_up(domain, 0, SECONDS)}
    except OSError:
        found = set()
    return HubDomain(
        row["service"], row["device"], domain, server, asks(server), server in found, said.get("names_by", "")
    )


def _looked(name: str) -> Looked:
    began, error = time.monotonic(), ""
    try:
        stream_resolve.look_up(name, 0, SECONDS)
    except OSError as wrong:
        error = wrong.strerror or str(wrong)
    return Looked(name, error, time.monotonic() - began)


def _server(address: str, tunnels: frozenset[str]) -> NameServer:
    try:
        device = device_to(address)
        around = device_around(address, tunnels) if device in tunnels else ""
    except HostError:
        device = around = ""
    outside = bool(around) and asks(address, around)
    return NameServer(address, asks(address), device, device in tunnels, outside)


def asks(address: str, device: str = "", port: int = 53) -> bool:
    """Whether a name server gives any reply to a question about the root (RFC 1035), over UDP."""
    number = os.urandom(2)
    question = number + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", 2, 1)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            if device:
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
            asking.connect((address, port))  # an address, so that the kernel tells us if nobody is there
            asking.settimeout(SERVER_SECONDS)
            for _ in range(SERVER_TRIES):
                asking.send(question)
                try:
                    while not asking.recv(4096).startswith(number):
                        pass
                except TimeoutError:
                    continue
                return True
        except OSError:
            pass
    return False
