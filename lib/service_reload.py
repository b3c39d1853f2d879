"""A reload: the settings are read again, and only what differs is changed in the running process.

Knows: what is added, changed and removed, in which order, and what the log says about it.
Refuses to know: when a reload is due (service), what changes inside a service (hub, client, hub_tables).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from gevent.lock import RLock

from lib import (
    log_setup,
    namespace_titles,
    service_policy,
    service_preload,
    service_release,
    service_servers,
)
from lib.errors import ConfigError, HostError, Problem
from lib.log_events import Entry
from lib.log_setup import over, say
from lib.service_parts import Parts, label
from lib.service_scheduling import Breaths, in_steps
from lib.settings import ClientSettings, HubSettings, Settings
from lib.settings_diff import differences, only_named

Reread = Callable[[Callable[[], None]], Settings]
"""Reads the settings again and returns them, with a call of its argument after each little piece of work.

Raises ConfigError and HostError where that fails.
"""


class Reloads:
    """Reloads of a process, one after the other."""

    def __init__(self, reread: Reread) -> None:
        self.reread = reread
        self.parts: Parts | None = None
        """What is reloaded; set once it is open."""
        self.after: Callable[[], None] = lambda: None
        """Called after each reading of the files, and after every other change."""
        self.one: AbstractContextManager[object] = RLock()
        """While it is held, nobody else changes anything."""

    def reload(self, timed: bool = False) -> list[str]:
        """Read the files again and use them; returns what is wrong. Nobody has asked for a `timed` one."""
        with self.one:
            if not timed:
                self._refresh()
            problems = self._reload(self.reread)
            self.after()
            return problems

    def _refresh(self) -> None:
        """Read sources again."""
        self._parts.tables.refresh()

    def _reload(self, reread: Reread) -> list[str]:
        """Use what `reread` returns; returns what is wrong with it."""
        return reload(self._parts, reread)

    @property
    def _parts(self) -> Parts:
        assert self.parts is not None
        return self.parts


def reload(parts: Parts, reread: Reread) -> list[str]:
    """Read the settings again and change in the running process what differs, while packets are forwarded.

    Where the settings cannot be read, have a mistake, or fail a policy test that is new or has held until
    now, nothing is changed and the problems are logged. Returns these problems.
    """
    step = Breaths()
    over(Entry.RELOAD_FAILED)
    try:
        new = checked(parts, reread, step)
    except (ConfigError, HostError) as error:
        if isinstance(error, ConfigError):
            _tell_new(Entry.CONFIG_WARNING, error.warnings, parts.settings.warnings, step)
        return tell_problems(error, step)
    use(parts, new, step)
    return []


def change(parts: Parts, made: Reread) -> list[tuple[str, str]]:
    """Use other settings, as a reload does. Raises ConfigError and HostError; then nothing has changed.

    Returns (service, why) for each service that this host does not allow: it stays as it was, or does not
    run.
    """
    step = Breaths()
    return use(parts, checked(parts, made, step), step)


def checked(parts: Parts, reread: Reread, step: Callable[[], None]) -> Settings:
    """The settings read again, with everything loaded that they need, and no policy test newly failing.

    Nothing has changed yet. Raises ConfigError and HostError.
    """
    new = read(reread, step)
    if new is not parts.settings:
        service_preload.load(new, step)
        service_policy.refuse(new, parts.settings, parts.tables, step)
    return new


def read(reread: Reread, step: Callable[[], None]) -> Settings:
    """The settings read again. Raises ConfigError and HostError."""
    try:
        return reread(step)
    except (ImportError, SystemExit) as error:  # as in service_preload: what reads may need one module more
        text = f"what the configuration needs cannot be loaded any more: {error}; start tunrouter anew"
        raise HostError(text) from error


def use(
    parts: Parts, new: Settings, step: Callable[[], None], is_other: bool = False
) -> list[tuple[str, str]]:
    """Change what differs; returns (service, why) for each service that this host does not allow.

    `is_other` says that another process has changed something for this reload.
    """
    api = parts.api
    try:
        return _change(parts, new, step, is_other)
    finally:
        if api is not None and parts.api is not api:
            api.end_soon()  # only now: somebody there may be waiting to hear of this


def _change(parts: Parts, new: Settings, step: Callable[[], None], is_other: bool) -> list[tuple[str, str]]:
    old, parts.settings = parts.settings, new
    _tell_new(Entry.CONFIG_WARNING, new.warnings, old.warnings, step)
    _tell_new(Entry.CONFIG_NOTICE, new.notices, old.notices, step)
    lines = [*_apply_log(parts, old, new), *parts.tapping.record(new.recorder), *parts.tables.apply(new)]
    lines += service_servers.apply_metrics(parts, old, new)
    lines += service_servers.apply_api(parts, old, new)
    lines += parts.notify.apply(new.notify)
    lines += _apply_titles(old, new)
    failed: list[tuple[str, str]] = []
    counts = _apply_services(parts, new, lines, failed, step, old)
    lines += parts.cluster.apply(parts.hubs.values(), new.cluster)
    used = [hub.settings for hub in parts.hubs.values()]
    lines += parts.observe.apply()
    label(new)
    lines += parts.tables.leave(new, used)  # only now does no service use them any more
    _end_troubles(new, old)
    service_release.later([old])
    for line in lines:
        say(Entry.RELOAD_CHANGE, "reload: %s", line, change=line)
        step()
    summary = " ".join(f"{sign}{counts[sign]}" for sign in "+~-")
    if any(hub.unchecked for hub in parts.hubs.values()):
        parts.recheck()
    text = f"done, services {summary}" if lines or is_other else "nothing is different"
    added, changed, removed = (counts[sign] for sign in "+~-")
    say(Entry.RELOAD_DONE, "reload: %s", text, added=added, changed=changed, removed=removed)
    return failed


def _end_troubles(new: Settings, old: Settings) -> None:
    """What is not there any more has no troubles; certificates that others have come for have none either."""
    if new is not old:
        services = {hub.name for hub in new.hubs} | {client.name for client in new.clients}
        log_setup.keep_troubles_of(services, {table.name for table in new.tables})
        over(Entry.CERTIFICATE_FAILED)


def tell_problems(error: ConfigError | HostError | OSError, step: Callable[[], None]) -> list[str]:
    """Log why a reload has changed nothing; returns the problems as texts."""
    problems = error.problems if isinstance(error, ConfigError) else (error,)
    for problem in problems:
        say(Entry.RELOAD_FAILED, "reload: %s", problem, service="", reason=problem)
        step()
    reason = "nothing was changed: the last good configuration stays in use"
    say(Entry.RELOAD_FAILED, "reload: %s", reason, service="", reason=reason)
    return list(map(str, problems))


def _tell_new(event: Entry, new: Sequence[Problem], old: Sequence[Problem], step: Callable[[], None]) -> None:
    """Log those findings that were not there before."""
    if new is old:
        return
    told = set()
    for finding in old:
        told.add(finding)
        step()
    for finding in new:
        if finding not in told:
            log_setup.say_problem(event, finding)
        step()


def _apply_services(
    parts: Parts,
    new: Settings,
    lines: list[str],
    failed: list[tuple[str, str]],
    step: Callable[[], None],
    old: Settings | None = None,
) -> Counter[str]:
    """Remove, change and add services; returns how many of each, by "-", "~" and "+".

    Adds to `lines`, and (service, why) to `failed` for those that this host does not allow. Hubs whose
    settings are the very same as in `old`, with all that they name, are not looked at.
    """
    counts: Counter[str] = Counter()
    hubs, clients = {hub.name for hub in new.hubs}, {client.name for client in new.clients}
    for name in [name for name in parts.hubs if name not in hubs]:
        parts.remove_hub(name)
        lines.append(f"service {name}: removed")
        counts["-"] += 1
    removed = [name for name in parts.clients if name not in clients]
    parts.remove_clients(removed)
    for name in removed:
        lines.append(f"service {name}: removed")
        counts["-"] += 1
    touched = _touched(old, new)
    for hub in new.hubs:
        running = parts.hubs.get(hub.name)
        if running is not None and running.settings is hub and not touched(hub):
            continue
        _guarded(parts, hub.name, lines, failed, counts, partial(_apply_hub, parts, hub, new))
        step()
    for client in new.clients:
        _guarded(parts, client.name, lines, failed, counts, partial(_apply_client, parts, client))
        step()
    _settle(parts, new)
    parts.domains.keep_only(hub.settings for hub in parts.hubs.values())
    return counts


def _touched(old: Settings | None, new: Settings) -> Callable[[HubSettings], bool]:
    """Whether another table may be in use by a hub whose own settings are the same object."""
    if old is None:
        return lambda hub: True
    same = {id(table) for table in old.tables} & {id(table) for table in new.tables}
    others = [table for table in (*old.tables, *new.tables) if id(table) not in same]
    names = {table.name for table in others}
    every = any(table.namespace is not None for table in others) or old.titles != new.titles
    return lambda hub: every or (hub.default_table is not None and hub.default_table.name in names)


def _settle(parts: Parts, new: Settings) -> None:
    """Take away what no client wants any more in nftables; one that could not be changed wants it still."""
    if parts.shared is None:
        return
    try:
        parts.shared.exits.settle([*new.clients, *(client.settings for client in parts.clients.values())])
    except HostError as error:
        say(Entry.RELOAD_FAILED, "reload: %s", error, service="", reason=error)


def _guarded(
    parts: Parts,
    name: str,
    lines: list[str],
    failed: list[tuple[str, str]],
    counts: Counter[str],
    apply: Callable[[], tuple[str, list[str]]],
) -> None:
    """Apply one service's settings. Where this host does not allow them the service stays as it is.

    One that had to be made anew has ended before: it does not run then, and the next reload tries again.
    """
    try:
        kind, done = apply()
    except HostError as error:
        runs = name in parts.hubs or name in parts.clients
        outcome = "it stays as it was" if runs else "it does not run; the next reload tries again"
        text = "reload: service %s: %s; %s"
        say(Entry.RELOAD_FAILED, text, name, error, outcome, service=name, reason=error)
        failed.append((name, str(error)))
        parts.recheck()  # its rules may be others all the same
        return
    over(Entry.RELOAD_FAILED, name)
    counts[kind] += bool(done)
    lines += [f"service {name}: {line}" for line in done]


def _apply_hub(parts: Parts, settings: HubSettings, new: Settings) -> tuple[str, list[str]]:
    hub = parts.hubs.get(settings.name)
    if hub is None:
        parts.add_hub(settings, new)
        return "+", ["added"]
    domain = parts.domains.of(settings, new.tables)
    named = only_named(hub.settings, settings) if domain is hub.domain else None
    if named in ([], ["default_table"]):
        hub.use(settings)  # thousands of hubs may have one table
        return "~", []
    changed = differences(hub.settings, settings, named)
    if named is None:
        return "~", [*changed, *hub.apply(settings, domain)]
    hub.use(settings)
    return "~", [*changed, *hub.recheck()]


def _apply_client(parts: Parts, settings: ClientSettings) -> tuple[str, list[str]]:
    with parts.one_maker:
        return _change_client(parts, settings)


def _change_client(parts: Parts, settings: ClientSettings) -> tuple[str, list[str]]:
    client = parts.clients.get(settings.name)
    changed = differences(client.settings, settings) if client is not None else []
    parts.of_clients().exits.admit([settings])
    done = client.apply(settings) if client is not None else None
    if done is None:
        if client is not None:
            parts.remove_clients([settings.name])
        parts.add_client(settings)
        return ("~", [*changed, "made anew"]) if client is not None else ("+", ["added"])
    return "~", [*changed, *done]


def _apply_titles(old: Settings, new: Settings) -> list[str]:
    if old.titles == new.titles:
        return []
    service_release.later(namespace_titles.use(in_steps(new.titles)))
    return [f"titles of namespaces: {len(old.titles)} -> {len(new.titles)}"]


def _apply_log(parts: Parts, old: Settings, new: Settings) -> list[str]:
    wanted, had = ((s.log_level, s.log_format, s.log_output) for s in (new, old))
    if wanted == had and new.log_rotation == old.log_rotation:
        return []
    try:
        log_setup.setup(*wanted, new.log_rotation)
    except HostError as error:
        say(Entry.RELOAD_FAILED, "reload: %s", error, service="", reason=error)
        parts.settings = replace(  # so that the next reload tries again
            parts.settings,
            log_level=old.log_level,
            log_format=old.log_format,
            log_output=old.log_output,
            log_rotation=old.log_rotation,
        )
        return []
    parts.tapping.tell_decisions(log_setup.is_on(Entry.DECISION))
    return [f"log: {', '.join(had)} -> {', '.join(wanted)}"]
