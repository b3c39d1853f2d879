"""The key `workers`, and what does not hold across workers: refused where it is written.

Knows: what each worker would do by itself, and so would be done twice, or be allowed twice.
Refuses to know: what a worker is (worker_process), what a reload may change (settings_workers).
"""

from __future__ import annotations

from collections.abc import Sequence

from lib.config_findings import Findings
from lib.config_metadata import find, where_of
from lib.config_schema import Config, Handler, Service
from lib.errors import Position
from lib.settings import ClientSettings, HubSettings

AUTO, MOST = "auto", 64
_ALONE = "leave out one of the two"

Hubs = Sequence[tuple[Service, HubSettings]]
Clients = Sequence[tuple[Service, ClientSettings]]


def worker_count(config: Config, hubs: Hubs, clients: Clients, found: Findings) -> int:
    """How many workers there are: 1 for none, 0 for one for each processor.

    With several, each key that does not hold across workers is a problem in `found`.
    """
    text = config.workers.strip().lower()
    if not text or text == "1":
        return 1
    where = config.where("workers")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
    if text != AUTO and not 1 <= number <= MOST:
        found.error(where, f"'workers': {config.workers[:32]!r} is neither auto nor 1 to {MOST}")
        return 1
    if not hubs:
        found.error(where, "'workers' without a hub: only sessions of hubs are in workers")
        return 1
    for client, _ in found.each(clients):
        _refuse(
            found, client.where(), f"service {client.name} has a device", "run it in a process of its own"
        )
    for service, settings in found.each(hubs):
        _check_hub(service, settings, found)
    _check_domain(hubs, found)
    found.notice(
        where,
        "workers: a session has one lane, and status counts anew with a new worker",
    )
    return number


def _refuse(found: Findings, where: Position, what: str, hint: str = _ALONE) -> None:
    found.error(where, f"{what}, which does not hold across workers yet", hint)


def _check_hub(service: Service, settings: HubSettings, found: Findings) -> None:
    handler = service.handler or Handler(at=service.at)
    here = f"service {service.name}"
    if settings.lanes > 1 and find(handler, "lanes") is not None:
        _refuse(found, where_of(handler, "lanes"), f"{here}: 'lanes: 2'", "write lanes: 1")
    _check_limits(service, handler, settings, found)


def _check_limits(service: Service, handler: Handler, settings: HubSettings, found: Findings) -> None:
    """Limits that several sessions share: each worker would allow as much."""
    shared = [row for row in settings.limits.services if row.key != "$$"]
    if shared:
        hint = "give it only $$ rows, which each connection has for itself"
        text = f"service {service.name}: a limiter that several connections share"
        _refuse(found, service.where("limiter"), text, hint)
    if settings.limits.hosts:
        _refuse(found, handler.where("limiter"), f"service {service.name}: limits of hosts")
    if settings.limiters:
        text = f"service {service.name}: limits that come from a source or a plugin"
        _refuse(found, service.where(), text, "write their rows in the file")


def _check_domain(hubs: Hubs, found: Findings) -> None:
    _, first = hubs[0]
    for service, settings in hubs[1:]:
        if not settings.domain or settings.domain != first.domain:
            text = f"services {first.name} and {service.name} do not share a domain"
            hint = "give both the same domain: hosts in several workers reach each other in one domain only"
            _refuse(found, service.where("handler"), text, hint)
