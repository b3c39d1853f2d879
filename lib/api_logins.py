"""Logins of the web API: basic auth, a browser's session, and roles.

Knows: whose login is right by which auther, that wrong ones are limited by address, the path of a session.
Refuses to know: what somebody may do (api_auth), how a session is kept (api_sessions).
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from lib import api_auth
from lib.api_request import (
    EVERYBODY,
    INVALID,
    Refused,
    Reply,
    Request,
    Route,
    Who,
)
from lib.api_sessions import TOKEN_BYTES, Sessions, Tries, cookie, token_of
from lib.auth_admission import Login, basic
from lib.auth_logins import EVERYTHING
from lib.ids import format_uuid
from lib.limits import stranger
from lib.rule_live import LiveLogins
from lib.service_http import login_refused
from lib.settings_api import OWN, ApiSettings

_HALVES = re.compile("[\ud800-\udfff]")
"""Halves of a surrogate pair, which JSON may have and no text: nothing checks or compares them."""
LOGIN_BYTES = 4096
"""Bytes of the body that brings a login: anybody may send one."""
_SERVER = "web API"
SESSION = "/x/session"
"""The path at which a browser logs in (POST), out (DELETE), and asks who it is (GET)."""


class ApiLogins:
    """Who may use the API of one server."""

    def __init__(self, settings: ApiSettings, logins: Callable[[str], LiveLogins]) -> None:
        """`logins` finds an auther by name."""
        self.settings = settings
        """A reload may replace these."""
        self._logins = logins
        self._sessions, self._tries = Sessions(), Tries()

    def who(self, headers: Mapping[str, str], client: str) -> tuple[Who, bool]:
        """(who asks, whether the session's cookie says so).

        Raises Refused where no login was given, a wrong one, or where it cannot be checked.
        """
        if not self.settings.authers:
            return Who(valid=lambda: not self.settings.authers), False
        token = token_of(headers.get("cookie", ""))
        if token and "authorization" not in headers:
            known = self._sessions.find(token, self._mark(), time.monotonic())
            if known is not None:
                return replace(known, valid=lambda: self._is_known(token)), True
        who = self._right(*basic(headers.get("authorization", "")), client)
        if who is None:
            asked_by_page = headers.get("sec-fetch-mode", "navigate") != "navigate"
            raise Refused(401, "Unauthorized", headers=() if asked_by_page else api_auth.CHALLENGE)
        mark = self._mark()
        return replace(who, valid=lambda: self._mark() == mark), False

    def _is_known(self, token: str) -> bool:
        return self._sessions.find(token, self._mark(), time.monotonic()) is not None

    def _right(self, username: str, password: str, client: str) -> Who | None:
        """Who has this login; None for a wrong one. Raises Refused where it cannot be checked now."""
        if not username:
            return None
        self._check_tries(client)
        try:
            who = next(
                filter(None, (self._by(name, username, password, client) for name in self._names())), None
            )
        except (OSError, KeyError):  # KeyError: a reload took the auther and could not open the new address
            self._failed(client)  # of several authers one may have said no: that is a guess too
            raise Refused(503, "logins cannot be checked at present") from None
        if who is None:
            self._failed(client)
            login_refused(_SERVER, client, "a wrong login")
        return who

    def _check_tries(self, client: str) -> None:
        """Raise Refused where this address has given too many wrong logins."""
        wait = math.ceil(self._tries.wait(_address(client), time.monotonic()))
        if wait:
            login_refused(_SERVER, client, "too many wrong logins")
            text = f"too many wrong logins from this address; the next try is in {wait} s"
            raise Refused(429, text, headers=(("Retry-After", str(wait)),))

    def _failed(self, client: str) -> None:
        self._tries.failed(_address(client), time.monotonic())

    def _names(self) -> list[str]:
        """The authers, our own first: a name of its users has their role whatever other authers say."""
        return sorted(self.settings.authers, key=lambda name: name != OWN)

    def _by(self, name: str, username: str, password: str, client: str) -> Who | None:
        """Who has this login by one auther; None for a wrong one. Raises OSError where it cannot tell.

        A login that is bound to hosts or namespaces is a host's, and none of an administrator.
        """
        logins = self._logins(name)
        grant = logins.grant(Login(username, password, client, "api"))
        if grant is None and logins.unread:
            raise OSError(logins.unread)  # it may be a right login
        if grant != EVERYTHING:
            return None
        user = next((one for one in self.settings.users if name == OWN and one.name == username), None)
        return Who(username, user.role, user.namespace, True) if user else Who(username, has_login=True)

    def _mark(self) -> object:
        """What logins are checked by at present; another object after each change of them."""
        try:
            return self.settings, *(self._logins(name).rows for name in self.settings.authers)
        except KeyError:
            return None

    def routes(self) -> list[Route]:
        """The path by which a browser logs in and out."""
        return [
            Route("POST", SESSION, self._log_in, None, LOGIN_BYTES),
            Route("DELETE", SESSION, self._log_out, EVERYBODY),
            Route("GET", SESSION, lambda request: Reply(_told(request.who)), EVERYBODY),
        ]

    def _log_in(self, request: Request) -> Reply:
        """Begin a session: {"username", "password"}; the answer has the cookie."""
        if not self.settings.authers:
            raise Refused(INVALID, "this API asks for no login")
        self._check_tries(request.client)  # before the body is read: it is a stranger's
        body = request.json()
        values = [body.get(key) for key in ("username", "password")] if isinstance(body, dict) else []
        username, password = (value if isinstance(value, str) else "" for value in values or ("", ""))
        if _HALVES.search(username + password):
            raise Refused(INVALID, "the login has half a character")
        who = self._right(username, password, request.client)
        if who is None:
            raise Refused(401, "Unauthorized")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._sessions.begin(token, who, self._mark(), time.monotonic())
        return Reply(_told(who), headers=(self._cookie(token),))

    def _log_out(self, request: Request) -> Reply:
        self._sessions.end(token_of(request.headers.get("cookie", "")))
        return Reply({"msg": "OK"}, headers=(self._cookie(""),))

    def _cookie(self, token: str) -> tuple[str, str]:
        return cookie(token, self.settings.prefix, self.settings.tls is not None)


def _address(client: str) -> str:
    """Whose wrong logins are counted together."""
    return stranger(client) if client else ""


def _told(who: Who) -> dict[str, object]:
    namespace = format_uuid(who.namespace) if who.namespace is not None else None
    return {"data": {"name": who.name, "role": who.role, "namespace": namespace, "login": who.has_login}}
