"""The `status` of a service in GOST's shape: since when it is there, its state, and what has happened.

Knows: GOST's states and the words of its events. Refuses to know: requests (api_routes), our own status of
sessions (ctl_status).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lib import observe_stats
from lib.api_process import Process
from lib.api_request import encoded
from lib.client import Client
from lib.hub import Hub
from lib.observe_stats import Stats

FAILED, RUNNING, READY = "failed", "running", "ready"


def status(process: Process, name: str) -> dict[str, object]:
    """The status of a service of the configuration, by its name.

    A hub is ready while it listens, a client while it has a session; a client without one is running. A
    service that this host does not allow has failed.
    """
    service = process.hubs.get(name) or process.clients.get(name)
    since = int(process.since.get(name, 0))
    if service is None:
        return {"createTime": since, "state": FAILED, "events": []}
    state = _state(service)
    words = ["is running", *(["is ready"] if state == READY else []), *_listening(service)]
    events = [{"time": since, "msg": f"service {name} {word}"} for word in words]
    observe = service.settings.observe
    stats = {"stats": _stats(service).fields()} if observe is not None and observe.enable_stats else {}
    return {"createTime": since, "state": state, "events": events, **stats}


class States:
    """The statuses of services at one moment, as JSON: for one answer, and for its entity tag.

    As bytes, since dicts of a thousand services would be looked at by the garbage collector in one long step.
    """

    def __init__(self, process: Process, names: Iterable[str], step: Callable[[], None]) -> None:
        """`step` is called after each of them."""
        self._known: dict[str, bytes] = {}
        for name in names:
            self._known[name] = encoded(status(process, name))
            step()

    def of(self, name: str) -> bytes | None:
        """The status of one service; None where it is none of these."""
        return self._known.get(name)

    def all(self) -> Iterable[bytes]:
        """All of them."""
        return self._known.values()


def _stats(service: Hub | Client) -> Stats:
    return observe_stats.of_hub(service) if isinstance(service, Hub) else observe_stats.of_client(service)


def _state(service: Hub | Client) -> str:
    if service.fault():
        return FAILED
    if isinstance(service, Hub):
        return READY if service.listens else FAILED
    return READY if service.session is not None else RUNNING


def _listening(service: Hub | Client) -> list[str]:
    if isinstance(service, Hub):
        return [f"is listening on {service.address}"] if service.listens else []
    return [f"is listening on {service.device_name}"]
