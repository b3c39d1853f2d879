"""Parser for one -L or -F URL, as Go's url.Parse and GOST do it.

Knows: schemes, login, address, path and parameters. Refuses to know: what the parts are used for
(config_from_urls).

    handler+listener :// user:pass @ addr / path ? key=value & key=value
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from lib.config_findings import Findings
from lib.config_schema import Auth
from lib.errors import Position

_URL = re.compile(r"(?:([^:/?#]*)://)?([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_ESCAPED_ZONE = re.compile(r"(\[[^\]%]*)%25([^\]]+\])")
"""The %device of an IPv6 address in a URL, as RFC 6874 wants it; a bare % is understood as well."""
_UNSET = "perhaps a variable that is not set"
_NO_ESCAPE = "a % without two hex digits (write %25 for a %)"
_ENCODED_PATH = re.compile(r"([\w\-.~!$&'()*+,;=:@\[\]/]|%[0-9a-fA-F]{2})*", re.ASCII)
_PATH_SAFE = "$&+,/:;=@"
"""What Go leaves as it is, beside letters, digits and `-_.~`, where it encodes a path."""
_SECURITY = frozenset(
    {"pin", "auth", "auther", "authers", "ingress", "certhosts", "cert", "key", "ca"}
    | {
        f"{tls}{name}"
        for tls in ("", "tls.")
        for name in ("certfile", "keyfile", "cafile", "secure", "servername")
    }
)
"""Parameters, in lower case, without which less is checked: an empty one is not the same as none."""
_UNREADABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(slots=True)
class Url:
    """The parts of a URL; `params` keep their spelling and order, their values are decoded."""

    where: Position
    schemes: tuple[str, str]
    auth: Auth | None
    addr: str
    path: str
    """As written, without slashes around it."""
    params: dict[str, str]

    def take(self, *names: str) -> str:
        """The value of the first of these parameters (in lower case) that is set; "" where none is."""
        lower = {key.lower(): value for key, value in self.params.items()}
        return next((lower[name] for name in names if lower.get(name)), "")


def encoded_path(path: str) -> str:
    """A path as GOST reads it, without slashes around it: percent-encoded unless it is already.

    This is Go's URL.EscapedPath: `höst` becomes `h%C3%B6st`, which stays as it is. GOST announces that.
    """
    if not _ENCODED_PATH.fullmatch(path):
        path = quote(unquote_to_bytes(path), _PATH_SAFE)
    return path.strip("/")


def parse_url(text: str, where: Position, found: Findings) -> Url | None:
    """The parts of a URL; None where it cannot be parsed, which is a problem in `found`."""
    text = text.strip()
    matched = _URL.fullmatch(text if "://" in text.partition("?")[0] else f"auto://{text}")
    wrong = _what_is_wrong(text)
    if wrong or matched is None:
        found.error(where, f"{wrong or 'not a URL'}: {text[:100]!r}")
        return None
    scheme, authority, path, query, _ = matched.groups()
    if _BAD_ESCAPE.search(path):
        found.error(where, f"{_NO_ESCAPE}: {text[:100]!r}")
        return None
    userinfo, _, addr = authority.rpartition("@")
    addr = _ESCAPED_ZONE.sub(r"\1%\2", addr)
    url = Url(where, _schemes(scheme), _login(userinfo, where), addr, path.strip("/"), {})
    for pair in filter(None, (query or "").split("&")):
        key, _, value = pair.partition("=")
        if unquote_plus(key) in url.params:
            found.warn(where, f"{unquote_plus(key)!r} is given twice: the first counts")
        url.params.setdefault(unquote_plus(key), unquote_plus(value))
    if "@" in authority and not (url.auth and url.auth.username):
        found.error(where, f"a login without a name: {_UNSET}")
    for key, value in url.params.items():
        if key.lower() in _SECURITY and not value.strip():
            found.error(where, f"{key!r} is empty: {_UNSET}")
    _auth_parameter(url, found)
    return url


def _what_is_wrong(text: str) -> str:
    checks = (
        (not text, "an empty URL"),
        (_UNREADABLE.search(text), "a control character in a URL"),
        (_BAD_ESCAPE.search(text.partition("?")[2]), _NO_ESCAPE),
        ("#" in text, "a # in a URL (write %23)"),
    )
    return next((words for wrong, words in checks if wrong), "")


def _schemes(scheme: str | None) -> tuple[str, str]:
    """(handler or connector, listener or dialer) of a scheme; a single word is both."""
    lower = (scheme or "").lower()
    upper, plus, transport = ("http+tls" if lower == "https" else lower).partition("+")
    return upper, transport if plus else upper


def _login(userinfo: str, where: Position) -> Auth | None:
    if not userinfo:
        return None
    username, _, password = userinfo.partition(":")
    return Auth(username=unquote(username), password=unquote(password), at={"": where})


def _auth_parameter(url: Url, found: Findings) -> None:
    """Take the login from `auth=`, base64 of user:pass, where the URL itself has no user."""
    text = url.take("auth")
    if not text or url.auth:
        return
    try:
        username, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        url.auth = Auth(username=username, password=password, at={"": url.where})
    except (binascii.Error, ValueError):
        found.error(url.where, "'auth' is not the base64 of user:pass")
