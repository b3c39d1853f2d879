"""Admission of a client: whether the hub accepts a handshake, with which status and why.

Knows: the order of the checks (login, command, host name, certificate, ingress) and the status that each
failure gets (PROTOCOL.md, the handshake). Refuses to know: where rules and logins come from (hub_tables), and
what an admitted client may send (forward_decide).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lib import ids, wire_relay
from lib.auth_logins import EVERYTHING, Grant
from lib.forward_drop_reasons import Refusal
from lib.wire_relay import Request, Status

REFUSALS = {
    Status.BAD_REQUEST: Refusal.BAD_REQUEST,
    Status.UNAUTHORIZED: Refusal.UNAUTHORIZED,
    Status.FORBIDDEN: Refusal.NAME,
    Status.SERVICE_UNAVAILABLE: Refusal.UNAVAILABLE,
    Status.HOST_UNREACHABLE: Refusal.INGRESS,
    Status.NETWORK_UNREACHABLE: Refusal.LANE,
}
"""Status other than OK -> the reason that a refused client is counted under."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The identity in a client's verified TLS certificate; all fields are empty where there is none."""

    common_name: str = ""
    names: tuple[str, ...] = ()
    """The DNS names of its subjectAltName."""
    fingerprint: str = ""
    """SHA-256 of the certificate, in hex."""


NO_CERTIFICATE = Certificate()


def stays() -> bool:
    """Never gone: for a question without a connection that could end meanwhile."""
    return False


@dataclass(frozen=True, slots=True)
class Login:
    """The credentials that a client presents, and where it connected; empty where it gave none."""

    username: str
    password: str = field(repr=False)
    client: str
    """The client's address:port."""
    service: str
    """The name of the hub's service that it connected to."""
    certificate: Certificate = NO_CERTIFICATE
    has_gone: Callable[[], bool] = field(default=stays, repr=False, compare=False)
    """Whether the client has closed its connection: then nobody waits for the answer."""


class Auther(Protocol):
    """Checks logins: a table of users, or a plugin (an `auther` of the configuration)."""

    def grant(self, login: Login) -> Grant | None:
        """What a login permits; None for a wrong login. Raises OSError where the auther cannot be asked."""


class HostRules(Protocol):
    """Checks which host may join which namespace: a table of rules, or a plugin (an `ingress`)."""

    def admits(
        self, host: str, namespace: bytes, service: str, client: str, has_gone: Callable[[], bool]
    ) -> bool:
        """Whether a host may join a namespace (16 bytes), from `client` (address:port).

        Raises OSError where it cannot be asked.
        """


def admit(
    request: Request,
    service: str,
    client: str,
    authers: tuple[Auther, ...] = (),
    ingress: HostRules | None = None,
    certificate: Certificate = NO_CERTIFICATE,
    cert_hosts: bool = False,
    unread: tuple[str, str] = ("", ""),
    has_gone: Callable[[], bool] = stays,
) -> tuple[Status, str]:
    """(status, why) for a request that came to `service` from `client` (address:port); why is "" for OK.

    One auther that accepts the login is enough; without authers every client passes. With cert_hosts, a
    client may only use a host name that stands in its certificate; a wildcard there is no name. Never raises
    OSError: an auther or ingress that cannot be asked gives SERVICE_UNAVAILABLE. Raises ProtocolError where
    the client has gone (`has_gone`) before it was its turn to be checked.

    `unread` says which rows of the authers, and which of the ingress, have never been read, and why; empty
    where all have been. Who has no row gets SERVICE_UNAVAILABLE then: the row may be there.
    """
    unread_logins, unread_rules = unread
    try:
        username, password = request.login or ("", "")  # a plugin may let such a client in
        grants = _grants(authers, Login(username, password, client, service, certificate, has_gone))
        if not grants and unread_logins and request.login:
            return Status.SERVICE_UNAVAILABLE, unread_logins
        if not grants:
            return Status.UNAUTHORIZED, "wrong login" if request.login else "no login was given"
        if request.command not in (wire_relay.ASSOCIATE, wire_relay.JOIN):
            return Status.BAD_REQUEST, f"unknown command {request.command}"
        if not ids.is_host_name(request.host):
            return Status.BAD_REQUEST, "control characters in the host name"
        if not any(grant.allows(request.host, request.namespace) for grant in grants):
            if unread_logins:
                return Status.SERVICE_UNAVAILABLE, unread_logins
            return Status.FORBIDDEN, _why_not(grants, username, request.namespace)
        names = _host_names(certificate)
        if cert_hosts and request.host not in names:
            return Status.FORBIDDEN, f"its certificate is for {', '.join(names) or 'nobody'}"
        if ingress is not None and not ingress.admits(
            request.host, request.namespace, service, client, has_gone
        ):
            if unread_rules:
                return Status.SERVICE_UNAVAILABLE, unread_rules
            namespace = ids.format_uuid(request.namespace)
            return Status.HOST_UNREACHABLE, f"the ingress does not let it into namespace {namespace}"
    except OSError as error:
        return Status.SERVICE_UNAVAILABLE, str(error)
    return Status.OK, ""


def _why_not(grants: list[Grant], username: str, namespace: bytes) -> str:
    """Why none of these grants is for the host and namespace that a login asks for."""
    if all(grant.nothing for grant in grants):
        return grants[0].nothing
    return f"the login {username[:64]!r} is not for it in namespace {ids.format_uuid(namespace)}"


def _host_names(certificate: Certificate) -> tuple[str, ...]:
    """The hosts that a certificate is for; `*.corp` is for none, nor for a host that calls itself so."""
    return tuple(name for name in (certificate.common_name, *certificate.names) if name and "*" not in name)


def _grants(authers: tuple[Auther, ...], login: Login) -> list[Grant]:
    """The grants of all authers that accept the login.

    The error of an auther that fails is raised only where no other auther accepts the login: one broken
    plugin must not lock out the users of the others.
    """
    if not authers:
        return [EVERYTHING]
    grants: list[Grant] = []
    failed: OSError | None = None
    for auther in authers:
        try:
            grant = auther.grant(login)
            grants += [grant] if grant is not None else []
        except OSError as error:
            failed = error
    if failed is not None and not grants:
        raise failed
    return grants


def basic(header: str) -> tuple[str, str]:
    """(user name, password) of an Authorization header (RFC 7617); both empty where it has another scheme."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return "", ""
    username, _, password = decoded.partition(":")
    return username, password
