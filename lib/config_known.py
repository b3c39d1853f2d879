"""What sections mean that have not changed since the last configuration: one change costs one section.

Knows: when what was made of a section still holds: neither the section nor anything that it names is another,
but for what can be put in the place of the old one. Refuses to know:
what a section means (config_resolve), who changes one (api_change).

The web API changes one object of maybe thousands. A section is never changed in place: another object is
another section. Sections with references (`${env:…}`) are never known, for what these stand for may change at
any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lib import config_read, config_section, config_tables
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.config_section import Part, Section
from lib.errors import Problem
from lib.settings import HubSettings

T = TypeVar("T")
_AROUND = ("sds", "tls")
"""Parts of a configuration with which all that is known of hubs goes."""
_KINDS = (
    *("services", "routers", "ingresses", "authers", "admissions", "observers"),
    *("limiters", "climiters", "rlimiters"),
)
"""Lists of sections of which something may be known."""


@dataclass(frozen=True, slots=True)
class _Known:
    section: Part
    value: object
    warnings: tuple[Problem, ...]
    notices: tuple[Problem, ...]
    kept: bool = False
    """Whether the section was looked through for references, and has none."""


def _same(value: Any) -> Any:
    return value


class Known:
    """What is known of the sections of the last configuration; see copied() and keep()."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._now: dict[int, _Known] = {}
        """What of it holds for the configuration that is being resolved."""
        self._around: tuple[object, ...] = ()
        self._next: dict[int, _Known] = {}
        self._next_around: tuple[object, ...] = ()
        self._shared: dict[int, Part] = {}
        """Sections that are in the copy as they were written, by their ids."""
        self._written: dict[int, Part] = {}
        """Id of a section that is being resolved -> the section as it was written."""

    def copied(self, config: Config, step: Callable[[], None]) -> Config:
        """A copy to resolve, in steps. Sections of which all is known are the same as in `config`."""
        self._next, self._written, self._shared = {}, {}, {}
        named = any(config_tables.namespace_of(router.name) is not None for router in config.routers)
        self._next_around = *(getattr(config, name, None) for name in _AROUND), named
        hold = self._is_around()
        self._now = {key: one for key, one in self._known.items() if hold or not _is_hub(one)}
        made = copy(config)
        for name in config_section.nesting(Config):
            value = getattr(config, name)
            if name in _KINDS:
                setattr(made, name, [self._copy(one, step) for one in value])
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

    def of(
        self, section: Part, make: Callable[[], T], found: Findings, renew: Callable[[T], T | None] = _same
    ) -> T:
        """What a section means: what is known of it, or what `make` makes of it now.

        What is known is given to `renew`, which returns it or another one; None where that cannot be.
        """
        known = self._now.get(id(section))
        if known is not None and known.section is section:
            value = renew(known.value)  # type: ignore[arg-type]  # what `make` made of it
            if value is not None or known.value is None:
                for warning in known.warnings:
                    found.warn(warning.where, warning.message, warning.hint)
                found.notices += known.notices
                now = known
                if value is not known.value:  # replace() takes three times as long
                    now = _Known(known.section, value, known.warnings, known.notices, known.kept)
                self._next[id(section)] = now
                return value  # type: ignore[return-value]  # as above
            self._written[id(section)] = section
        problems, warnings, notices = (len(some) for some in (found.problems, found.warnings, found.notices))
        made = make()
        written = self._written.get(id(section))
        if written is not None and len(found.problems) == problems:
            entry = _Known(written, made, tuple(found.warnings[warnings:]), tuple(found.notices[notices:]))
            self._next[id(written)] = entry
        return made

    def keep(self, step: Callable[[], None]) -> None:
        """The copy was right: know what was made of it."""
        for key, one in list(self._next.items()):
            if not one.kept:
                if _refers(one.section, step):
                    del self._next[key]
                else:
                    self._next[key] = replace(one, kept=True)
            step()
        self._known, self._around = self._next, self._next_around
        self._now, self._next, self._written = {}, {}, {}

    def release(self, copy: Config, step: Callable[[], None]) -> None:
        """Free a copy in steps, but for the sections that it shares with what it was made of."""
        shared = self._shared
        for name in config_section.nesting(Config):
            value = getattr(copy, name)
            for section in value if isinstance(value, list) else filter(None, [value]):
                if id(section) not in shared:
                    config_section.release(section, step)
        self._shared = {}

    def _is_known(self, section: Section) -> bool:
        known = self._now.get(id(section))
        return known is not None and known.section is section

    def _is_around(self) -> bool:
        pairs = zip(self._around, self._next_around, strict=False)
        return bool(self._around) and all(one is other for one, other in pairs)

    def _copy(self, section: Part, step: Callable[[], None]) -> Part:
        """A section of which all is known, or a copy of another one."""
        if self._is_known(section):
            self._shared[id(section)] = section
            return section
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
        if isinstance(one, str) and "${" in one:
            return True
        if isinstance(one, Mapping):
            if isinstance(one.get("file"), str):
                return True
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
        step()
    return False
