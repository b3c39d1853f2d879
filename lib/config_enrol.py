"""`enrol` of a hub's handler: where its list of enrolled hosts is kept, checked and turned into settings.

Knows: a path, or a `redis` section in metadata.
Refuses to know: what is in the list (enrol_book), how it is read (enrol_live).
"""

from __future__ import annotations

from lib import config_metadata, config_read
from lib.config_findings import Findings
from lib.config_schema import Handler
from lib.config_schema_redis import Redis
from lib.config_sources import redis_source
from lib.config_yaml import Mapping, Scalar, Tree
from lib.settings_sources import EnrolSource, FileSource, RedisSource

DEFAULT_KEY = "tunrouter:hosts"
_WANTED = "'enrol' wants a path, or {redis: {addr: HOST:PORT}}"


def enrol(handler: Handler, found: Findings) -> EnrolSource | None:
    """The list of enrolled hosts that a hub names; None without one. Each mistake is a problem in `found`."""
    config_metadata.refuse_empty(handler, "enrol", found)
    tree = config_metadata.find(handler, "enrol")
    if tree is None:
        return None
    if isinstance(tree, Scalar):
        return _file(tree, found)
    if not isinstance(tree, Mapping) or [key.text.lower() for key, _ in tree.items] != ["redis"]:
        found.error(tree.where, _WANTED)
        return None
    return _redis(tree.items[0][1], found)


def _file(tree: Scalar, found: Findings) -> FileSource | None:
    if tree.text.endswith("/") or "\0" in tree.text:
        found.error(tree.where, f"'enrol': {tree.text[:64]!r} is no path of a file", _WANTED)
        return None
    return FileSource(tree.text)


def _redis(tree: Tree, found: Findings) -> RedisSource | None:
    if not isinstance(tree, Mapping):
        found.error(tree.where, _WANTED)
        return None
    section = config_read.of_tree(Redis, tree, found)
    section.key = section.key or DEFAULT_KEY
    return redis_source(section, ("hash",), found)
