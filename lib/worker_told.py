"""What a worker tells the main process for the web API: the replies of its own hubs (api_own), as JSON.

    {"do": "api", "what": "about", "with": [KEY]}   ->   {"sessions": […], …}
                                                    or   {"refused": [404, "…", "…"]}

Knows: which questions of the web API are put to workers, and the form of a host's key and of a look.
Refuses to know: how replies of several workers become one (worker_hubs), what is in them (api_own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from lib import observe_stats
from lib.api_hosts import Counts, Sample
from lib.api_hubs import Key, Row, Seen
from lib.api_own import OwnHubs
from lib.api_request import Refused
from lib.cluster_hosts import LINK
from lib.service_parts import Parts
from lib.service_scheduling import in_steps

PASSED_ON = f", {LINK}"
"""Ends the way of packets that another worker sees too, and tells of."""


class Told:
    """The replies of one worker."""

    def __init__(self, parts: Parts) -> None:
        self._hubs = hubs = OwnHubs(
            parts.hubs, parts.clients, parts.tables, parts.taps, parts.since, PASSED_ON
        )
        self._acts: dict[str, Callable[..., Mapping[str, object]]] = {
            "look": self._look,
            "about": lambda key: hubs.about(read_key(key))._asdict(),
            "flows": lambda key, seconds: {"rows": hubs.flows(read_key(key), seconds)},
            "kick": lambda key, why: {"count": hubs.kick(read_key(key), why)},
            "drain": lambda key: {"count": hubs.drain(read_key(key))},
            "explain": hubs.explain,
            "routes": hubs.routes,
            "gateways": lambda ns: {"rows": hubs.gateways(ns)},
            "stats": hubs.stats,
            "clients": lambda name: {"rows": _clients(parts, name)},
        }

    def reply(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        """The reply to {"what", "with"}. Raises ValueError and KeyError for what cannot be told."""
        try:
            return self._acts[request["what"]](*request["with"])
        except Refused as refused:
            return {"refused": [refused.code, refused.message, refused.hint]}

    def _look(self) -> Mapping[str, object]:
        look = self._hubs.look()
        here = look.here()
        rows = ([written_key(key), written(seen)] for key, seen in in_steps(list(here.items())))
        enrolled = ([*written_key(key), seen] for key, seen in in_steps(list(look.enrolled().items())))
        return {"here": rows, "opened": _opened(look.met(), look.opened), "enrolled": enrolled}


def _clients(parts: Parts, name: str) -> Iterator[list[object]]:
    """The figures of each client of a service, for its observers."""
    hub = parts.hubs.get(name)
    rows = observe_stats.by_host(hub) if hub is not None else ()
    return ([client, *astuple(stats)] for client, stats in in_steps(list(rows)))


def _opened(keys: Iterator[Key], opened: Callable[[Key], int]) -> Iterator[list[object]]:
    return ([*written_key(key), opened(key)] for key in in_steps(list(keys)))


def written_key(key: Key) -> list[str]:
    """A host's key as JSON has it."""
    return [key[0], key[1].hex(), key[2]]


def read_key(row: Sequence[str]) -> Key:
    """The key of a host. Raises ValueError."""
    domain, namespace, host = row
    return domain, bytes.fromhex(namespace), host


def written(seen: Seen) -> Row:
    """A host that is connected, as JSON has it."""
    sample = seen.sample
    sessions = [[key, *counts] for key, counts in sample.sessions.items()]
    return {"sessions": sessions, "sample": sample[1:], "prefixes": seen.prefixes}


def read(row: Mapping[str, Any], worker: object) -> Seen:
    """What `worker` has told of a host. Raises ValueError, TypeError and KeyError."""
    sessions = {(worker, key): Counts(*counts) for key, *counts in row["sessions"]}
    return Seen(Sample(sessions, *row["sample"]), row["prefixes"])
