"""Who is let in: the hub's answer to a handshake.

Knows: the order of the checks and the status each failure gets (PROTOCOL.md, the handshake).
Refuses to know: where rules and logins come from (hub_tables), and what an admitted client may send
(forward_decide).
"""

from __future__ import annotations

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
}
"""What each status but OK is counted as."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Who a client's certificate says it is; empty where it showed none that was checked."""

    common_name: str = ""
    names: tuple[str, ...] = ()
    """Its DNS names."""
    fingerprint: str = ""
    """SHA-256, hex."""


NO_CERTIFICATE = Certificate()


@dataclass(frozen=True, slots=True)
class Login:
    """What a client says of itself; empty texts where it says nothing."""

    username: str
    password: str = field(repr=False)
    client: str
    """Its address:port."""
    service: str
    certificate: Certificate = NO_CERTIFICATE


class Auther(Protocol):
    """Who knows the logins."""

    def grant(self, login: Login) -> Grant | None:
        """What a login is good for, None where it is not right. Raises OSError where nobody can say."""


class HostRules(Protocol):
    """Who knows which host may use which namespace."""

    def admits(self, host: str, namespace: bytes, service: str) -> bool:
        """Whether a host may join a namespace (16 bytes). Raises OSError where nobody can say."""


def admit(
    request: Request,
    service: str,
    client: str,
    authers: tuple[Auther, ...] = (),
    ingress: HostRules | None = None,
    certificate: Certificate = NO_CERTIFICATE,
    cert_hosts: bool = False,
) -> tuple[Status, str]:
    """The status for a request that came to `service` from `client` (address:port), and why it is not OK.

    Any of the authers may admit a login; with none everybody passes. With cert_hosts a client may only go by
    a name that its certificate has.
    """
    try:
        username, password = request.login or ("", "")  # a plugin may let such a client in
        grants = _grants(authers, Login(username, password, client, service, certificate))
        if not grants:
            return Status.UNAUTHORIZED, "wrong login" if request.login else "no login was given"
        if request.command != wire_relay.ASSOCIATE:
            return Status.BAD_REQUEST, f"unknown command {request.command}"
        if not ids.is_host_name(request.host):
            return Status.BAD_REQUEST, "control characters in the host name"
        if not any(grant.allows(request.host, request.namespace) for grant in grants):
            namespace = ids.format_uuid(request.namespace)
            return Status.FORBIDDEN, f"the login {username[:64]!r} is not for it in namespace {namespace}"
        names = tuple(filter(None, (certificate.common_name, *certificate.names)))
        if cert_hosts and request.host not in names:
            return Status.FORBIDDEN, f"its certificate is for {', '.join(names) or 'nobody'}"
        if ingress is not None and not ingress.admits(request.host, request.namespace, service):
            namespace = ids.format_uuid(request.namespace)
            return Status.HOST_UNREACHABLE, f"the ingress does not let it into namespace {namespace}"
    except OSError as error:
        return Status.SERVICE_UNAVAILABLE, str(error)
    return Status.OK, ""


def _grants(authers: tuple[Auther, ...], login: Login) -> list[Grant]:
    """What each auther that knows the login says; one that fails counts only where no other one does."""
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
