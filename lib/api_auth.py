"""Checks of a request to the web API before it is answered: its Host, its origin, its rights.

Knows: DNS rebinding, cross-site requests, which role may do what.
Refuses to know: how a login is read and checked (api_logins), sessions and their cookie (api_sessions).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from lib import addresses
from lib.api_request import Refused, Who
from lib.settings_api import ADMIN, ApiSettings

READS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
CHALLENGE = (("WWW-Authenticate", 'Basic realm="tunrouter", charset="UTF-8"'),)


def check_host(settings: ApiSettings, host: str, local: str) -> None:
    """Refuse a request whose Host is not this server. Raises Refused.

    `local` is the address that the connection came to, empty for a unix socket. A page of a stranger can make
    its own name lead here (DNS rebinding). Then the browser takes us for a part of that page, and sends that
    page's name as the Host. An address is no such name; what the port says does not matter.
    """
    name = _name_of(host)
    if name in settings.hosts or not local:
        return
    if name == settings.host.lower() and name:
        return
    if addresses.is_loopback(local) and name == "localhost":
        return
    if addresses.is_address(name) and addresses.address(name) == _plain(local):
        return
    hint = f"write it into hosts: of the api section if that is right: hosts: [{name}]"
    raise Refused(403, f"the Host header names {name[:64] or 'nobody'!r}, which is not this server; {hint}")


def _name_of(host: str) -> str:
    """The name or address in a Host header, in lower case, without the port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _plain(local: str) -> object:
    try:
        found = addresses.address(addresses.without_zone(local))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def check_origin(method: str, headers: Mapping[str, str], scheme: str, by_cookie: bool = False) -> None:
    """Refuse a change that another site's page asks for. Raises Refused.

    Browsers say where a request comes from (Sec-Fetch-Site, Origin); other programs say nothing. With the
    cookie, which a browser adds by itself, saying nothing is not enough.
    """
    if method in READS:
        return
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    if site and site not in ("same-origin", "none"):
        raise Refused(403, f"a page of another site asks for this change (Sec-Fetch-Site: {site[:32]})")
    if origin:
        wanted = f"{scheme}://{headers.get('host', '')}".lower()
        if origin.lower() != wanted and not _same_behind_proxy(origin, headers):
            raise Refused(403, f"a page of {origin[:64]} asks for this change, and not one of {wanted[:64]}")
    elif by_cookie and site != "same-origin":
        raise Refused(403, "a change with the session's cookie needs an Origin header")


def _same_behind_proxy(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether only the scheme differs: a proxy before us has the TLS, and passes on the Host."""
    try:
        return bool(origin) and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


def check_rights(who: Who, method: str, needs: frozenset[str]) -> None:
    """Refuse what a role may not do; `needs` are the roles that the path is for. Raises Refused."""
    if who.role in needs:
        return
    may = "may only read" if method not in READS else "does not see this"
    raise Refused(403, f"the role {who.role} {may}: this is for {' and '.join(sorted(needs)) or ADMIN}")
