"""What sections mean that have not changed since the last configuration: one change costs one section.

Knows: when the settings of a hub or a table still hold: neither its section nor anything that it names is
another one. Refuses to know: what a section means (config_resolve), who changes one (api_change).

The web API changes one object of maybe thousands. A section is never changed in place: another object is
another section. Sections with references (`${env:…}`) are never known, for what these stand for may change at
any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import TypeVar

from lib import config_read, config_section
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.config_section import Part, Section
from lib.errors import Problem
from lib.settings import HubSettings

T = TypeVar("T")
_AROUND = (
    *("chains", "hops", "authers", "admissions", "hosts", "ingresses", "sds", "observers", "limiters"),
    *("climiters", "rlimiters", "namespaces", "tls", "user"),
)
"""Parts of a configuration with which all that is known of hubs goes."""


@dataclass(frozen=True, slots=True)
class _Known:
    section: Part
    value: object
    warnings: tuple[Problem, ...]
    notices: tuple[Problem, ...]


class Known:
    """What is known of the sections of the last configuration; see copied() and keep()."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._now: dict[int, _Known] = {}
        """What of it holds for the configuration that is being resolved."""
        self._around: tuple[object, ...] = ()
        self._next: dict[int, _Known] = {}
        self._next_around: tuple[object, ...] = ()
        self._written: dict[int, Part] = {}
        """Id of a section that is being resolved -> the section as it was written."""

    def copied(self, config: Config, step: Callable[[], None]) -> Config:
        """A copy to resolve, in steps. Sections of which all is known are the same as in `config`."""
        self._next, self._written = {}, {}
        self._next_around = tuple(getattr(config, name, None) for name in _AROUND)
        hold = self._is_around()
        self._now = {key: one for key, one in self._known.items() if hold or not _is_hub(one)}
        others = {router.name for router in config.routers if not self._is_known(router)}
        made = copy(config)
        for name in config_section.nesting(Config):
            value = getattr(config, name)
            if name in ("services", "routers"):
                setattr(made, name, [self._copy(one, others, step) for one in value])
            elif isinstance(value, list):
                setattr(made, name, [config_section.copied(one, step) for one in value])
            elif isinstance(value, Section):
                setattr(made, name, config_section.copied(value, step))
        return made

    def fresh(self, config: Config) -> Iterator[Section]:
        """The sections of a copy that are to be looked at: those of which all is known are left out."""
        yield config
        for name in config_section.nesting(Config):
            value = getattr(config, name)
            for section in value if isinstance(value, list) else [value]:
                if isinstance(section, Section) and not self._is_known(section):
                    yield from config_section.walk(section)

    def of(self, section: Part, make: Callable[[], T], found: Findings) -> T:
        """What a section means: what is known of it, or what `make` makes of it now."""
        known = self._now.get(id(section))
        if known is not None and known.section is section:
            for warning in known.warnings:
                found.warn(warning.where, warning.message, warning.hint)
            found.notices += known.notices
            self._next[id(section)] = known
            value: T = known.value  # type: ignore[assignment]  # what `make` made of it
            return value
        problems, warnings, notices = (len(some) for some in (found.problems, found.warnings, found.notices))
        made = make()
        written = self._written.get(id(section))
        if written is not None and len(found.problems) == problems:
            entry = _Known(written, made, tuple(found.warnings[warnings:]), tuple(found.notices[notices:]))
            self._next[id(written)] = entry
        return made

    def has(self, section: Part) -> bool:
        """Whether all is known of a section."""
        return self._is_known(section)

    def keep(self, step: Callable[[], None]) -> None:
        """The copy was right: know what was made of it."""
        for key, one in list(self._next.items()):
            if self._known.get(key) is not one and _refers(one.section, step):
                del self._next[key]
            step()
        self._known, self._around = self._next, self._next_around
        self._now, self._next, self._written = {}, {}, {}

    def _is_known(self, section: Section) -> bool:
        known = self._now.get(id(section))
        return known is not None and known.section is section

    def _is_around(self) -> bool:
        pairs = zip(self._around, self._next_around, strict=False)
        return bool(self._around) and all(one is other for one, other in pairs)

    def _copy(self, section: Part, others: set[str], step: Callable[[], None]) -> Part:
        """A section or a copy of it; `others` are the names of routers that are other ones now."""
        known = self._now.get(id(section))
        if known is not None and known.section is section:
            table = known.value.default_table if isinstance(known.value, HubSettings) else None
            if table is None or table.name not in others:
                return section
            del self._now[id(section)]
        made = config_section.copied(section, step)
        self._written[id(made)] = section
        return made


def _is_hub(one: _Known) -> bool:
    return isinstance(one.value, HubSettings)


def _refers(section: Part, step: Callable[[], None]) -> bool:
    """Whether a section holds a reference, or the name of a file of logins."""
    waiting: list[object] = [config_read.plain(section, step=step)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and ("${" in one or one == "file"):
            return True
        if isinstance(one, Mapping):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
        step()
    return False
