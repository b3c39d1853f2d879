"""Logins of sessions that are there already, checked again because rules have changed.

Knows: that a plugin's yes still holds, and that guesses of others must not hold up the end of a session.
Refuses to know: which sessions there are (hub), what a rule means (rule_live).
"""

from __future__ import annotations

from dataclasses import replace

from lib.auth_admission import Login
from lib.auth_lanes import Busy
from lib.auth_logins import Grant
from lib.rule_live import LiveLogins


class Believed:
    """An auther whose plugin is not asked again about a login: it has let it in. Its bindings count."""

    def __init__(self, logins: LiveLogins) -> None:
        self._logins = logins

    def grant(self, login: Login) -> Grant | None:
        """What the login may use now; None where it is wrong now. Raises as LiveLogins.grant.

        A name without a row needs no hash: who has a session cannot tell from the time which names exist.
        """
        if self._logins.plugin is not None:
            return self._logins.granted(login)
        if not self._logins.has(login.username):
            return None
        try:
            return self._logins.grant(login)
        except Busy:  # too many from its address wait; no client over TCP has the lane of no address
            return self._logins.grant(replace(login, client=""))
