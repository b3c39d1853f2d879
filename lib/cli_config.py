"""The configuration of a command line, and the settings made of it, made anew where a byte of it is new.

Knows: which files, texts and flags make up a configuration; that a reload with the same bytes has the same
outcome.
Refuses to know: what they mean (config_resolve), when a reload is due (service).

A reload reads the files, and the files and variables that they refer to. Where all of these hold the same
bytes as the last time, the settings of the last time count. Otherwise everything is parsed and checked again,
with a call of `step` after every few microseconds of work, so that a hub forwards packets meanwhile. To free
what was parsed takes long too, and goes in the same steps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from lib import (
    config_from_urls,
    config_instead,
    config_only_tunnel,
    config_read,
    config_resolve,
    config_secrets,
    ctl_find,
    service_collector,
    service_release,
    text_encoding,
)
from lib.config_findings import at_once
from lib.config_known import Known
from lib.config_references import Reader
from lib.config_schema import Config
from lib.errors import ConfigError, Position, Problem
from lib.service_threads import aside
from lib.settings import Settings

PIECE = 1 << 18
"""Bytes of a file whose digest is made in one step."""

Arguments = Mapping[str, Any]
Step = Callable[[], None]


class Source(NamedTuple):
    """One configuration text: its name in messages, its bytes as they were read, and its file, if any."""

    name: str
    data: bytes
    path: str = ""


def read(arguments: Arguments) -> Config:
    """The configuration of -C, -L and -F; without -C and -L, of the first default file that exists.

    Raises ConfigError where a file cannot be read. What else is wrong is in the result.
    """
    with service_collector.paused():
        return _parsed(arguments, _sources(arguments, at_once), at_once)


def settings(arguments: Arguments, config: Config | None = None) -> Settings:
    """The settings of the arguments and of the files they name, which `config` holds. Raises ConfigError."""
    with service_collector.paused():
        config = config or read(arguments)
        resolved = config_resolve.resolve(config, config_secrets.read)
    return _completed(resolved, config, arguments)


class Rereading:
    """The settings of a command line that a process runs by, to be read again and again."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._key = os.urandom(16)
        """Digests with a key of this process tell nobody whether a secret is the one they think."""
        self._digest = b""
        self._references: dict[tuple[str, str], bytes] = {}
        """(kind, name) of each reference -> the digest of its value, or of why there is none."""
        self._outcome: Settings | ConfigError | None = None
        """What came of it the last time."""
        self._known = Known()
        self.config: Config | None = None
        """What was read the last time that it was right, as it was written; None where no API is served."""

    def another(self) -> Rereading:
        """One that reads the same by itself, and has read what this one has."""
        made = copy(self)
        made._known = Known()  # each forgets what the other one has not read
        return made

    def settings(self, step: Step = at_once) -> Settings:
        """The settings now: the same object as the last time where nothing they are made of has changed.

        `step` is called after every little piece of work. Raises ConfigError.
        """
        sources = _sources(self._arguments, step)
        digest = self._digest_of(sources, step)
        if digest != self._digest or self._outcome is None or self._refers_to_others(step):
            before, self._outcome = self._outcome, None  # also where this is ended midway
            self._references = {}
            self._outcome = self._made(sources, step)
            self._digest = digest
            service_release.later([before])
        if isinstance(self._outcome, Settings):
            return self._outcome
        known = self._outcome  # one that is raised again would keep the frames of every time
        raise ConfigError(known.problems, known.warnings, known.notices)

    def _made(self, sources: Sequence[Source], step: Step) -> Settings | ConfigError:
        with service_collector.paused():
            try:
                config = _parsed(self._arguments, sources, step)
                if config.api is not None:
                    return self._kept(config, step)
                try:
                    resolved = config_resolve.resolve(config, self._noted, step)
                finally:
                    config_read.release(config, step)
                self.config = None
                return _completed(resolved, config, self._arguments)
            except ConfigError as error:
                return ConfigError(error.problems, error.warnings, error.notices)

    def _kept(self, config: Config, step: Step) -> Settings:
        """The settings of a configuration that is kept as it was written, for the web API.

        Raises ConfigError.
        """
        try:
            resolved = self._resolved(config, self._noted, step)
        except ConfigError:
            config_read.release(config, step)
            raise
        config_read.release_trees(config, config.trees, step)
        config.trees = []
        before, self.config = self.config, config if resolved.api is not None else None
        service_release.later([before])
        return _completed(resolved, config, self._arguments)

    def _resolved(self, config: Config, read: Reader, step: Step) -> Settings:
        """The settings of a configuration that stays as it was written. Raises ConfigError."""
        copy = self._known.copied(config, step)
        try:
            resolved = config_resolve.resolve(copy, read, step, self._known)
            self._known.keep(step)
            return resolved
        finally:
            self._known.release(copy, step)

    def settings_of(self, config: Config, step: Step = at_once) -> Settings:
        """The settings of another configuration, with the same options. Raises ConfigError."""

        def value(kind: str, name: str) -> str:
            found = _secret(kind, name)
            if isinstance(found, ValueError):
                raise found
            return found

        with service_collector.paused():
            resolved = self._resolved(config, value, step)
        return _completed(resolved, config, self._arguments)

    def _noted(self, kind: str, name: str) -> str:
        """The value of a reference, whose digest is kept. Raises ValueError."""
        value = _secret(kind, name)
        self._references[kind, name] = self._digest_of_value(value)
        if isinstance(value, ValueError):
            raise ValueError(*value.args)  # the same, for the same reason
        return value

    def _refers_to_others(self, step: Step) -> bool:
        """Whether the value of a reference is another one than the last time."""
        for (kind, name), digest in self._references.items():
            if self._digest_of_value(_secret(kind, name)) != digest:
                return True
            step()
        return False

    def _digest_of_value(self, value: str | ValueError) -> bytes:
        kind = b"wrong" if isinstance(value, ValueError) else b"value"
        return blake2b(str(value).encode("utf-8", "surrogatepass"), key=self._key, person=kind).digest()

    def _digest_of(self, sources: Sequence[Source], step: Step) -> bytes:
        found = blake2b(key=self._key)
        for name, data, _ in sources:
            found.update(f"{len(data)} {len(name)} {name}".encode("utf-8", "surrogatepass"))
            for start in range(0, len(data), PIECE):
                found.update(data[start : start + PIECE])
                step()
        return found.digest()


def _secret(kind: str, name: str) -> str | ValueError:
    """The value of config_secrets.read, in a thread; or the error that it raises."""
    try:
        return aside(name, config_secrets.read, kind, name)
    except TimeoutError as late:
        return ValueError(f"{name}: {late.strerror}")
    except ValueError as wrong:
        return ValueError(*wrong.args)  # without the frames, which would keep the file that is being read


def _completed(resolved: Settings, config: Config, arguments: Arguments) -> Settings:
    """Settings with what only the command line says, and the files that they come from."""
    control = arguments["--control"] or ctl_find.default_path()
    return replace(
        resolved,
        user=_user(arguments["--user"]) or resolved.user,
        files=tuple(config.files),
        control="" if control == "none" else control,
        trace=_trace(arguments["--trace"]),
    )


def _user(name: str | None) -> str:
    """The name of --user, "" without it. Raises ConfigError for an empty one, with which root would stay."""
    if name is not None and not name.strip():
        raise ConfigError([Problem(Position("--user"), "it is empty", "write a name, or leave it out")])
    return name or ""


def _trace(text: str | None) -> str:
    """The filter of --trace, "" without it; parsed here so that a wrong one ends the program at once."""
    if text:
        from lib import cli_capture

        cli_capture.checked(text, "--trace")
    return text or ""


# --- the texts -----------------------------------------------------------------------------------


def _sources(arguments: Arguments, step: Step) -> list[Source]:
    """What -C names, or the first default file that exists."""
    names = list(arguments["-C"])
    if not names and not arguments["-L"] and not arguments["--api"]:
        names = _found_files()
    return [_source(name, step) for name in names]


def _parsed(arguments: Arguments, sources: Sequence[Source], step: Step) -> Config:
    files = config_read.read(map(_decoded, sources), step)
    environ = os.environ.get
    level = "debug" if arguments["-D"] else environ("GOST_LOGGER_LEVEL", "")
    api = arguments["--api"] or environ("GOST_API", "")
    metrics = arguments["--metrics"] or environ("GOST_METRICS", "")
    flags = config_from_urls.read(
        arguments["-L"], arguments["-F"], api=api, metrics=metrics, level=level, taken=files
    )
    if files.log is not None and flags.log is not None:  # as in GOST: where to and in which form stays
        files.log.level, flags.log = flags.log.level, None
    ours = flags.api
    if arguments["--only-tunnel"]:
        flags.api = None  # that of a file is GOST's, which runs beside us
    made = config_read.merge([files, flags])
    if arguments["--only-tunnel"]:
        made = config_only_tunnel.only_tunnel(made)
        made.api = ours
    made.files = [os.path.abspath(source.path) for source in sources if source.path]
    return made


def _found_files() -> list[str]:
    try:
        names, found = aside("the default files", _look_for_files)
    except TimeoutError as error:
        raise ConfigError([Problem(Position("the default files"), str(error.strerror))]) from None
    if not found:
        what = "no -L, no -C, and none of these exists: " + ", ".join(names)
        raise ConfigError([Problem(Position("tunrouter"), what, "see tunrouter --help")])
    return found[:1]


def _look_for_files() -> tuple[list[str], list[str]]:
    """The default files: all of them, and those that exist."""
    names = list(config_read.default_files(os.path.expanduser("~")))
    return names, [name for name in names if os.path.exists(name)]


@cache
def standard_input() -> bytes:
    """The text of standard input, kept because a reload cannot read it again."""
    return sys.stdin.buffer.read()


def text(source: str) -> tuple[str, str]:
    """(name, text) of one -C. Raises ConfigError."""
    return _decoded(_source(source, at_once))


def _source(source: str, step: Step) -> Source:
    """One -C, read. Raises ConfigError."""
    if config_read.is_inline(source):
        return Source("-C", source.encode("utf-8", "surrogateescape"))
    if config_read.is_url(source):
        wrong = f"{source}: a configuration from a URL is not supported yet"
        raise ConfigError([Problem(Position("-C"), wrong, config_instead.URL_OF_A_FILE)])
    name = "standard input" if source == "-" else source
    try:
        data = standard_input() if source == "-" else aside(source, Path(source).read_bytes)
        step()
        return Source(name, data, "" if source == "-" else source)
    except OSError as error:
        raise ConfigError([Problem(Position(name), error.strerror or str(error))]) from None


def _decoded(source: Source) -> tuple[str, str]:
    """(name, text) of a source. Raises ConfigError where it is no text."""
    try:
        return source.name, text_encoding.utf8(source.data).decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(Position(source.name), str(error))]) from None
