"""Request `explain` of the control socket: what a hub would do with one packet, by its tables.

Knows: the fields of the request (PROTOCOL.md, the control socket), and that plugins are asked where the
decision depends on them.
Refuses to know: hubs and sessions (ctl_handlers, cli_explain), the words of an explanation (forward_explain).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lib import ids, namespace_titles
from lib.addresses import address
from lib.forward_explain import Explanation, explain, protocol_and_port, source_for
from lib.humanize import counted
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.route_gateways import Gateway
from lib.route_plugin_cache import PluginCache
from lib.route_table import RouteTable

MAX_ASKED = 4
"""The most plugin requests for one explanation: for source and destination, in two tables."""
MAX_LOOKED_AT = 10_000
"""Namespaces in which a host is looked for whose namespace is not named."""
MAX_TABLES = 64
"""Tables of namespaces in whose routes it is looked for, where it is not connected."""
MAX_NAMED = 10
"""Namespaces that are named where several have such a host."""


@dataclass(frozen=True, slots=True)
class Question:
    """The packet that is to be explained."""

    attachment: Attachment
    """Place of the sending host in its namespace."""
    source: bytes | None
    """Packed address; None where no address is known that the host may send from."""
    destination: bytes
    protocol_and_port: tuple[int, int] | None
    """None for a ping."""


def read_question(domain: Domain, request: Mapping[str, Any]) -> Question:
    """The question in a request of this form, of which only "from" and "to" are required:

        {"from": host, "to": address, "ns": UUID or title, "source": address, "port": "tcp/22"}

    Without "ns" it is the namespace of clients that name none, or the only one that has such a host.
    Raises ValueError where a field is wrong, and KeyError where a required one is missing.
    """
    destination = _packed(str(request["to"]), "ADDRESS")
    wanted = str(request.get("ns") or "")
    host = str(request["from"])
    namespace = domain.namespace(namespace_titles.namespace_named(wanted) if wanted else _where(domain, host))
    gateway = namespace.gateways.get(host)
    attachment = (
        gateway.attachments[0] if gateway is not None else Attachment(namespace, host, "(not connected)")
    )
    given = str(request.get("source") or "")
    if given:
        source: bytes | None = _packed(given, "--source")
        if source is not None and len(source) != len(destination):
            raise ValueError(f"{given} and {request['to']}: two versions of IP")
    else:
        source = source_for(namespace, host, len(destination))
    return Question(attachment, source, destination, _port(str(request.get("port") or "")))


def _where(domain: Domain, host: str) -> bytes:
    """The namespace that is meant where none is named. Raises ValueError where several have such a host.

    A host that is connected is where it is, and another one is where routes lead to it.
    """
    connected = [
        key
        for key, namespace in islice(domain.namespaces.items(), MAX_LOOKED_AT)
        if host in namespace.gateways.here
    ]
    if found := _only(connected, host):
        return found
    if not _leads_to(domain.default, host):
        tables = islice(domain.tables.items(), MAX_TABLES)
        if found := _only([key for key, table in tables if _leads_to(table, host)], host):
            return found
    return ids.NO_NAMESPACE


def _only(keys: Iterable[bytes], host: str) -> bytes:
    """The namespace of clients that name none, where that is among these, else the only one; b"" of none."""
    found = list(keys)
    if ids.NO_NAMESPACE in found:
        return ids.NO_NAMESPACE
    if len(found) > 1:
        named = list(map(namespace_titles.option, found[:MAX_NAMED]))
        more = [f"{len(found) - MAX_NAMED} more"] if len(found) > MAX_NAMED else []
        listed = ", ".join([*named, *more])
        several = counted(len(found), "namespace")
        raise ValueError(f"{several} have a host {host[:64]!r}: {listed}; say which one")
    return found[0] if found else b""


def _leads_to(table: object, host: str) -> bool:
    """Whether routes of a table are known to lead to a host."""
    return isinstance(table, RouteTable) and host in (table.names() or ())


def _packed(text: str, what: str) -> bytes:
    try:
        return address(text).packed
    except ValueError:
        raise ValueError(f"{what}: {text[:64]!r} is no IP address: write one, such as 10.0.0.9") from None


def _port(text: str) -> tuple[int, int] | None:
    try:
        return protocol_and_port(text)
    except ValueError as wrong:
        raise ValueError(f"--port: {wrong}") from None


def reply(service: str, question: Question, sessions: bool, own_only: bool = False) -> dict[str, Any]:
    """The fields of the reply. Where `sessions` is false, every host counts as connected.

    With `own_only` nothing of the default table is told, which names the hosts of all namespaces.
    """
    found = explanation(question, sessions, own_only)
    return {"service": service, "delivered": found.delivered, "lines": found.lines}


def explanation(question: Question, sessions: bool, own_only: bool = False) -> Explanation:
    """What becomes of a packet, after plugins were asked. `sessions` and `own_only` as for reply()."""
    packet = (question.attachment, question.source, question.destination)
    for _ in range(MAX_ASKED):
        found = explain(*packet, time.monotonic(), sessions, question.protocol_and_port, own_only)
        if not isinstance(found.verdict, bytes):
            break
        _ask_plugins(question.attachment, found.verdict)
    return found


def _ask_plugins(attachment: Attachment, address: bytes) -> None:
    for table in attachment.namespace.tables:
        if isinstance(table, PluginCache) and table.asker is not None:
            list(table.take_wanted())
            try:
                table.store(address, table.asker.route(address, attachment.namespace.id), time.monotonic())
            except OSError:
                table.fail(address, time.monotonic())
    _find_gateways(attachment.namespace, address)


def _find_gateways(namespace: Namespace, address: bytes) -> None:
    route = namespace.route_to(address, time.monotonic()) if namespace.elsewhere is not None else None
    for name in route[0].names if isinstance(route, tuple) else ():
        if namespace.elsewhere is not None and name not in namespace.gateways.here:
            namespace.elsewhere.find(name)


def connect_everybody(namespace: Namespace) -> None:
    """Take every host of a namespace to be connected: a configuration does not say who is."""
    namespace.gateways.here = _Everybody(namespace)


class _Everybody(dict[str, Any]):
    """Gateways by name, each made when it is asked for."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__()
        self._namespace = namespace

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        attachment = Attachment(self._namespace, name, "(not known)", since=time.monotonic())
        gateway = self[name] = Gateway(name, attachments=[attachment])
        return gateway

    def get(self, name: str, default: Any = None) -> Any:
        """The gateway of that name."""
        return self[name]
