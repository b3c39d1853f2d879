"""`trust` of a cluster: which other hubs there are, by what they are known, and what they may claim.

Knows: that a hub has one certificate or pins, and one row; that nothing is granted that is not written.
Refuses to know: certificates (cluster_trust), the rest of the section (config_cluster).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lib import namespace_titles
from lib.config_findings import Findings
from lib.config_schema_cluster import Cluster, Trust
from lib.config_transport import parse_pin
from lib.errors import Position
from lib.humanize import counted
from lib.ids import parse_uuid
from lib.namespace_titles import Title
from lib.settings_registry import TrustSettings

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
EVERY = "*"
MAX_TRUSTED = 1024
"""Hubs in `trust`, as many as a cluster has."""
MAX_PINS = 4
_ROW = "write trust: [{hub: NAME, pin: 'sha256:…', namespaces: [UUID]}]"


def trust_settings(section: Cluster, titles: Sequence[Title], found: Findings) -> tuple[TrustSettings, ...]:
    """The rows of `trust`. Each mistake is a problem in `found`."""
    known = {namespace_titles.folded(title): namespace for namespace, title in titles}
    rows: dict[str, TrustSettings] = {}
    pinned: dict[bytes, str] = {}
    if len(section.trust) > MAX_TRUSTED:
        text = f"'trust': {counted(len(section.trust), 'hub')}, {MAX_TRUSTED:,} at most"
        found.error(section.where("trust"), text)
        return ()
    for one in found.each(section.trust):
        row = _row(one, known, found)
        if row.hub in rows or row.hub == section.name:
            whose = "this hub's own name" if row.hub == section.name else "there twice"
            found.error(one.where("hub"), f"'hub': {row.hub[:64]!r} is {whose}")
        for pin in row.pins:
            if pinned.setdefault(pin, row.hub) != row.hub:
                text = f"'pin': hubs {pinned[pin]} and {row.hub} have the same one"
                found.error(one.where("pin"), text, "each hub has a certificate of its own")
        rows[row.hub] = row
    _notice(section, rows, found)
    return tuple(rows.values())


def _row(section: Trust, known: Mapping[str, bytes], found: Findings) -> TrustSettings:
    if not HUB_NAME.fullmatch(section.hub):
        text = (
            f"'hub': {section.hub[:64]!r} is no name of a hub"
            if section.hub
            else "a row of trust without hub"
        )
        found.error(section.where("hub"), text, _ROW)
    if bool(section.pin) == bool(section.cert_file):
        text = "has both a pin and certFile" if section.pin else "needs a pin or certFile"
        found.error(
            section.where(), f"hub {section.hub[:63]} in 'trust' {text}: it is known by one of them", _ROW
        )
    if len(section.pin) > MAX_PINS:
        found.error(section.where("pin"), f"'pin': {counted(len(section.pin), 'pin')}, {MAX_PINS} at most")
    pins = []
    for text in section.pin[:MAX_PINS]:
        try:
            pins.append(parse_pin(text))
        except ValueError as wrong:
            found.error(section.where("pin"), f"'pin': {text[:80]!r} is {wrong}")
    namespaces = _namespaces(section, known, found)
    return TrustSettings(section.hub, tuple(pins), section.cert_file, namespaces)


def _namespaces(section: Trust, known: Mapping[str, bytes], found: Findings) -> frozenset[bytes] | None:
    """Those that a hub may claim; None for all."""
    if EVERY in section.namespaces:
        if len(section.namespaces) > 1:
            found.error(section.where("namespaces"), f"'namespaces': {EVERY} is all of them, and others too")
        return None
    granted = set()
    for text in found.each(section.namespaces):
        namespace = known.get(namespace_titles.folded(text))
        try:
            granted.add(namespace or parse_uuid(text))
        except ValueError as wrong:
            hint = found.guess(text, known) or f"write {EVERY} for all of them"
            found.error(
                section.where("namespaces"), f"'namespaces': {wrong}, and no title of a namespace", hint
            )
    return frozenset(granted)


def _notice(section: Cluster, rows: Mapping[str, TrustSettings], found: Findings) -> None:
    where: Position = section.where("trust")
    if not rows:
        found.warn(section.where(), "cluster: no other hub is trusted: none of their hosts is believed", _ROW)
    for row in rows.values():
        if row.namespaces is None:
            what = "any host of any namespace"
        elif row.namespaces:
            what = f"any host of {counted(len(row.namespaces), 'namespace')}"
        else:
            what = "nothing: its row has no namespaces"
        found.notice(where, f"cluster: hub {row.hub} may claim {what}")
