"""`observers`, and `observer`, `enableStats`, `labels` of a service, checked and turned into settings.

Knows: that figures of a service are told only where they are counted, names that no section has.
Refuses to know: what an observer is told (observe_events).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lib import config_metadata, config_yaml
from lib.config_findings import Findings
from lib.config_plugins import plugin_settings
from lib.config_schema import Handler, Observer, Service
from lib.config_yaml import Scalar, Tree
from lib.printable import printable
from lib.settings_observe import (
    DEFAULT_PERIOD,
    LEAST_PERIOD,
    Observation,
    ObserverSettings,
    ObserveSettings,
)

Known = Mapping[str, ObserverSettings | None]
"""Name -> the observer; None for one whose section is wrong."""
MAX_LABELS, MAX_LABEL = 32, 128
"""Labels of a service, and characters of a name or a value."""
_PERIODS = ("observer.period", "observePeriod", "observer.observePeriod")


def observer_settings(section: Observer, found: Findings) -> ObserverSettings | None:
    """The settings of one observer; None where it has no plugin that could be told, which is a problem."""
    if section.plugin is None:
        text = f"observer {section.name[:64]} has no plugin: nobody would be told"
        found.error(section.where(), text, "write plugin: {type: http, addr: URL}")
        return None
    plugin = plugin_settings(section.plugin, found)
    return ObserverSettings(section.name, plugin) if plugin else None


def observe_settings(service: Service, handler: Handler, known: Known, found: Findings) -> ObserveSettings:
    """How a service is observed. Each wrong value is a problem in `found`."""
    observe = ObserveSettings(
        service=_observation(service, known, found),
        handler=_observation(handler, known, found),
        enable_stats=config_metadata.switch(service, "enableStats", False, found),
        labels=tuple(_labels(service, found)),
    )
    if handler.type.lower() == "tun" and observe.handler is not None:
        text = "'observer' has no effect in a handler of type tun, in GOST neither"
        found.warn(handler.where("observer"), text, "write it in the service")
    return observe


def _observation(layer: Service | Handler, known: Known, found: Findings) -> Observation | None:
    if not layer.observer:
        if "observer" in layer.at:
            found.error(layer.where("observer"), "'observer' names nothing", "delete the key")
        return None
    if layer.observer not in known:
        hint = found.guess(layer.observer, known)
        found.error(layer.where("observer"), f"there is no observer {layer.observer[:64]!r}", hint)
    observer = known.get(layer.observer)
    period, reset = (
        _period(layer, found),
        config_metadata.switch(layer, "observer.resetTraffic", False, found),
    )
    return Observation(observer, period, reset) if observer is not None else None


def _period(layer: Service | Handler, found: Findings) -> float:
    """Seconds between two reports, at least one, as in GOST."""
    name = next((name for name in _PERIODS if config_metadata.find(layer, name)), _PERIODS[0])
    period = config_metadata.seconds(layer, name, DEFAULT_PERIOD, found)
    if period < LEAST_PERIOD:
        tree = config_metadata.find(layer, name)
        text = f"{name!r}: {period:g} s is less than {LEAST_PERIOD:g} s, which counts instead, as in GOST"
        found.warn(tree.where if tree else layer.where(), text)
    return max(LEAST_PERIOD, period)


def _labels(service: Service, found: Findings) -> Iterator[tuple[str, str]]:
    tree = config_metadata.find(service, "labels")
    pairs = list(_pairs(tree, found)) if tree else []
    for name, value in pairs:
        if not name or max(len(name), len(value)) > MAX_LABEL or printable(name + value) != name + value:
            where = tree.where if tree else service.where()
            text = f"'labels': {name[:32]!r}: empty, over {MAX_LABEL} characters, or some are not seen"
            found.error(where, text)
    if tree and len(pairs) > MAX_LABELS:
        found.error(tree.where, f"'labels': more than {MAX_LABELS}")
    yield from pairs


def _pairs(tree: Tree, found: Findings) -> Iterator[tuple[str, str]]:
    """Names and values of a mapping, or of a text `a:b,c:d`, as a URL has them."""
    if isinstance(tree, config_yaml.Mapping):
        for key, value in tree.items:
            if isinstance(value, Scalar):
                yield key.text, value.text
            else:
                found.error(value.where, f"'labels': the value of {key.text[:32]!r} is no text")
        return
    for word in tree.text.split(",") if isinstance(tree, Scalar) else ():
        name, colon, rest = word.partition(":")
        if colon:
            yield name.strip(), rest.strip()
            continue
        found.error(tree.where, f"'labels': {word[:32]!r} has no value", "write labels: {NAME: VALUE}")
    if isinstance(tree, config_yaml.Sequence):
        found.error(tree.where, "'labels' is a list", "write labels: {NAME: VALUE}")
