"""Keys that only a URL has: what a file has instead, and what GOST's `-O` leaves of them in metadata.

Knows: GOST reads these parameters of -L and -F into sections (tls, auth, limiters), and prints them in
metadata too, where nobody reads them. Refuses to know: how other metadata is checked (config_metadata).

A value in metadata that says the same as the section is such a left-over. Any other one was written by hand,
by somebody who expects an effect.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

from lib.config_schema import Admission, Auth, Service
from lib.config_schema_tls import Tls
from lib.config_yaml import Scalar, Tree
from lib.go_values import parse_switch

Repeats = Callable[[str, Tree], bool]
"""(key in lower case, its value in metadata) -> whether the sections say the same."""
Rows = Callable[[str, str], Sequence[str]]
"""("limiter", "climiter" or "rlimiter", name of a section) -> its rows."""

TLS = "cert certFile key keyFile ca caFile secure serverName tls.certFile tls.keyFile tls.caFile tls.secure"
TLS += " tls.serverName"
LIMITS = "limiter.in limiter.out limiter.conn.in limiter.conn.out climiter rlimiter admission"

_FIELDS = {"cert": "certFile", "key": "keyFile", "ca": "caFile"}
_INSTEAD = {
    "admission": "admissions: [{name: list, matchers: [192.0.2.7]}], and admission: list in the service",
    "limiter.in": 'limiters: [{name: limit, limits: ["$ 1MB 1MB"]}], and limiter: limit in the service',
    "limiter.conn.in": 'limiters: [{name: limit, limits: ["$$ 1MB 1MB"]}], and limiter: limit in the service',
    "climiter": 'climiters: [{name: limit, limits: ["$ 1000"]}], and climiter: limit in the service',
    "rlimiter": 'rlimiters: [{name: limit, limits: ["$ 100"]}], and rlimiter: limit in the service',
}


def nothing(key: str, value: Tree) -> bool:
    """No section says the same."""
    return False


def instead(key: str, tls: str, auth: str) -> str:
    """What to write in a file; `tls` and `auth` are the sections that have these there ("the dialer")."""
    if key == "auth":
        return f"auth: {{username: …, password: …}} in {auth}"
    if key.lower() in _WORDS:
        return f"{_field(key)} in the section tls of {tls}"
    return _INSTEAD[key.replace(".out", ".in")]


_WORDS = frozenset(TLS.lower().split())
_LIMITS = frozenset(LIMITS.split())


def _field(key: str) -> str:
    """The name in a tls section of what a URL calls `key`."""
    name = key.removeprefix("tls.")
    return _FIELDS.get(name, name)


def of_node(tls: Tls | None, auth: Auth | None) -> Repeats:
    """For the metadata of a hop and its nodes: `tls` of the dialer, `auth` of the connector."""

    def repeats(key: str, value: Tree) -> bool:
        if not isinstance(value, Scalar) or not value.text:
            return False
        if key == "auth":
            return _login(value.text) == (auth.username, auth.password) if auth else False
        return _says(tls or Tls(), _field(key).lower(), value.text)

    return repeats


def _login(text: str) -> tuple[str, str]:
    """(user, password) in base64; ("", "") for what is none."""
    try:
        username, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return username, password


def _says(tls: Tls, field: str, text: str) -> bool:
    if field == "secure":
        try:
            return parse_switch(text) == tls.secure
        except ValueError:
            return False
    texts = {
        "certfile": tls.cert_file,
        "keyfile": tls.key_file,
        "cafile": tls.ca_file,
        "servername": tls.server_name,
    }
    return texts.get(field) == text


def of_hub(service: Service, rows: Rows, admissions: Sequence[Admission] = ()) -> Repeats:
    """For the metadata of a hub's service, handler and listener: the limiters and admission that it names."""

    def repeats(key: str, value: Tree) -> bool:
        if not isinstance(value, Scalar):
            return False
        kind, *rest = key.split(".")
        if kind == "admission":
            named = (one for one in admissions if one.name == service.admission)
            return any(f"{'~' * one.whitelist}{','.join(one.matchers)}" == value.text for one in named)
        if kind not in ("limiter", "climiter", "rlimiter"):
            return False
        name = getattr(service, kind)
        columns = [row.split(" ") for row in rows(kind, name)] if name else []
        first = "$$" if "conn" in rest else "$"
        column = 2 if rest[-1:] == ["out"] else 1
        return any(row[0] == first and row[column : column + 1] == [value.text] for row in columns)

    return repeats


def may_repeat(service: Service) -> bool:
    """Whether the metadata of a hub has a key that may say the same as a limiter or an admission."""
    layers = (service, service.handler, service.listener)
    return any(key.lower() in _LIMITS for layer in layers if layer is not None for key in layer.metadata)


def of_client(service: Service) -> Repeats:
    """For the metadata of a client's service: that it names a limiter at all is an error of its own."""

    def repeats(key: str, value: Tree) -> bool:
        return bool(getattr(service, key.partition(".")[0], ""))

    return repeats
