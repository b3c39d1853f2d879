"""Every command of the program, from parsed arguments to an exit status.

Knows: which function each command has, where configurations are looked for.
Refuses to know: what a configuration means (config_resolve), how it is served (service), what errors cost
(cli_entry).
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from lib import (
    __version__,
    auth_passwords,
    cli_entry,
    config_from_urls,
    config_instead,
    config_lint,
    config_only_tunnel,
    config_read,
    config_resolve,
    config_secrets,
    ctl_find,
    log_setup,
    service_collector,
    service_signals,
    settings_summary,
    text_encoding,
)
from lib.cli_descriptors import complain
from lib.config_schema import Config
from lib.errors import ConfigError, HostError, Position, Problem
from lib.go_values import SECONDS, parse_duration
from lib.humanize import counted
from lib.log_events import Entry
from lib.log_setup import say
from lib.printable import printable
from lib.service_threads import aside
from lib.settings import Settings

DEMO_SECONDS = "5"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    return cli_entry.run(
        sys.argv[1:] if argv is None else argv, lambda arguments: _command(arguments)(arguments)
    )


def _command(arguments: Mapping[str, Any]) -> Any:
    table = (
        ("demo", _demo),
        ("check", _check),
        ("lint", _lint),
        ("hash", _hash),
        *cli_entry.AT_ONCE,
        *((command, _capture) for command in ("capture", "trace")),
        ("explain", _explain),
        *((command, _shell) for command in ("completion", "man")),
        ("licences", _licences),
        ("-O", _print),
    )
    for name, run in table:
        if arguments[name]:
            service_signals.ordinary()
            return run
    return _serve


def _demo(arguments: Mapping[str, Any]) -> int:
    try:
        seconds = float(arguments["--seconds"] or DEMO_SECONDS)
    except ValueError:
        raise ConfigError([Problem(Position("--seconds"), "not a number")]) from None
    from lib import demo  # takes 29 ms, which other commands do not need

    return demo.run(keep=arguments["--keep"], seconds=seconds)


def _print(arguments: Mapping[str, Any]) -> int:
    style = arguments["-O"]
    if style not in ("yaml", "json"):
        raise ConfigError([Problem(Position("-O"), f"unknown format {style!r}", "write yaml or json")])
    whole = _read(arguments)
    if whole.problems:
        raise ConfigError(whole.problems, whole.warnings, whole.notices)
    print(config_read.render(whole, style))
    return 0


def _check(arguments: Mapping[str, Any]) -> int:
    from lib import cli_check

    def resolve(config: Config) -> Settings:
        _every(arguments["-R"])
        return _settings(arguments, config)

    return cli_check.run(arguments, lambda: _read(arguments), resolve)


def _lint(arguments: Mapping[str, Any]) -> int:
    findings = config_lint.findings([_source(source) for source in arguments["FILE"]])
    if arguments["--json"]:
        print(settings_summary.as_json(None, findings))
    else:
        for finding in findings:
            print(printable(str(finding)))
        print(
            counted(len(findings), "finding") if findings else "no mistake that GOST accepts without a word"
        )
    return 1 if findings else 0


def _hash(arguments: Mapping[str, Any]) -> int:
    """Print the hash of a password: asked for twice on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        try:
            password, again = getpass.getpass("password: "), getpass.getpass("once more: ")
        except EOFError:  # Ctrl-D
            raise HostError("no password was given") from None
        if password != again:
            raise HostError("these were two passwords")
    else:
        password = _first_line(sys.stdin.buffer)
    if not password:
        raise HostError("an empty password admits nobody")
    print(auth_passwords.hashed(password, os.urandom(auth_passwords.SALT_SIZE)))
    return 0


def _first_line(file: BinaryIO) -> str:
    """The first line of a text without its end, whatever editor or shell it is from."""
    try:
        line = file.readline(config_secrets.MAX_SIZE)
        if text_encoding.of(line[:4], guess=False)[0] != "utf-8":
            line += file.read(config_secrets.MAX_SIZE)  # a line end of UTF-16 is two bytes
    except OSError as error:
        raise HostError(f"standard input: {error.strerror or error}") from None
    try:
        text = text_encoding.utf8(line, guess=False).decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        raise HostError(f"standard input: {error}") from None
    return text.partition("\n")[0].removesuffix("\r")


def _explain(arguments: Mapping[str, Any]) -> int:
    from lib import cli_explain  # the data plane, which what only prints need not load

    status: int = cli_explain.run(arguments, lambda: _told(_settings(arguments)))
    return status


def _told(settings: Settings) -> Settings:
    """The settings, after what was left to GOST is named beside the explanation."""
    for notice in settings.notices:
        if config_only_tunnel.is_left(notice):
            complain(printable(f"note: {notice}"))
    return settings


def _capture(arguments: Mapping[str, Any]) -> int:
    from lib import cli_capture

    return cli_capture.run(arguments)


def _shell(arguments: Mapping[str, Any]) -> int:
    from lib import cli_completion, cli_manpage

    if arguments["man"]:
        print(cli_manpage.page(__version__, _day_of_manual()), end="")
    else:
        shell = next(name for name in ("bash", "zsh", "fish") if arguments[name])
        print(cli_completion.script(shell), end="")
    return 0


def _day_of_manual() -> str:
    """The date on the manual page: today, or SOURCE_DATE_EPOCH, which makes builds reproducible."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(epoch) if epoch.isascii() and epoch.isdecimal() else None
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _licences(arguments: Mapping[str, Any]) -> int:
    from lib import cli_licences

    return cli_licences.run(arguments)


def _serve(arguments: Mapping[str, Any]) -> int:
    log_setup.guard()
    if not arguments["--single"]:
        return _run(arguments)
    from lib import service_pidfile

    held = service_pidfile.take(arguments["--single"])
    if held is None:  # before anything is read: cron tries every minute, and that must cost and say nothing
        log_setup.setup("debug" if arguments["-D"] else "info", "text")
        path = arguments["--single"]
        say(Entry.HELD, "%s is held by another one: nothing to do", path, file=path)
        return 0
    try:
        return _run(arguments)
    finally:
        held.release()


def _run(arguments: Mapping[str, Any]) -> int:
    settings = _settings(arguments)
    _every(arguments["-R"])
    log_setup.setup(settings.log_level, settings.log_format, settings.log_output, settings.log_rotation)
    for warning in settings.warnings:
        log_setup.say_problem(Entry.CONFIG_WARNING, warning)
    for notice in settings.notices:
        log_setup.say_problem(Entry.CONFIG_NOTICE, notice)
    from lib import service_notify  # what only prints need not load the data plane
    from lib.hub_accept import raise_descriptor_limit
    from lib.service import Service

    raise_descriptor_limit()
    notifier = service_notify.take(os.environ)
    try:
        Service(settings, lambda: _settings(arguments), _every(arguments["-R"]), notifier).run()
    finally:
        log_setup.finish()
    return 0


def _every(text: str | None) -> float:
    """The seconds of -R, 0 without it. Raises ConfigError."""
    try:
        seconds = parse_duration(text, SECONDS) / SECONDS if text else 0.0
    except ValueError as wrong:
        raise ConfigError([Problem(Position("-R"), str(wrong))]) from None
    if seconds < 0:
        raise ConfigError([Problem(Position("-R"), "a duration below zero")])
    return seconds


def _settings(arguments: Mapping[str, Any], config: Config | None = None) -> Settings:
    """The settings of the arguments and of the files they name, which `config` holds. Raises ConfigError."""
    names = [name for name in arguments["-C"] if name != "-" and not config_read.is_inline(name)]
    control = arguments["--control"] or ctl_find.default_path()
    with service_collector.paused():
        settings = config_resolve.resolve(config or _read(arguments), config_secrets.read)
    return replace(
        settings,
        user=_user(arguments["--user"]) or settings.user,
        files=tuple(map(os.path.abspath, names)),
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


def _read(arguments: Mapping[str, Any]) -> Config:
    """The configuration of -C, -L and -F; without -C and -L, of the first default file that exists."""
    sources = list(arguments["-C"])
    if not sources and not arguments["-L"] and not arguments["--api"]:
        sources = _found_files()
    files = config_read.read([_source(source) for source in sources])
    environ = os.environ.get
    level = "debug" if arguments["-D"] else environ("GOST_LOGGER_LEVEL", "")
    api = arguments["--api"] or environ("GOST_API", "")
    metrics = arguments["--metrics"] or environ("GOST_METRICS", "")
    flags = config_from_urls.read(
        arguments["-L"], arguments["-F"], api=api, metrics=metrics, level=level, taken=files
    )
    if files.log is not None and flags.log is not None:  # as in GOST: where to and in which form stays
        files.log.level, flags.log = flags.log.level, None
    whole = config_read.merge([files, flags])
    return config_only_tunnel.only_tunnel(whole) if arguments["--only-tunnel"] else whole


def _found_files() -> list[str]:
    names = config_read.default_files(os.path.expanduser("~"))
    found = [name for name in names if os.path.exists(name)]
    if not found:
        what = "no -L, no -C, and none of these exists: " + ", ".join(names)
        raise ConfigError([Problem(Position("tunrouter"), what, "see tunrouter --help")])
    return found[:1]


@cache
def _standard_input() -> bytes:
    """The text of standard input, kept because a reload cannot read it again."""
    return sys.stdin.buffer.read()


def _source(source: str) -> tuple[str, str]:
    """(name, text) of one -C."""
    if config_read.is_inline(source):
        return "-C", source
    if config_read.is_url(source):
        wrong = f"{source}: a configuration from a URL is not supported yet"
        raise ConfigError([Problem(Position("-C"), wrong, config_instead.URL_OF_A_FILE)])
    name = "standard input" if source == "-" else source
    try:
        data = _standard_input() if source == "-" else aside(source, Path(source).read_bytes)
        return name, text_encoding.utf8(data).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError([Problem(Position(name), error.strerror or str(error))]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(Position(name), str(error))]) from None
