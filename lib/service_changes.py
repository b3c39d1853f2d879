"""The configuration in use of a process with a web API, which changes by its files or by the API.

Knows: that one change follows another, that a change which this host does not allow is taken back, that
changes of the API last until the files are read again. Refuses to know: what is asked of the API
(api_routes), what a difference leads to (service_reload).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from lib import service_release, service_reload
from lib.config_schema import Config
from lib.errors import HostError
from lib.service_reload import Reloads, Reread
from lib.service_scheduling import Breaths
from lib.settings import Settings

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


class ServiceChanges(Reloads):
    """The configuration in use of a process (api_process.Changes)."""

    def __init__(self, reading: Reading, before: Reloads) -> None:
        """Takes the place of `before`, whose lock somebody may hold."""
        super().__init__(before.reread)
        self.parts, self.after, self.one = before.parts, before.after, before.one
        self.version = 1
        self._reading = reading
        self._config = self._in_files = reading.config
        self._filed: Settings | None = None
        """The settings that the files gave before the API changed them; None where it has not."""
        self._looking: Reading | None = None
        """Reads the files for who only wants to see what a reload would change."""

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
        service_release.later([old])

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of the configuration files."""
        return self.settings.files

    def alone(self) -> AbstractContextManager[object]:
        """As api_process.Changes.alone."""
        return self.one

    def reload(self, timed: bool = False) -> list[str]:
        """Read the files again and use them; returns what is wrong with them.

        A `timed` one leaves the changes of the API while the files are what they were.
        """
        with self.one:
            before = self.settings
            if not timed:
                self._refresh()
            problems = self._reload(self._timed if timed else self.reread)
            if not problems and self.settings is not before:
                self._use(self._reading.config, self._reading.config, None, before)
            self.after()
            return problems

    def _timed(self, step: Step) -> Settings:
        new = self.reread(step)
        return self.settings if new is self._filed else new

    @property
    def settings(self) -> Settings:
        """The settings in use."""
        return self._parts.settings

    def _checked(self, made: Reread, step: Step) -> Settings:
        """What `made` returns, if it can be used. Raises ConfigError and HostError."""
        return service_reload.checked(self._parts, made, step)

    def _change(self, made: Reread) -> list[tuple[str, str]]:
        """Use what `made` returns, as apply()."""
        return service_reload.change(self._parts, made)

    def preview(self) -> Settings:
        """As api_process.Changes.preview."""
        with self.one:
            if self._looking is None:
                # It reads by itself: what was only looked at is not what the files had when they were used.
                self._looking = self._reading.another()
            return self._checked(self._looking.settings, Breaths())

    def keep(self) -> Callable[[int], bool]:
        """As api_process.Changes.keep."""
        before, config, filed = self.settings, self._config, self._filed

        def put_back(version: int) -> bool:
            with self.one:
                if self.version != version:
                    return False
                now = self.settings
                failed = self._change(lambda step: before)
                if failed:
                    raise HostError("; ".join(f"service {name}: {why}" for name, why in failed))
                self._use(config, self._in_files, filed, now)
                self.after()
                return True

        return put_back

    def apply(self, make: Callable[[Config], Config]) -> list[tuple[str, str]]:
        """As api_process.Changes.apply."""
        reading = self._reading
        with self.one:
            before, config = self.settings, make(self.config)
            failed = self._change(lambda step: reading.settings_of(config, step))
            if failed:
                again = self._change(lambda step: before)
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
        service_release.later([self._config, self._in_files, self._filed, before])
        self._config, self._in_files, self._filed = config, in_files, filed
        self.version += 1
