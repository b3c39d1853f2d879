"""Environment variables: those that are read here, and the caller's others, which reach no library.

Knows: which variables are documented; that any other one may stand in a configuration (`${env:NAME}`).
Refuses to know: what is done with a value (whoever reads it).

GEVENT_LOOP, PURE_PYTHON, OPENSSL_CONF, RES_OPTIONS and some hundred more change what the libraries do, and
some break the program. So all but the documented ones are set aside before any library is loaded. What the
dynamic linker and Python themselves read (LD_PRELOAD, MALLOC_CHECK_, PYTHONPATH) is read before that. The
executable's bootloader sets such variables aside (tunrouter_unpack.c, READ); a checkout begins too late.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

READ = (
    (("GOST_LOGGER_LEVEL",), "the log's level: trace, debug, info, warn, error, fatal"),
    (("GOST_METRICS",), "as --metrics"),
    (("GOST_API",), "as --api"),
    (
        ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
        (
            "set by a service manager, which is told that the process is ready, reloads, ends, and "
            "still works; see sd_notify(3)"
        ),
    ),
    (
        ("SSL_CERT_FILE", "SSL_CERT_DIR"),
        "certificates to trust instead of the system's, a file or directories of them, as for OpenSSL and Go",
    ),
    (("NO_COLOR",), "tables without colour"),
    (("COLUMNS", "LINES", "TERM", "COLORTERM"), "the terminal's size and what it can show"),
    (("TZ",), "the time zone of the log"),
    (
        ("TMPDIR", "TEMP", "TMP"),
        "where the one-file executable unpacks itself; files there must be executable (no noexec)",
    ),
    (
        ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"),
        "where the control socket, certificates that were made and a configuration are looked for",
    ),
    (("PATH",), "where getent(1) is looked for, which looks up names, resolvectl(1) and nft(8)"),
    (("SOURCE_DATE_EPOCH",), "the day on the manual page"),
)
"""Variables that are read, and what for (tunrouter man prints it)."""

SET_ASIDE = "TUNROUTER_CALLER_"
"""What the bootloader puts before the names of all others."""

_aside: dict[str, str] = {}
_lent: set[str] = set()
"""Those of another process among them."""


def set_aside(environ: MutableMapping[str, str], loaded: bool) -> None:
    """Remove from `environ` all that READ does not have; value() still knows it.

    `loaded` where the bootloader has started us: what it has not given another name is its own then.
    """
    names = {name for names, _ in READ for name in names}
    before = SET_ASIDE if loaded else ""
    for name in [name for name in environ if name not in names]:
        value = environ.pop(name)
        if name.startswith(before):
            _aside[name.removeprefix(before)] = value


def value(name: str, environ: Mapping[str, str]) -> str | None:
    """The value of a variable of the caller's environment, documented or not; None where it is not set."""
    return _aside.get(name, environ.get(name))


def lend(variables: Mapping[str, str]) -> None:
    """Let value() know the variables of another process too, where this one has none of the name.

    Those of the process before it are forgotten.
    """
    for name in _lent:
        del _aside[name]
    _lent.clear()
    for key, text in variables.items():
        name = key.removeprefix(SET_ASIDE)
        if name not in _aside:
            _aside[name] = text
            _lent.add(name)


def whole(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment as it was, for a program that shall start like this one."""
    return {**environ, **_aside}
