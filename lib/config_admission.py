"""The `admissions` section, checked and turned into AdmissionSettings, and which of them a hub names.

Knows: matchers (addresses and prefixes), a list that lets nobody in, names that no section has.
Refuses to know: plugins and sources (config_plugins, config_sources), when a client is judged (hub_caller).
"""

from __future__ import annotations

from collections.abc import Mapping

from lib.addresses import widened
from lib.auth_addresses import matcher
from lib.config_findings import Findings
from lib.config_schema import Admission, Service
from lib.config_tables import elsewhere
from lib.prefixes import Prefix
from lib.settings import AdmissionSettings

Known = Mapping[str, AdmissionSettings]


def admission_settings(section: Admission, found: Findings) -> AdmissionSettings:
    """The settings of one admission. Wrong matchers are left out, and each is a problem in `found`."""
    plugin, more = elsewhere(section, bool(section.matchers), found, ("set", "list"))
    matchers: list[Prefix] = []
    for text in found.each(section.matchers):
        try:
            matchers.append(matcher(text))
        except ValueError as wrong:
            found.error(section.where("matchers"), f"'matchers': {wrong}")
            continue
        if network := widened(text):
            what = f"'matchers': {text} stands for the whole network {network}"
            found.warn(section.where("matchers"), what, f"write {network}")
    if not matchers and plugin is None and not more.sources:
        what = f"admission {section.name} has no matchers: "
        what += "a whitelist of nobody lets nobody in" if section.whitelist else "everybody is let in"
        found.warn(section.where(), what, "write matchers: [ADDRESS, PREFIX]")
    return AdmissionSettings(section.name, tuple(matchers), section.whitelist, plugin, more)


def of_hub(service: Service, known: Known, found: Findings) -> tuple[AdmissionSettings, ...]:
    """The admissions that a hub names, each once: all of them have to let a client in, as in GOST."""
    named = {name: service.where("admissions") for name in service.admissions}
    if service.admission:
        named.setdefault(service.admission, service.where("admission"))
    for key, is_empty in (("admission", not service.admission), ("admissions", "" in service.admissions)):
        if key in service.at and is_empty:
            text = f"{key!r} names nothing: who writes it wants that not everybody may connect"
            found.error(service.where(key), text, "write the name of an admission, or delete the key")
    for name, where in named.items():
        if name and name not in known:
            found.error(where, f"there is no admission {name[:64]!r}", found.guess(name, known))
    return tuple(known[name] for name in named if name in known)


def of_client(service: Service, found: Findings) -> None:
    """Warn of admissions of a client, to which nobody connects."""
    for key in ("admission", "admissions"):
        if getattr(service, key):
            text = f"{key!r} of service {service.name} has no effect: nobody connects to a client"
            found.warn(service.where(key), text)
