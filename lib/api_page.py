"""Paths of the web page: its files, and who looks on (`/x/me`).

Knows: that a browser keeps files by their ETag, which buttons each role has.
Refuses to know: what the files hold (page_files), how a login is checked (api_logins).

The files are for everybody, with or without a login: they hold nothing about this hub.
"""

from __future__ import annotations

import os
from functools import partial

from lib import __version__, api_gzip, api_tags, cluster_running, page_files
from lib.api_logins import ApiLogins
from lib.api_request import Refused, Reply, Request, Route, Who
from lib.ids import format_uuid
from lib.settings_api import ADMIN, TENANT, VIEWER

MAY: dict[str, tuple[str, ...]] = {
    ADMIN: ("kick", "drain", "reload", "trace"),
    TENANT: ("kick", "drain", "trace"),
    VIEWER: ("trace",),
}
"""Role -> what the page offers to it."""
_KEPT = (("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"))
"""Headers of a file: a browser keeps it, and asks each time whether it is still the same."""
_NONE = Reply(b"404 page not found", 404, "text/plain")


def routes(logins: ApiLogins) -> list[Route]:
    """The paths of the page, on a server with these logins."""
    return [
        Route("GET", "/", _file, None),
        Route("GET", "/page/<name:path>", _file, None),
        Route("GET", "/x/me", partial(_me, logins), None),
    ]


def _file(request: Request) -> Reply:
    file = page_files.find(request.path)
    if file is None:
        return _NONE
    headers = (*_KEPT, ("ETag", file.etag))
    if api_tags.is_known(request.headers, file.etag):
        return Reply(b"", 304, file.type, headers)
    if api_gzip.accepts(request.headers.get("accept-encoding", "")):
        return Reply(file.gzip_body, 200, file.type, (*headers, ("Content-Encoding", "gzip")))
    return Reply(file.body, 200, file.type, headers)


def _me(logins: ApiLogins, request: Request) -> Reply:
    """Who looks on. Without a login too it is no error, so that the page can ask for one."""
    return Reply(told(_known(logins, request), bool(logins.settings.authers)))


def told(who: Who | None, asks_for_login: bool) -> dict[str, object]:
    """What the page is told of who looks on; a stranger (None) learns only whether a login is asked for."""
    namespace = format_uuid(who.namespace) if who is not None and who.namespace is not None else None
    return {
        "login": asks_for_login,
        "user": (who.name or None) if who is not None else None,
        "role": who.role if who is not None else None,
        "namespace": namespace,
        "may": MAY[who.role] if who is not None else (),
        "cluster": who is not None and who.role != TENANT and cluster_running.is_member(),
        "software": f"tunrouter {__version__}" if who is not None else "",
        "title": os.uname().nodename if who is not None else "",
    }


def _known(logins: ApiLogins, request: Request) -> Who | None:
    try:
        return logins.who(request.headers, request.client)[0]
    except Refused:
        return None
