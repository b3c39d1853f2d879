"""Handlers of the web API that change who may join: /x/invite and /x/revoke, each in the audit log.

Knows: what of an invitation is a secret, and so in no log.
Refuses to know: what an invitation is (ctl_enrol).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib import api_audit, api_endpoint
from lib.api_hubs import Hubs, Row
from lib.api_request import Refused, Reply, Request
from lib.errors import HostError


class Changes:
    """The handlers."""

    def __init__(self, hubs: Hubs) -> None:
        self._hubs = hubs

    def invite(self, request: Request) -> Reply:
        """Make an invitation. It brings a login, so whoever makes one needs a login too."""
        _check_login(request, "an invitation makes a login")
        asked = self._asked(request)
        found = _written(self._hubs.invite, asked)
        gateways = [f"gateway {one}" for one in found["gateways"]]
        api_audit.tell(request, f"invite host {found['host']} to namespace {found['namespace']}", gateways)
        return Reply(found)

    def revoke(self, request: Request) -> Reply:
        """Take a host's login away, and end its sessions. Whoever takes one away needs one too."""
        _check_login(request, "a login is taken away")
        asked = self._asked(request)
        found = _written(self._hubs.revoke, asked)
        api_audit.tell(request, f"revoke host {asked['host']}", [f"sessions ended: {found['sessions']}"])
        return Reply(found)

    def _asked(self, request: Request) -> dict[str, Any]:
        asked = dict(api_endpoint.body(request))
        asked["ns"] = api_endpoint.scope(request, str(asked.get("ns") or ""))
        return asked


def _written(act: Callable[[dict[str, Any]], Row], asked: dict[str, Any]) -> Row:
    """Change a list of hosts. Raises Refused where it cannot be written, or as things are now."""
    try:
        return act(asked)
    except ValueError as why:
        raise Refused(409, str(why)) from None
    except (OSError, HostError) as error:
        raise Refused(503, str(error)) from None


def _check_login(request: Request, what: str) -> None:
    """Refuse a change of logins where the API asks for none. Raises Refused."""
    if not request.who.has_login:
        raise Refused(403, f"{what}, and this API asks for none: give it an auth")
