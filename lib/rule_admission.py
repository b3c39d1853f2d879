"""Configured admissions at run time: from which addresses somebody may connect, by lists or by a plugin.

Knows: that of a hub's admissions each has to let an address in, that nobody is let in while a list is not
known, or a plugin fails.
Refuses to know: when a connection is judged (hub_caller, rule_recheck), how sources are read (source_feed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lib import auth_addresses
from lib.addresses import host_of
from lib.auth_admission import stays
from lib.limits import stranger
from lib.plugin_client import AdmissionPlugin
from lib.prefixes import PrefixSet
from lib.rule_live import AskedRules, Rows, Unavailable
from lib.settings import AdmissionSettings
from lib.settings_sources import PluginSettings


class LiveAdmission(AskedRules[AdmissionPlugin, PrefixSet]):
    """An admission: a list of addresses that may connect, or of those that may not; or a plugin."""

    kind = "admission"
    reader = staticmethod(auth_addresses.row)

    def lists(self, client: str) -> bool:
        """Whether the list lets a client (address:port) in; always where a plugin is asked instead.

        Raises Unavailable while the list is not known.
        """
        if self.plugin is not None:
            return True
        assert isinstance(self.settings, AdmissionSettings)
        try:
            is_listed = self._table.holds(auth_addresses.address_of(client))
        except ValueError as error:
            raise Unavailable(f"{self.label}: {error}") from error
        if not is_listed and self.unread:  # else who is missing in a list of those who may not come comes in
            raise Unavailable(self.unread)
        return is_listed == self.settings.whitelist

    def refuses(self, client: str) -> str:
        """That it does not let a client (address:port) in, in words."""
        return f"{self.label} does not let {host_of(client)} connect"

    def admits(self, client: str, service: str, has_gone: Callable[[], bool] = stays) -> bool:
        """Whether a client (address:port) may connect to a hub service of that name.

        Raises Unavailable where that is not known, Busy where too many wait; the client must be refused then.
        Raises ProtocolError where the client has gone meanwhile.
        """
        plugin = self.plugin
        if plugin is None:
            return self.lists(client)
        whose = "", stranger(client)
        return self._ask(whose, has_gone, lambda: plugin.admits(client, service), bool)

    def _reach(self, settings: PluginSettings) -> AdmissionPlugin:
        return AdmissionPlugin(settings)

    def _inline(self) -> Rows:
        assert isinstance(self.settings, AdmissionSettings)
        return self.settings.matchers

    def _build(self, rows: Iterator[Any]) -> PrefixSet:
        return PrefixSet(rows)
