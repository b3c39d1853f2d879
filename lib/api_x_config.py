"""Handlers of the web API's /x/config: the configuration, what a reload would change, reloads, confirmations.

Knows: that what is applied is what was shown, that a change may wait to be confirmed.
Refuses to know: how files are read (cli_config), how a change is made (service_reload), secrets: they are
hidden by who writes the configuration down (api_config).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from lib import (
    api_audit,
    api_config,
    api_confirm,
    api_endpoint,
    log_redact,
    service_release,
    settings_changes,
)
from lib.api_endpoint import NO_STORE
from lib.api_process import Process
from lib.api_request import Refused, Reply, Request
from lib.config_schema import Config
from lib.errors import ConfigError, HostError, Problem
from lib.service_scheduling import Breaths
from lib.settings import Settings

MAX_PROBLEMS = 200
MAX_TEXT = 1 << 20
"""Bytes of the configuration as text."""


class ConfigPages:
    """The handlers."""

    def __init__(self, process: Process) -> None:
        self._changes, self._confirmations = process.changes, process.confirmations
        self._shown: tuple[str, Settings] | None = None
        """The stamp of what was shown last, and those settings."""
        self._text: tuple[int, str] | None = None
        """The version that was asked for last, and the configuration as text."""
        self._loaded, self._version = time.time(), process.changes.version

    def config(self, request: Request) -> Reply:
        """The configuration in use, secrets hidden."""
        if self._version != self._changes.version:
            self._loaded, self._version = time.time(), self._changes.version
        kept, version = self._text, self._changes.version
        if kept is None or kept[0] != version:
            kept = self._text = version, _text(self._changes.config)
        body = {"files": list(self._changes.files), "loaded": round(self._loaded, 1), "text": kept[1]}
        return Reply(body, headers=NO_STORE)

    def difference(self, request: Request) -> Reply:
        """What a reload would change."""
        try:
            new = self._changes.preview()
        except (ConfigError, HostError) as error:
            problems = error.problems if isinstance(error, ConfigError) else ()
            rows = _rows(problems) or [{"where": "", "text": log_redact.secrets(str(error)), "hint": ""}]
            warnings = _rows(error.warnings) if isinstance(error, ConfigError) else []
            body = {"stamp": "", "differs": False, "problems": rows, "warnings": warnings, "changes": []}
            return Reply(body, headers=NO_STORE)
        found = settings_changes.changes(self._changes.settings, new, Breaths())
        if self._shown is None or self._shown[1] is not new:  # or a look of one would spoil that of another
            service_release.later([self._shown])
            self._shown = os.urandom(8).hex(), new
        body = {
            "stamp": self._shown[0],
            "differs": bool(found),
            "problems": [],
            "warnings": _rows(new.warnings),
            "changes": [one._asdict() for one in found],
        }
        return Reply(body, headers=NO_STORE)

    def reload(self, request: Request) -> Reply:
        """Use what the files say now, if it is what was shown."""
        api_confirm.seconds(request)
        stamp = str(api_endpoint.body(request)["stamp"])
        return api_confirm.to_the_end(partial(self._reloaded, request, stamp))

    def _reloaded(self, request: Request, stamp: str) -> Reply:
        with self._changes.alone():
            self._confirmations.check_free()
            return self._reload_alone(request, stamp)

    def _reload_alone(self, request: Request, stamp: str) -> Reply:
        shown, before = self._shown, self._changes.settings
        if shown is None or shown[0] != stamp:
            raise Refused(
                409, "the files have changed since, or were applied: look at the difference once more"
            )
        try:
            if self._changes.preview() is not shown[1]:
                raise Refused(409, "the files have changed since: look at the difference once more")
        except (ConfigError, HostError) as error:
            raise Refused(422, str(error)) from None
        put_back = self._changes.keep()
        told = settings_changes.lines(settings_changes.changes(before, shown[1], Breaths()))
        problems = self._changes.reload()
        if problems:
            raise Refused(422, "; ".join(problems)[:2000])
        self._shown = None
        api_audit.tell(request, "reload the configuration", told)
        number = self._confirmations.begin(request, "reload of the configuration", put_back)
        return Reply({"applied": told, **({"confirm": number} if number else {})})

    # --- confirmations

    def pending(self, request: Request) -> Reply:
        """The change that waits to be confirmed."""
        return Reply({"pending": self._confirmations.pending}, headers=NO_STORE)

    def confirm(self, request: Request) -> Reply:
        """Keep it."""
        self._confirmations.confirm(request, int(api_endpoint.body(request)["id"]))
        return Reply({"msg": "OK"})

    def undo(self, request: Request) -> Reply:
        """Undo it now."""
        self._confirmations.undo(request, int(api_endpoint.body(request)["id"]))
        return Reply({"msg": "OK"})


def _text(config: Config) -> str:
    """As much of a configuration as people read, secrets hidden."""
    step = Breaths()
    found, size = [], 0
    for piece in api_config.as_yaml(config, lambda name: None, step):
        step()
        size += len(piece)
        found.append(piece)
        if size > MAX_TEXT:
            found.append(b"# and so on: GET /config has all of it\n")
            break
    return b"".join(found).decode("utf-8", "replace")


def _rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    listed = list(problems)
    hide = log_redact.secrets  # a message may quote a URL
    rows = [
        {"where": str(one.where), "text": hide(one.message), "hint": hide(one.hint)}
        for one in listed[:MAX_PROBLEMS]
    ]
    more = len(listed) - MAX_PROBLEMS
    return rows + ([{"where": "", "text": f"and {more} more", "hint": ""}] if more > 0 else [])
