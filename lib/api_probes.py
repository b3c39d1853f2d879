"""`/healthz` and `/readyz` at the web API's address, for containers and load balancers, which have no login.

Knows: who is told what is wrong: it names hosts and addresses of every tenant.
Refuses to know: what makes a process healthy or ready (ctl_health), how a login is checked (api_logins).
"""

from __future__ import annotations

from functools import partial

from lib.api_endpoint import NO_STORE
from lib.api_logins import ApiLogins
from lib.api_request import ALL_READ, Refused, Reply, Request, Route
from lib.ctl_health import Probes, in_words


def routes(logins: ApiLogins, probes: Probes) -> list[Route]:
    """The paths of the probes, on a server with these logins."""
    return [Route("GET", path, partial(_answer, logins, probes), None) for path in probes]


def _answer(logins: ApiLogins, probes: Probes, request: Request) -> Reply:
    problems = probes[request.path]()
    body = in_words(problems, bool(problems) and _may_read(logins, request)).encode()
    return Reply(body, 503 if problems else 200, "text/plain; charset=utf-8", NO_STORE)


def _may_read(logins: ApiLogins, request: Request) -> bool:
    try:
        return logins.who(request.headers, request.client)[0].role in ALL_READ
    except Refused:
        return False
