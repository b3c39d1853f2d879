"""Plugins of routers, ingresses, authers and others: requests to a program, and its replies.

Knows: the fields of each request and reply, over HTTP and gRPC alike (PROTOCOL.md, plugins).
Refuses to know: how a request travels (plugin_http, plugin_grpc), caches and waiting packets
(route_plugin_cache).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from lib import ids
from lib import plugin_protobuf as messages
from lib.acl import Acl
from lib.auth_admission import Login
from lib.errors import PluginError
from lib.plugin_grpc import GrpcPlugin
from lib.plugin_http import HttpPlugin
from lib.prefixes import packed
from lib.route_table import HubAddress, Route, group
from lib.settings import Hop
from lib.settings_sources import PluginSettings
from lib.stream_bounded import failing_as

MAX_SERVICES = 64
"""Sessions of one host that are read from an sd's reply."""


class Plugin:
    """What all plugins have in common: the connection, over HTTP or gRPC as the URL says, and its state."""

    def __init__(self, settings: PluginSettings) -> None:
        """Prepare requests; nothing is sent yet."""
        self._http = HttpPlugin(settings) if settings.url.startswith("http") else None
        self._grpc = GrpcPlugin(settings) if self._http is None else None
        self.url = settings.url
        self.replied_at = 0.0
        """When the last reply came, in seconds of a steady clock; 0 for never."""
        self.error = ""
        """Why the last request got no reply; empty where it got one."""

    def _ask(self, method: str, what: Mapping[str, object], verb: str = "GET") -> Mapping[str, object]:
        """Send a request and wait for its reply; returns the reply's fields. Raises PluginError.

        `method` is Service/Method in gRPC, where its messages are MethodRequest and MethodReply; `verb` is
        HTTP's.
        """
        try:
            with failing_as(lambda why: PluginError(f"{self.url}: {why}"), PluginError):
                reply = self._exchange(method, what, verb)
        except PluginError as error:
            self.error = str(error)
            raise
        self.replied_at, self.error = time.monotonic(), ""
        return reply

    def _exchange(self, method: str, what: Mapping[str, object], verb: str) -> Mapping[str, object]:
        if self._http is not None:
            return self._http.get(what) if verb == "GET" else self._http.send(verb, what)
        assert self._grpc is not None
        name = method.partition("/")[2]
        try:
            reply = self._grpc.call(f"/proto.{method}", messages.encode(f"{name}Request", what))
            return messages.decode(f"{name}Reply", reply)
        except ValueError as error:  # also of a text that is no UTF-8
            raise PluginError(str(error)) from error

    def close(self) -> None:
        """Close all connections."""
        for way in (self._http, self._grpc):
            if way is not None:
                way.close()


class RouterPlugin(Plugin):
    """A plugin of a router, which is asked for routes."""

    acl: Acl | None = None
    """The access list for packets on its routes; None for everything."""
    own: tuple[HubAddress, ...] = ()
    """The hub's own addresses in the namespaces that ask it."""

    def route(self, address: bytes, namespace: bytes) -> Route | None:
        """The route to an address (packed) in a namespace (16 bytes); None when the plugin knows none.

        Whether the route's prefix holds the address is not checked, as in GOST. Raises PluginError.
        """
        what = {"dst": str(ip_address(address)), "id": ids.format_uuid(namespace)}
        return read_route(self._ask("Router/GetRoute", what))


class IngressPlugin(Plugin):
    """A plugin of an ingress, which is asked for the rule of a host name."""

    def endpoint(self, host: str, service: str) -> str:
        """The endpoint (a namespace's UUID as text) of a host's rule, "" for no rule. Raises PluginError."""
        return _text(self._ask("Ingress/GetRule", {"host": host, "service": service}), "endpoint")


class AutherPlugin(Plugin):
    """A plugin of an auther, which is asked whether a login is right."""

    def authenticate(self, login: Login) -> bool:
        """Whether a login is right. Raises PluginError."""
        what: dict[str, object] = {
            "service": login.service,
            "username": login.username,
            "password": login.password,
            "client": login.client,
        }
        certificate = login.certificate
        if certificate.fingerprint:  # over HTTP the same in camel case, as GOST has it
            over_http = self._http is not None
            what["clientCn" if over_http else "client_cn"] = certificate.common_name
            what["clientSan" if over_http else "client_san"] = list(certificate.names)
            what["clientCertFingerprint" if over_http else "client_cert_fingerprint"] = (
                certificate.fingerprint
            )
        return _is_ok(self._ask("Authenticator/Authenticate", what, "POST"))


class AdmissionPlugin(Plugin):
    """A plugin of an admission, which is asked whether somebody may connect."""

    def admits(self, client: str, service: str) -> bool:
        """Whether a client (address:port) may connect to a service. Raises PluginError."""
        what = {"service": service, "network": "tcp", "addr": client}
        return _is_ok(self._ask("Admission/Admit", what, "POST"))


class ObserverPlugin(Plugin):
    """A plugin that is told of services and their figures."""

    def observe(self, events: Sequence[Mapping[str, object]]) -> bool:
        """Whether it has taken these events (observe_events). Raises PluginError."""
        return _is_ok(self._ask("Observer/Observe", {"events": list(events)}, "POST"))


class LimiterPlugin(Plugin):
    """A plugin of a limiter, which is asked for the rates of clients."""

    def limit(self, question: Mapping[str, object]) -> tuple[float, float]:
        """(bytes a second into the hub, out of it) for a question (rule_rates); 0 for no limit.

        A number below zero is no limit either, as in GOST. Raises PluginError.
        """
        reply = self._ask("Limiter/Limit", {**question, "addr": ""}, "POST")
        if not {"in", "out"} & reply.keys():
            raise PluginError(f"{self.url}: no proper reply: it says neither 'in' nor 'out'")
        into, out = (reply.get(way, 0) for way in ("in", "out"))
        for way, rate in (("in", into), ("out", out)):
            if type(rate) is not int or not -(1 << 63) <= rate < 1 << 63:
                raise PluginError(f"{self.url}: no proper reply: {way!r} is {str(rate)[:80]!r}")
        return float(max(0, into)), float(max(0, out))  # type: ignore[call-overload]  # int, as checked above


class SdService(NamedTuple):
    """A host's session as an sd knows it."""

    id: str
    """That of the session."""
    name: str
    """HOST@NAMESPACE."""
    node: str
    """The hub."""
    network: str = ""
    address: str = ""
    """The hub's entrypoint, host:port."""


class SdPlugin(Plugin):
    """A plugin of an sd, which is told of sessions, and asked where a host has some."""

    def register(self, service: SdService) -> None:
        """Tell it of a session that has begun. Raises PluginError, also where it does not take that."""
        if not self._tell("SD/Register", service, "POST"):
            raise PluginError(f"{self.url}: it does not take the session (ok: false)")

    def renew(self, service: SdService) -> bool:
        """Tell it that a session goes on; returns whether it knows the session. Raises PluginError."""
        return self._tell("SD/Renew", service, "PUT")

    def deregister(self, service: SdService) -> None:
        """Tell it that a session has ended, whether it knows that or not. Raises PluginError."""
        self._tell("SD/Deregister", service, "DELETE")

    def _tell(self, method: str, service: SdService, verb: str) -> bool:
        fields = service._asdict()
        return _is_ok(self._ask(method, fields if self._http is not None else {"service": fields}, verb))

    def get(self, name: str) -> list[SdService]:
        """The sessions of a host, by the name that they were registered with. Raises PluginError."""
        found = self._ask("SD/Get", {"name": name}).get("services") or []
        if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
            raise PluginError(f"{self.url}: no proper reply: 'services' is {str(found)[:80]!r}")
        rows = ({str(key).lower(): value for key, value in one.items()} for one in found[:MAX_SERVICES])
        return [SdService(*(_text(row, key) for key in SdService._fields)) for row in rows]


class HopPlugin(Plugin):
    """A plugin of a hop, which is asked for a node at each dial."""

    def select(self, host: str, source: str) -> bytes:
        """The node for a client of this host name, as JSON; `source` is the client's first address, or "".

        Raises PluginError, also where it names no node.
        """
        what = {"network": "ip", "addr": host, "host": host, "path": "", "client": "", "src": source}
        reply = self._ask("Hop/Select", what, "POST")
        node = reply.get("node", b"") if self._grpc is not None else json.dumps(reply).encode()
        if not isinstance(node, bytes) or node in (b"", b"{}"):
            raise PluginError(f"{self.url}: it names no node")
        return node


def read_route(reply: Mapping[str, object]) -> Route | None:
    """The route in a reply: `dst` (in older plugins `net`) and `gateway`; None where either is missing.

    Raises PluginError for values that are not a prefix, or not a host name.
    """
    destination = _text(reply, "dst") or _text(reply, "net")
    gateway = _text(reply, "gateway")
    if not destination or not gateway:
        return None
    if not ids.is_host_name(gateway):
        raise PluginError(f"no host can go by this name: {gateway[:64]!r}")
    try:
        prefix = packed(ip_network(destination, strict=False))
    except ValueError as error:
        raise PluginError(f"no proper reply: {error}") from error
    return Route(*prefix, group([Hop(gateway)]))


def _is_ok(reply: Mapping[str, object]) -> bool:
    ok = reply.get("ok", False)
    if not isinstance(ok, bool):
        raise PluginError(f"no proper reply: 'ok' is {str(ok)[:80]!r}")
    return ok


def _text(reply: Mapping[str, object], key: str) -> str:
    value = reply.get(key)
    if not isinstance(value, str | None):
        raise PluginError(f"no proper reply: {key!r} is {str(value)[:80]!r}")
    return value or ""
