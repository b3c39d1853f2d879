"""What the web API sees of its process: hubs, logins, and the configuration in use.

Knows: the parts that handlers read, and the one way by which they change the configuration.
Refuses to know: HTTP (api_app), how a change takes effect (service_changes, service_reload).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lib.api_confirm import Confirmations
from lib.api_hubs import Hubs
from lib.config_schema import Config
from lib.rule_live import LiveLogins
from lib.settings import Settings


class Changes(Protocol):
    """The configuration in use, and how it is changed (service_changes)."""

    @property
    def config(self) -> Config:
        """The configuration as it was written: nobody may change it in place."""

    @property
    def filed(self) -> Config:
        """The configuration as its files had it when they were used, or saved, the last time."""

    def saved(self, config: Config) -> None:
        """Take note that the only file has this configuration now."""

    @property
    def version(self) -> int:
        """A number that differs after each change, also after a reload."""

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of the configuration files."""

    def alone(self) -> AbstractContextManager[object]:
        """While it is held, nobody else changes anything: what was checked stays true until the change."""

    def apply(self, make: Callable[[Config], Config]) -> list[tuple[str, str]]:
        """Use the configuration that `make` makes of the present one, if it is right as a whole.

        Returns (service, why) for each service that this host does not allow; then nothing has changed.
        Raises ConfigError where the configuration has mistakes, HostError where it cannot be used here, and
        whatever `make` raises. One change follows another.
        """

    def reload(self) -> list[str]:
        """Read the files again, as SIGHUP does; returns what is wrong with them."""

    @property
    def settings(self) -> Settings:
        """The settings in use."""

    def preview(self) -> Settings:
        """The settings that a reload would use; the same object while the files stay as they are.

        Raises ConfigError and HostError, as a reload finds them.
        """

    def keep(self) -> Callable[[int], bool]:
        """What is in use now, as a function that puts it back if the version is still the one it is given.

        That returns whether it was, and raises ConfigError and HostError.
        """


@dataclass(frozen=True, slots=True)
class Process:
    """The parts of a process."""

    hubs: Hubs
    logins: Callable[[str], LiveLogins]
    """Finds an auther by name."""
    changes: Changes
    confirmations: Confirmations
    """The change that waits to be confirmed: also where that change has moved, or closed, the API itself."""
