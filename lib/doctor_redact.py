"""Redaction for `tunrouter doctor --bundle`: a configuration and other texts without any secret.

Knows: which keys of a configuration hold secrets, which settings do, in which forms a secret may stand in a
text. Refuses to know: files (doctor_bundle), patterns of secrets in URLs (log_redact).

A secret is hidden twice: by the key that it stands under, and, in every text of the bundle, by its value.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from lib import log_redact
from lib.config_findings import at_once
from lib.settings import AutherSettings, Settings
from lib.settings_sources import PluginSettings, RedisSource

HIDDEN = log_redact.HIDDEN
SECRET_KEYS = frozenset(
    {"password", "passwords", "passwd", "pass", "token", "secret", "auth", "authorization", "credential"}
    | {"header", "headers", "requestheader", "responseheader", "passphrase", "apikey", "sig", "signature"}
    | {"command", "preup", "postup", "predown", "postdown"}
)
"""Keys, in lower case, below which every value is hidden; names of users stay."""
_HARMLESS = frozenset({"username", "hosts", "namespaces", "name", "file"})
SHORTEST = 3
"""Letters of a secret that is hidden wherever it stands: a shorter one would hide half of a text."""


def tree(value: object, is_secret: bool = False, step: Callable[[], None] = at_once) -> object:
    """A configuration (dicts, lists, scalars) with every secret hidden. `step` as in Findings."""
    step()
    if isinstance(value, str):  # first, as most are
        return HIDDEN if is_secret and value else log_redact.secrets(value)
    if isinstance(value, Mapping):
        return {key: _of_key(str(key), inner, is_secret, step) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [tree(inner, is_secret, step) for inner in value]
    return HIDDEN if is_secret and value not in (None, True, False) else value


def _of_key(key: str, value: object, is_secret: bool, step: Callable[[], None]) -> object:
    folded = key.lower()
    if folded == "notify" and isinstance(value, Mapping | list | tuple):
        return _of_receiver(value, is_secret)
    return tree(value, (is_secret and folded not in _HARMLESS) or _is_secret(folded), step)


def _of_receiver(value: object, is_secret: bool) -> object:
    """Of `notify`, or an item of it: the path of its URL may be the secret, as Slack's is."""
    if isinstance(value, list | tuple):
        return [_of_receiver(one, is_secret) for one in value]
    hidden = tree(value, is_secret)
    if not isinstance(hidden, dict):
        return hidden
    return {key: HIDDEN if str(key).lower() == "url" and inner else inner for key, inner in hidden.items()}


def _is_secret(folded: str) -> bool:
    """Whether a key in lower case is one of a secret, however it is spelled."""
    return folded in SECRET_KEYS or (
        not folded.isalpha() and folded.replace("_", "").replace("-", "").rpartition(".")[2] in SECRET_KEYS
    )


def secrets(settings: Settings) -> Iterator[str]:
    """The value of every secret in the settings."""
    for client in settings.clients:
        yield from _of_owners(*client.hops)
        for node in client.nodes:
            yield node.password
            yield from (proxy.password for proxy in node.proxies)
            yield from (value for _, value in node.transport.headers)
    for hub in settings.hubs:
        yield from (value for _, value in hub.transport.headers)
        yield from (secret for auther in hub.authers for secret in _of_auther(auther))
        yield from _of_owners(hub.ingress, *hub.limiters, *hub.admissions)
        yield from _of_owners(hub.entrypoint.sd) if hub.entrypoint is not None else ()
        yield from _of_redis(hub.enrol) if isinstance(hub.enrol, RedisSource) else ()
    for _, observe in settings.observed:
        for observation in observe.observations:
            yield from _of_owners(observation.observer)
    if settings.cluster is not None:
        yield settings.cluster.secret
        yield from _of_redis(settings.cluster.registry)
    for receiver in settings.notify:  # the path of a URL may be the secret, as Slack's is
        yield from (receiver.url, *(value for _, value in receiver.headers))
    yield from (secret for auther in settings.authers for secret in _of_auther(auther))
    yield from _of_owners(*settings.tables)


def _of_auther(auther: AutherSettings) -> Iterator[str]:
    for row in auther.logins:
        yield from (row.password, *row.others)
    yield from _of_owners(auther, auther.bindings)


def _of_owners(*owners: object) -> Iterator[str]:
    for owner in owners:
        plugin = getattr(owner, "plugin", None)
        if isinstance(plugin, PluginSettings):
            yield plugin.token
        for source in getattr(getattr(owner, "more", None), "sources", ()):
            if isinstance(source, RedisSource):
                yield from _of_redis(source)


def _of_redis(source: RedisSource) -> Iterator[str]:
    yield from (source.password, source.sentinel.password)


def hide(text: str, known: Iterable[str]) -> str:
    """A text without the known secrets, in whatever form they stand there, nor logins in URLs."""
    forms = {form for secret in known if len(secret) >= SHORTEST for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return log_redact.secrets(text)


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, in a URL, in JSON, and in base64 at each place of three bytes."""
    data = _bytes(secret)
    yield from (secret, quote(data), quote(data, safe=""), quote_plus(data))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    for before in range(3):
        whole = b64encode(b"\0" * before + data).decode()
        inner = whole[-(-before * 8 // 6) :].rstrip("=")[: len(data) * 8 // 6 - 1]
        if len(inner) >= 6:
            yield inner


def _bytes(text: str) -> bytes:
    """A text as bytes; it may hold bytes that were no UTF-8, or halves of characters from JSON."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
