"""The configuration in use, and the one way by which it changes: by its files, or by the web API.

Knows: that one change follows another, that a change which this host does not allow is taken back, that
changes of the API last until the files are read again. Refuses to know: what is asked of the API
(api_routes), what a difference leads to (service_reload).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from gevent.lock import RLock

from lib import config_section, service_release, service_reload
from lib.config_schema import Config
from lib.config_section import Section
from lib.errors import HostError
from lib.service_scheduling import Breaths
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.service_parts import Parts

Step = Callable[[], None]


class Reading(Protocol):
    """Reads the files of a command line again and again (cli_config)."""

    config: Config | None
    """What they said the last time, as written; None where no API is asked for."""

    def settings(self, step: Step) -> Settings:
        """The settings now; the same object where nothing has changed. Raises ConfigError, HostError."""

    def another(self) -> Reading:
        """One that reads the same, and knows what this one has read."""

    def settings_of(self, config: Config, step: Step) -> Settings:
        """The settings of another configuration, with the same options. Raises ConfigError."""


class ServiceChanges:
    """The configuration in use of a process (api_process.Changes)."""

    def __init__(self, reading: Reading | None, reread: service_reload.Reread) -> None:
        """`reading` is None where nothing but `reread` is known of the files: then there is no API."""
        self.parts: Parts | None = None
        """Set once they are open."""
        self.after: Callable[[], None] = lambda: None
        """Called after each change, and each reading of the files."""
        self.version = 1
        self._reading, self._reread = reading, reread
        self._config = self._in_files = reading.config if reading else None
        self._filed: Settings | None = None
        """The settings that the files gave before the API changed them; None where it has not."""
        self._looking: Reading | None = None
        """Reads the files for who only wants to see what a reload would change."""
        self._one = RLock()

    @property
    def config(self) -> Config:
        """The configuration as it was written, or as the API has changed it."""
        return self._config or Config()

    @property
    def filed(self) -> Config:
        """As api_process.Changes.filed."""
        return self._in_files or Config()

    def saved(self, config: Config) -> None:
        """As api_process.Changes.saved."""
        self._in_files, old = config, self._in_files
        service_release.later(_replaced([old], [config, self._config]))

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of the configuration files."""
        return self._parts.settings.files

    @property
    def _parts(self) -> Parts:
        assert self.parts is not None
        return self.parts

    def alone(self) -> AbstractContextManager[object]:
        """As api_process.Changes.alone."""
        lock: AbstractContextManager[object] = self._one
        return lock

    def reload(self, timed: bool = False) -> list[str]:
        """Read the files again and use them; returns what is wrong with them.

        A `timed` one leaves the changes of the API while the files are what they were.
        """
        with self._one:
            before = self._parts.settings
            if not timed:
                self._parts.tables.refresh()
            problems = service_reload.reload(self._parts, self._timed if timed else self._reread)
            if not problems and self._parts.settings is not before:
                config = self._reading.config if self._reading else None
                self._use(config, config, None, before)
            self.after()
            return problems

    def _timed(self, step: Step) -> Settings:
        new = self._reread(step)
        return self._parts.settings if new is self._filed else new

    @property
    def settings(self) -> Settings:
        """The settings in use."""
        return self._parts.settings

    def preview(self) -> Settings:
        """As api_process.Changes.preview."""
        with self._one:
            if self._looking is None:
                # It reads by itself: what was only looked at is not what the files had when they were used.
                self._looking = self._reading.another() if self._reading is not None else None
            reread = self._looking.settings if self._looking is not None else self._reread
            return service_reload.checked(self._parts, reread, Breaths())

    def keep(self) -> Callable[[int], bool]:
        """As api_process.Changes.keep."""
        before, config, filed = self._parts.settings, self._config, self._filed

        def put_back(version: int) -> bool:
            with self._one:
                if self.version != version:
                    return False
                now = self._parts.settings
                failed = service_reload.change(self._parts, lambda step: before)
                if failed:
                    raise HostError("; ".join(f"service {name}: {why}" for name, why in failed))
                self._use(config, self._in_files, filed, now)
                self.after()
                return True

        return put_back

    def apply(self, make: Callable[[Config], Config]) -> list[tuple[str, str]]:
        """As api_process.Changes.apply."""
        assert self._reading is not None
        reading, parts = self._reading, self._parts
        with self._one:
            before, config = parts.settings, make(self.config)
            failed = service_reload.change(parts, lambda step: reading.settings_of(config, step))
            if failed:
                again = service_reload.change(parts, lambda step: before)
                if again:
                    raise HostError("; ".join(f"service {name}: {why}" for name, why in [*failed, *again]))
                return failed
            self._use(config, self._in_files, self._filed or before, before)
            self.after()
            return []

    def _use(
        self, config: Config | None, in_files: Config | None, filed: Settings | None, before: Settings
    ) -> None:
        """Another configuration is in use: what was there before goes in steps."""
        had = self._config, self._in_files
        self._config, self._in_files, self._filed = config, in_files, filed
        self.version += 1
        service_release.later([*_replaced(had, (config, in_files)), *_unused(before, self._parts.settings)])


def _replaced(old: Sequence[Config | None], new: Sequence[Config | None]) -> Iterator[Section]:
    """The sections of configurations that none of the new ones has."""
    stay = {id(section) for section in _sections(new)}
    return (section for section in _sections(old) if id(section) not in stay)


def _sections(configs: Iterable[Config | None]) -> Iterator[Section]:
    for config in filter(None, configs):
        for name in config_section.nesting(Config):
            value = getattr(config, name)
            yield from value if isinstance(value, list) else () if value is None else (value,)


def _unused(old: Settings, new: Settings) -> Iterator[object]:
    """Those settings of tables and logins that are other ones now."""
    stay = {id(one) for one in (*new.tables, *new.authers)}
    return (one for one in (*old.tables, *old.authers) if id(one) not in stay)
