"""The `api` section of a configuration, checked and turned into settings; an unsafe one opens nothing.

Knows: which addresses need a login and TLS, and what to write where these are missing.
Refuses to know: how the API is served (api_server), what may be asked of it (api_routes).

GOST's `api` has no TLS, and `addr: ':18080'` without a login lets everybody who reaches the port start
programs as root. A file with such a section runs without an API, with a warning that says what to add: so the
file of a GOST user works, and nothing is open that they have not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lib import addresses
from lib.config_findings import Findings
from lib.config_schema import Api, Login
from lib.config_schema import ApiUser as User
from lib.config_schema_tls import Tls
from lib.config_tables import logins, namespace_of
from lib.config_telemetry import auther_of
from lib.config_transport import server_tls
from lib.did_you_mean import did_you_mean
from lib.settings import AutherSettings
from lib.settings_api import ADMIN, OWN, TENANT, VIEWER, ApiSettings, ApiUser

ROLES = (ADMIN, VIEWER, TENANT)
_SOCKET = "unix://"

Opened = tuple[ApiSettings | None, tuple[AutherSettings, ...]]


def api_settings(
    api: Api, default: Tls | None, authers: Mapping[str, AutherSettings], found: Findings
) -> Opened:
    """(where the web API is served or None, the authers for it) of the `api` section.

    None where a value is wrong (a problem in `found`), and where the address may
    not be opened (a warning). `default` is the configuration's top-level `tls`.
    """
    auther = auther_of(api, OWN, authers, found)
    own, users = _users(api, auther, found)
    let_in = tuple({one.name: one for one in (auther, own) if one is not None}.values())
    prefix = _prefix(api, found)
    tls = server_tls(api.tls, default, found) if api.tls is not None else None
    settings = ApiSettings(
        prefix=prefix,
        access_log=api.accesslog,
        authers=tuple(one.name for one in let_in),
        users=users,
        tls=tls,
        hosts=tuple(name.lower() for name in api.hosts),
        audit_log=api.audit_log,
    )
    placed = _placed(api, settings, found)
    if placed is None or _is_unsafe(api, placed, found):
        return None, ()
    return placed, let_in


def _users(
    api: Api, auther: AutherSettings | None, found: Findings
) -> tuple[AutherSettings | None, tuple[ApiUser, ...]]:
    """(the auther of our own, with `auth` and `users`, or None; the users with their roles)."""
    own = auther if auther is not None and auther.name == OWN else None
    if not api.users:
        return own, ()
    rows = [Login(username=one.username, password=one.password, at=one.at) for one in api.users]
    taken = {row.username for row in own.logins} if own else set()
    for one in api.users:
        if one.username in taken:
            found.error(one.where("username"), f"two users of the API have the name {one.username[:64]!r}")
        taken.add(one.username)
    every = (*(own.logins if own else ()), *logins(rows, found))
    return AutherSettings(OWN, every), tuple(_user(one, found) for one in api.users)


def _user(user: User, found: Findings) -> ApiUser:
    role = user.role.lower() or ADMIN
    if role not in ROLES:
        hint = did_you_mean(role, ROLES) or f"one of {', '.join(ROLES)}"
        found.error(user.where("role"), f"'role': {role[:64]!r} is unknown", hint)
    namespace = namespace_of(user.namespace) if user.namespace else None
    if user.namespace and namespace is None:
        found.error(user.where("namespace"), f"'namespace': {user.namespace[:64]!r} is no UUID")
    elif (role == TENANT) != bool(user.namespace):
        text = "a tenant without a namespace" if role == TENANT else "'namespace' is for role tenant"
        found.error(user.where("namespace"), text, "write role: tenant, namespace: UUID")
    return ApiUser(user.username, role, namespace)


def _prefix(api: Api, found: Findings) -> str:
    prefix = api.path_prefix.strip("/")
    if any(letter in prefix for letter in "?#<> %"):
        found.error(api.where("path_prefix"), f"'pathPrefix': {prefix[:64]!r} is no path", "such as /api")
    return f"/{prefix}" if prefix else ""


def _placed(api: Api, settings: ApiSettings, found: Findings) -> ApiSettings | None:
    """The settings with the address; None after a problem."""
    if api.addr.startswith(_SOCKET):
        socket = api.addr.removeprefix(_SOCKET)
        if not socket.startswith("/"):
            found.error(api.where("addr"), f"'addr': {api.addr[:64]!r}: no absolute path", "unix:///…")
            return None
        if settings.tls is not None:
            found.error(api.where("tls"), "'tls' of an API on a unix socket has no use", "leave it out")
        return replace(settings, socket=socket)
    try:
        host, port = addresses.host_port(api.addr)
    except ValueError as wrong:
        found.error(api.where("addr"), f"'addr': {wrong}")
        return None
    return replace(settings, host=host, port=port)


def _is_unsafe(api: Api, settings: ApiSettings, found: Findings) -> bool:
    """Whether the API may not be opened at its address; a warning says what is missing."""
    if settings.socket or addresses.is_loopback(settings.host):
        if api.insecure:
            text = f"'insecure' has no effect: nobody but this host reaches {settings.address}"
            found.warn(api.where("insecure"), text)
        return False
    lacks, add = [], []
    if not settings.authers:
        lacks.append("no login")
        add.append("auth: {username: NAME, password: PASSWORD}")
    if settings.tls is None and not api.insecure:
        lacks.append("no TLS")
        add.append("tls: {certFile: FILE, keyFile: FILE} (insecure: true where a proxy before it has TLS)")
    if not lacks:
        return False
    text = f"the web API is not opened: {settings.address} is open to others, and has {' and '.join(lacks)}"
    found.warn(api.where("addr"), text, f"add {' and '.join(add)}, or write addr: 127.0.0.1:{settings.port}")
    return True
