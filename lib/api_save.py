"""The text of a configuration file with the changes of the web API, comments kept where nothing has changed.

Knows: which objects are the file's, which the command line's, which the API has changed.
Refuses to know: how a text is cut (config_splice), how a file is written (api_routes).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from functools import partial

import yaml

from lib import api_json, config_print, config_read
from lib.api_config import KINDS
from lib.config_findings import at_once
from lib.config_schema import Config
from lib.config_section import Section
from lib.config_splice import spliced

_ENCODER = json.JSONEncoder(indent=2, ensure_ascii=False)
_TOGETHER = 1000
"""Pieces of a text that are put together at once."""
_FLAGS = ("-L ", "-F ", "-api", "-metrics", "command line", "log level")
"""How the places begin of what the command line says: it would be there twice if it were saved too."""


def whole(config: Config, style: str, step: Callable[[], None] = at_once) -> str:
    """A configuration as a text of its own ("yaml" or "json"), without what the command line says.

    It is laid out as by config_read.render, in steps.
    """
    plain = config_read.plain(_of_files(config), style, step)
    made: list[str] = []
    lines: list[str] = []
    for piece in config_print.as_yaml(plain) if style == "yaml" else _ENCODER.iterencode(plain):
        lines.append(piece)
        if len(lines) >= _TOGETHER:  # of a million pieces the list would be freed at once
            made.append("".join(lines))
            lines.clear()
        step()
    api_json.release(plain, step)
    made += lines
    return "".join(made) + ("" if style == "yaml" else "\n")


def edited(text: str, filed: Config, config: Config, step: Callable[[], None] = at_once) -> str:
    """The text of the file of which `filed` was read, with the changes that `config` has beside it.

    Comments stay, but for those within an object that has changed. Where the text is laid out in a way that
    cannot be cut (JSON, all in one line, anchors across objects), it is written anew as a whole.
    """
    changed = _changed_lists(filed, config, step)
    try:
        made = spliced(text, changed, {}, step)
    except (ValueError, IndexError, yaml.YAMLError):
        return whole(config, "yaml", step)
    finally:
        api_json.release(changed, step)
    return made if says(made, config, step) else whole(config, "yaml", step)


def says(text: str, config: Config, step: Callable[[], None] = at_once) -> bool:
    """Whether a text says what the files of a configuration say: nothing else was written there since."""
    read = config_read.read([("saved", text)], step)
    try:
        return not read.problems and _says(read, config, step)
    finally:
        config_read.release(read, step)


def _says(read: Config, config: Config, step: Callable[[], None]) -> bool:
    found, wanted = _of_files(read), _of_files(config)
    for key in ("api", "metrics"):
        if getattr(config, key) is not None and getattr(wanted, key) is None:
            setattr(found, key, None)  # the command line's counts instead
    if found.log is not None and wanted.log is not None:
        found.log = copy(found.log)
        found.log.level = wanted.log.level  # which may be the command line's
    one, other = (config_read.plain(config, step=step) for config in (found, wanted))
    is_same = _equal(one, other, step)
    api_json.release([one, other], step)
    return is_same


def _equal(one: object, other: object, step: Callable[[], None]) -> bool:
    """Whether two values of dicts, lists and scalars are equal."""
    step()
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key], step) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(partial(_equal, step=step), one, other))
    return one == other


def _of_files(config: Config) -> Config:
    made = copy(config)
    for key in KINDS:
        setattr(made, key, [one for one in getattr(config, key) if not _is_of_flags(one)])
    for key in ("api", "metrics", "log"):
        if getattr(config, key) is not None and _is_of_flags(getattr(config, key)):
            setattr(made, key, None)
    return made


def _is_of_flags(section: Section) -> bool:
    return section.where().file.startswith(_FLAGS)


def _changed_lists(filed: Config, config: Config, step: Callable[[], None]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for key in KINDS:
        old, new = getattr(filed, key), getattr(config, key)
        if old is new:
            continue
        index = {id(one): number for number, one in enumerate(one for one in old if not _is_of_flags(one))}
        found[key] = [
            index[id(one)] if id(one) in index else config_read.plain(one, "yaml", step)
            for one in new
            if not _is_of_flags(one)
        ]
    return found
