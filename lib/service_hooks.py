"""Hooks of the services of a process: which commands run when, what they are told, and what a failure means.

    preUp      once the port or the device is there, before a client is let in or a hub dialled;
               where one fails, the service does not start
    postUp     once the service serves; it goes on meanwhile
    preDown    while the service still serves, before it ends
    postDown   when the port or the device has gone; also after a preUp that has failed, to clean up after it

Knows: the order, the facts in environment variables, that services do not wait for each other's hooks.
Refuses to know: how a command runs (service_command), when a service comes and goes (service_parts).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

import gevent
from gevent.pool import Pool

from lib import service_command, service_environment
from lib.addresses import join_host_port
from lib.errors import HostError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_privileges import NET_ADMIN
from lib.settings import ClientSettings, HubSettings
from lib.settings_dial import netns_path
from lib.settings_hooks import NO_HOOKS, POST_DOWN, POST_UP, PRE_DOWN, PRE_UP, HookSettings

AT_ONCE = 16
"""Commands of different services that run at the same time."""


class Place(NamedTuple):
    """A service for its hooks: what they are, and the facts that they are told."""

    name: str
    hooks: HookSettings
    facts: dict[str, str]
    """Environment variables."""


def place(settings: HubSettings | ClientSettings, where: str) -> Place:
    """The place of a service; `where` is a hub's address:port, or the name of a client's device."""
    if settings.hooks is NO_HOOKS:
        return Place(settings.name, NO_HOOKS, {})
    facts = {"SERVICE": settings.name}
    if isinstance(settings, HubSettings):
        facts |= {"ROLE": "hub", "ADDRESS": where}
    else:
        device, hub = settings.device, settings.nodes[0]
        facts |= {
            "ROLE": "client",
            "HOST": settings.host,
            "DEVICE": where,
            "ADDRESSES": " ".join(map(str, device.addresses)),
            "ROUTES": " ".join(str(net) for net, _ in device.routes),
            "MTU": str(device.mtu),
            "HUB": join_host_port(hub.host, hub.port),
        }
    netns = settings.netns if isinstance(settings, HubSettings) else settings.device.netns
    if netns:
        facts["NETNS"] = netns_path(netns)
    return Place(settings.name, settings.hooks, {f"TUNROUTER_{key}": text for key, text in facts.items()})


class HookRunner:
    """Runs the hooks of services, and remembers which services have to be cleaned up after."""

    def __init__(self) -> None:
        self._begun: dict[str, Place] = {}
        """Services whose preUp has begun: they get a postDown."""
        self._served: dict[str, Place] = {}
        """Those that have begun to serve: they get a preDown."""
        self._after: dict[str, gevent.Greenlet] = {}
        """Service -> what runs its postUp."""

    def opened(self, one: Place) -> None:
        """The service's port or device is there: run its preUp. Raises HostError where one fails."""
        if one.hooks is NO_HOOKS:
            return
        self._begun[one.name] = one
        failure = self._run(one, PRE_UP)
        if failure:
            raise HostError(f"service {one.name}: {failure}")

    def serves(self, one: Place) -> None:
        """The service has started: run its postUp, which nobody waits for."""
        if one.hooks is not NO_HOOKS:
            self._begun[one.name] = self._served[one.name] = one
            self._after[one.name] = gevent.spawn(self._run_all, one, POST_UP)

    def ends(self, some: Iterable[Place]) -> None:
        """These services are about to end: wait for their preDown."""
        self._together([one for one in some if self._served.pop(one.name, None) is not None], PRE_DOWN)

    def gone(self, names: Iterable[str]) -> None:
        """These services have ended: wait for their postDown."""
        self._together([self._begun.pop(name) for name in names if name in self._begun], POST_DOWN)

    def serving(self) -> list[str]:
        """The services that a preDown has still to be run for."""
        return list(self._served)

    def rest(self) -> list[str]:
        """The services that a postDown has still to be run for."""
        return list(self._begun)

    def _together(self, places: list[Place], phase: str) -> None:
        for one in places:
            if one.name in self._begun:  # a reload may have given it other hooks
                self._begun[one.name] = one
        pool = Pool(AT_ONCE)
        for one in places:
            pool.spawn(self._run_down, one, phase)
        try:
            pool.join()
        finally:
            pool.kill()

    def _run_down(self, one: Place, phase: str) -> None:
        after = self._after.pop(one.name, None)
        if after is not None:
            after.kill()  # a postUp that still runs would be at work beside a preDown
        self._run_all(one, phase)

    def _run_all(self, one: Place, phase: str) -> None:
        """Run all commands of a phase, whichever of them fail: each may clean up something of its own."""
        for words in one.hooks.of(phase):
            self._one(one, phase, words)

    def _run(self, one: Place, phase: str) -> str:
        """Run the commands of a phase up to the first that fails; returns why it has, or ""."""
        failures = (self._one(one, phase, words) for words in one.hooks.of(phase))
        return next(filter(None, failures), "")

    @staticmethod
    def _one(one: Place, phase: str, words: tuple[str, ...]) -> str:
        """Run one command; returns why it has failed, or "". Its arguments, perhaps secrets, are not told."""
        environ = {**service_environment.whole(os.environ), **one.facts, "TUNROUTER_HOOK": phase}
        outcome = service_command.run(words, environ, one.hooks.seconds, capability=NET_ADMIN)
        program = words[0]
        if outcome.failure:
            say(
                Entry.HOOK_FAILED, "service %s: %s: %s: %s", one.name, phase, program, outcome,
                fold=f"{one.name} {phase}", habit=OUTAGE,
                service=one.name, hook=phase, program=program, reason=str(outcome),
            )  # fmt: skip
            return f"{phase}: {program}: {outcome}"
        say(
            Entry.HOOK_RAN, "service %s: %s: %s", one.name, phase, program,
            service=one.name, hook=phase, program=program, said=outcome.said,
        )  # fmt: skip
        return ""
