"""Who is let in: the hub's answer to a handshake.

Knows: the order of the checks and the status each failure gets (WIRE.md).
Refuses to know: where rules and logins come from (tables), and what an admitted client may send (decide).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from lib import ids, relay
from lib.drops import Refusal
from lib.relay import Request, Status

REFUSALS = {
    Status.BAD_REQUEST: Refusal.BAD_REQUEST,
    Status.UNAUTHORIZED: Refusal.UNAUTHORIZED,
    Status.SERVICE_UNAVAILABLE: Refusal.UNAVAILABLE,
    Status.HOST_UNREACHABLE: Refusal.INGRESS,
}
"""What each status but OK is counted as."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a client says of itself; empty texts where it says nothing."""

    username: str
    password: str = field(repr=False)
    client: str
    """Its address:port."""
    service: str


class Auther(Protocol):
    """Who knows the logins."""

    def admits(self, login: Login) -> bool:
        """Whether a login is right. Raises OSError where nobody can say."""


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
) -> tuple[Status, str]:
    """The status for a request that came to `service` from `client` (address:port), and why it is not OK.

    Any of the authers may admit a login; with none everybody passes.
    """
    try:
        if authers and not _knows(authers, request, service, client):
            return Status.UNAUTHORIZED, "wrong login" if request.login else "no login was given"
        if request.command != relay.ASSOCIATE:
            return Status.BAD_REQUEST, f"unknown command {request.command}"
        if not ids.is_host_name(request.host):
            return Status.BAD_REQUEST, "control characters in the host name"
        if ingress is not None and not ingress.admits(request.host, request.namespace, service):
            namespace = ids.format_uuid(request.namespace)
            return Status.HOST_UNREACHABLE, f"the ingress does not let it into namespace {namespace}"
    except OSError as error:
        return Status.SERVICE_UNAVAILABLE, str(error)
    return Status.OK, ""


def _knows(authers: tuple[Auther, ...], request: Request, service: str, client: str) -> bool:
    """Whether an auther admits the login; one that fails counts only where no other one does."""
    username, password = request.login or ("", "")  # a plugin may let such a client in
    login = Login(username, password, client, service)
    failed: OSError | None = None
    for auther in authers:
        try:
            if auther.admits(login):
                return True
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed
    return False
