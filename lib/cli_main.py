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
from typing import Any, BinaryIO

from lib import (
    __version__,
    auth_passwords,
    cli_config,
    cli_entry,
    config_lint,
    config_only_tunnel,
    config_read,
    config_secrets,
    log_setup,
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
        ("test", _test),
        ("lint", _lint),
        ("doctor", _doctor),
        ("hash", _hash),
        *cli_entry.AT_ONCE,
        *((command, _capture) for command in ("capture", "trace")),
        ("explain", _explain),
        *((command, _shell) for command in ("completion", "man")),
        ("licences", _licences),
        ("join", _join),
        ("unlock", _unlock),
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
    whole = cli_config.read(arguments)
    if whole.problems:
        raise ConfigError(whole.problems, whole.warnings, whole.notices)
    print(config_read.render(whole, style))
    return 0


def _check(arguments: Mapping[str, Any]) -> int:
    from lib import cli_check

    def resolve(config: Config) -> Settings:
        _every(arguments["-R"])
        return cli_config.settings(arguments, config)

    return cli_check.run(arguments, lambda: cli_config.read(arguments), resolve)


def _test(arguments: Mapping[str, Any]) -> int:
    from lib import cli_test

    return cli_test.run(_told(cli_config.settings(arguments)), arguments["--json"])


def _lint(arguments: Mapping[str, Any]) -> int:
    findings = config_lint.findings([cli_config.text(source) for source in arguments["FILE"]])
    if arguments["--json"]:
        print(settings_summary.as_json(None, findings))
    else:
        for finding in findings:
            print(printable(str(finding)))
        print(
            counted(len(findings), "finding") if findings else "no mistake that GOST accepts without a word"
        )
    return 1 if findings else 0


def _doctor(arguments: Mapping[str, Any]) -> int:
    from lib import cli_doctor

    return cli_doctor.run(arguments)


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

    status: int = cli_explain.run(arguments, lambda: _told(cli_config.settings(arguments)))
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


def _join(arguments: Mapping[str, Any]) -> int:
    from lib import cli_join  # TLS and the data plane's streams

    status: int = cli_join.run(arguments, _first_line, _serve)
    return status


def _unlock(arguments: Mapping[str, Any]) -> int:
    from lib import client_killswitch  # it runs nft

    kept = client_killswitch.unlock()
    if kept is None:
        print("no killswitch is set here")
    else:
        what = client_killswitch.described(kept).replace("lets", "let")
        print(printable(f"the killswitch is removed: {what}"))
    return 0


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
    reading = cli_config.Rereading(arguments)
    settings = reading.settings()
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
    every = _every(arguments["-R"])
    try:
        if settings.workers == 1 or not _run_workers(settings, reading, every, notifier):
            Service(settings, reading.settings, every, notifier, reading).run()
    finally:
        log_setup.finish()
        service_signals.ended()
    return 0


def _run_workers(settings: Settings, reading: Any, every: float, notifier: Any) -> bool:
    """Serve with several workers; False where `auto` comes to one only, and nothing was begun."""
    from lib import worker_service  # nothing of workers is loaded where nobody asks for them

    count = worker_service.count(settings)
    if count > 1:
        worker_service.WorkerService(settings, count, reading, every, notifier).run()
    return count > 1


def _every(text: str | None) -> float:
    """The seconds of -R, 0 without it. Raises ConfigError."""
    try:
        seconds = parse_duration(text, SECONDS) / SECONDS if text else 0.0
    except ValueError as wrong:
        raise ConfigError([Problem(Position("-R"), str(wrong))]) from None
    if seconds < 0:
        raise ConfigError([Problem(Position("-R"), "a duration below zero")])
    return seconds
