"""Settings of the web API (`api` of a configuration).

Knows: where it listens, for whom, under which names it may be reached.
Refuses to know: why a configuration's API may not be opened (config_api), how it is served (api_server).
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.addresses import join_host_port
from lib.settings_transport import TlsSettings

OWN = "auth of api"
"""The name of the auther made of `auth` and `users` of `api`; no section can have this name."""
ADMIN, VIEWER, TENANT = "admin", "viewer", "tenant"
"""Roles: may do everything; may read everything; may see and change one namespace."""


@dataclass(frozen=True, slots=True)
class ApiUser:
    """A user of the web API: a login with a role."""

    name: str
    role: str = ADMIN
    namespace: bytes | None = None
    """The namespace (16 bytes) of a tenant."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The web API: its address and path, and who may use it."""

    host: str = ""
    """Address to listen on; empty for all."""
    port: int = 0
    socket: str = ""
    """Path of a unix socket, instead of host and port."""
    prefix: str = ""
    """What all paths begin with: "" or "/…", without a slash at its end."""
    access_log: bool = False
    """Whether each request is logged."""
    authers: tuple[str, ...] = ()
    """Names of the authers whose logins may use it; without any, everybody who reaches it may."""
    users: tuple[ApiUser, ...] = ()
    """Users of the auther OWN with their roles; all other logins are those of administrators."""
    tls: TlsSettings | None = None
    """None: plain HTTP."""
    hosts: tuple[str, ...] = ()
    """Further names, in lower case, under which browsers may reach it, as behind a proxy."""
    audit_log: str = ""
    """Path of the file that has a line for each change; empty where only the log has it."""

    @property
    def address(self) -> str:
        """The address as text: `unix://PATH`, `HOST:PORT` or `[HOST]:PORT`."""
        if self.socket:
            return f"unix://{self.socket}"
        return join_host_port(self.host, self.port)

    def __str__(self) -> str:
        """The address and path, for whom it is, and where changes are noted, for a summary."""
        users = (
            f"logins of auther {' and '.join(map(repr, self.authers))}"
            if self.authers
            else "everybody who reaches it"
        )
        noted = f", each change noted in {self.audit_log}" if self.audit_log else ""
        return f"{self.address}{self.prefix}{' over TLS' if self.tls else ''} for {users}{noted}"
