"""What the web API does not change for somebody without a login: whatever starts programs or opens files.

Knows: the keys of a configuration that run a command, name a file, ask another program, say who is let in, or
where a login goes. Refuses to know: who asks (api_auth), what a key does (the settings).

On loopback and on a unix socket the API may have no login. Any program of this host reaches it there, also
one that is no administrator's: it must get no further by that than it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from lib.api_request import Refused
from lib.config_findings import at_once

_COMMANDS = "a command that the process would run"
_FILES = "a file that the process would open"
_PLUGINS = "the address of another program that decides"
_LOGINS = "a login, or who is let in"
_WAYS = "where a client goes, with its login"
_REASONS = {
    **dict.fromkeys(("preup", "postup", "predown", "postdown", "command", "notify"), _COMMANDS),
    **dict.fromkeys(("file", "certfile", "keyfile", "cafile", "enrol", "path", "netns"), _FILES),
    **dict.fromkeys(("plugin", "redis", "http", "bindings"), _PLUGINS),
    **dict.fromkeys(("auth", "auths", "auther", "authers", "password", "passwords", "username"), _LOGINS),
    **dict.fromkeys(("admission", "admissions", "ingress", "token", "tls", "trustedproxies"), _LOGINS),
    **dict.fromkeys(("handler.type", "listener.type", "trustedproxies.header", "certhosts"), _LOGINS),
    **dict.fromkeys(("cluster", "secret"), _LOGINS),
    **dict.fromkeys(("metadata.domain", "metadata.router", "proxyprotocol"), _LOGINS),
    **dict.fromkeys(("sd", "entrypoint", "entrypoint.address", "entrypoint.allow"), _PLUGINS),
}
"""Key in lower case, or the two last ones of a place -> what it and all below it stand for.

With its types a service is guarded as a whole: none comes, none goes, and none becomes one without TLS.
"""
_KINDS = {
    "authers": _LOGINS,
    "admissions": _LOGINS,
    "ingresses": _LOGINS,
    "observers": _PLUGINS,
    "sds": _PLUGINS,
    "chains": _WAYS,  # a hop by name, a proxy before it or a plain dialer: the login goes there all the same
    "hops": _WAYS,
    "hosts": _WAYS,
}
"""Kinds of objects of which nothing may be changed."""
_REFERENCES = ("${file:", "${env:")


def check(
    kind: str,
    old: Mapping[str, object],
    new: Mapping[str, object],
    who: str = "",
    step: Callable[[], None] = at_once,
) -> None:
    """Refuse a change of an object of a kind (`services`), from `old` to `new`; an empty one is none.

    `who` asks for it, in words; empty for somebody without a login. `step` as in Findings.

    Raises Refused where a key that is guarded is added, changed or taken away.
    """
    if kind in _KINDS:
        raise _refused(kind, _KINDS[kind], who)
    before, after = dict(_guarded(old, step)), dict(_guarded(new, step))
    for place in {**before, **after}:
        if before.get(place) != after.get(place):
            raise _refused(".".join(map(str, place)), _why(place), who)


def _refused(what: str, why: str, who: str) -> Refused:
    if who:
        return Refused(403, f"for {who} the API does not change {what}, {why}")
    text = f"without a login the API does not change {what}, {why}: give the api section an auth or an auther"
    return Refused(403, text)


def _why(place: tuple[str | int, ...]) -> str:
    ends = range(1, len(place) + 1)
    return next((why for end in ends if (why := _reason(place[:end]))), _FILES)


def _reason(place: tuple[str | int, ...]) -> str:
    """What the last key of a place stands for; "" where it is not guarded."""
    key = str(place[-1]).lower()
    names = (key, key.rpartition(".")[2], ".".join(map(str, place[-2:])).lower())
    return next((_REASONS[name] for name in names if name in _REASONS), "")


def _guarded(
    value: object, step: Callable[[], None], place: tuple[str | int, ...] = (), below: bool = False
) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Every value that is guarded, by its place."""
    step()
    if isinstance(value, Mapping):
        for key, inner in value.items():
            key = str(key).lower()
            is_url_path = key in ("path", "ws.path") and "metadata" in place
            inside = (*place, key)
            yield from _guarded(inner, step, inside, below or (bool(_reason(inside)) and not is_url_path))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _guarded(inner, step, (*place, index), below)
    elif below or (isinstance(value, str) and any(mark in value for mark in _REFERENCES)):
        yield place, value
