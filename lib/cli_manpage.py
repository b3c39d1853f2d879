"""The manual page tunrouter(8), made from the usage text and from tables in this module.

Knows: man(7)'s macros, signals, files, exit statuses, environment. Refuses to know: what day it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from lib import cli_grammar, service_environment
from lib.cli_grammar import Command
from lib.config_own_keys import KEYS

_FILES = (
    (
        "/etc/tunrouter/tunrouter.yaml",
        (
            "the configuration where neither -C nor -L names one; also in ~/.tunrouter and in the "
            "working directory, also as .yml and .json"
        ),
    ),
    (
        "/run/tunrouter/PID.sock",
        (
            "the control socket of each running process, mode 0600; for users other than root in "
            "$XDG_RUNTIME_DIR/tunrouter, or without that variable in /tmp/tunrouter-UID/tunrouter. "
            "Where /run/tunrouter belongs to another user, root's are in /run/tunrouter-root"
        ),
    ),
    (
        "/var/lib/tunrouter/cert.pem, key.pem",
        "a certificate that was made because none was given; ~/.local/state/tunrouter for others than root",
    ),
    (
        "/etc/tunrouter/HOST.yaml, HOST.login",
        "what join writes: a configuration, and the login that it names, mode 0600; see --into",
    ),
    ("/dev/net/tun", "a client makes its device with it"),
    (
        "/usr/share/doc/tunrouter/guide.md",
        (
            "the guide: every key of a configuration; beside it recipes.md, operating.md (passwords, backup, "
            "containers), watching.md, and examples; /usr/local/share where no package has installed it"
        ),
    ),
)

_STATUS = (
    (
        "0",
        (
            "done, or ended by SIGTERM or SIGINT; doctor: nothing is wrong; explain: the packet would be "
            "forwarded; --single: one runs; health: every hub listens and every client is connected"
        ),
    ),
    (
        "1",
        (
            "this host does not allow it, and one line says why: a port is taken, a device cannot be "
            "made, no process runs that could be asked; lint and doctor: there are findings; "
            "test: a policy test fails, cannot be judged, or there is none; "
            "health: something is not as it should be, or no process replies within 3 s"
        ),
    ),
    (
        "2",
        (
            "the command line or a file is wrong; each mistake is printed with file, line and column; "
            "commands that ask a process: several run, and --control names none of them"
        ),
    ),
    ("3", "explain: the packet would be dropped"),
)

_SIGNALS = (
    (
        "SIGTERM, SIGINT",
        (
            "end: a hub asks its clients to go elsewhere and empties its queues, for drainTimeout (5 s) "
            "at most; a second signal ends it at once"
        ),
    ),
    ("SIGHUP", "read the configuration again, and every table's sources; a mistake changes nothing"),
    ("SIGUSR1", "log what was dropped so far by reason, session and namespace"),
)

_ENVIRONMENT = (
    *((", ".join(names), about) for names, about in service_environment.READ),
    (
        "any other",
        "only by its name in a configuration (${env:NAME}); nothing else of the environment is used",
    ),
)

_EXAMPLES = (
    ("A hub with its table in a file, and two hosts:", (
        "tunrouter -C server.yml",
        'tunrouter -L "tun:///host-1?net=192.168.123.1/24&route=192.168.200.0/24" -F "router://server_ip:8443"',
        'tunrouter -L "tun:///host-2?net=192.168.123.2/24&route=192.168.100.0/24" -F "router://server_ip:8443"',
    )),
    ("What is wrong with a file, and what does it mean?", ("tunrouter check -C hub.yml",)),
    ("What is wrong here, and what mends it?", ("tunrouter doctor", "tunrouter doctor --to 192.168.200.7")),
    ("Why does a packet not arrive?", ("tunrouter explain --from host-1 192.168.200.7", "tunrouter drops")),
    ("A host joins a hub by an invitation; the first command is for the hub, the second for the host:", (
        "tunrouter invite host-7 --address hub.example:8443 --gateway 192.168.123.7",
        "tunrouter join tunrouter1-... --now",
    )),
    ("From cron, every minute, once only:", (
        "tunrouter -C /etc/tunrouter/tunrouter.yaml --single /run/tunrouter.pid",
    )),
)  # fmt: skip


def page(version: str, date: str) -> str:
    """The page in roff with man(7)'s macros; `date` is YYYY-MM-DD."""
    lines = [f'.TH TUNROUTER 8 "{date}" "tunrouter {_text(version)}" "System Administration"']
    lines += [".SH NAME", f"tunrouter \\- {_text(_subject())}"]
    lines += [".SH SYNOPSIS", ".nh", ".ad l"]
    lines += [line for command in cli_grammar.commands() for line in _synopsis(command.synopsis)]
    lines += [
        line for option in cli_grammar.switches() for line in _synopsis("[" + " | ".join(option.names) + "]")
    ]
    lines += [
        ".ad b",
        ".hy",
        ".SH DESCRIPTION",
        *_paragraph(_DESCRIPTION),
        ".PP",
        *_paragraph(cli_grammar.closing()),
    ]
    lines += [".SH COMMANDS"]
    for command in cli_grammar.commands():
        lines += [
            ".TP",
            f".B {_text(command.name)}" if command.name else ".I (none)",
            *_paragraph(_about(command)),
        ]
    lines += [".SH OPTIONS"]
    for option in cli_grammar.options():
        names = ", ".join(f"\\fB{_text(name)}\\fR" for name in option.names)
        lines += [
            ".TP",
            names + (f" \\fI{_text(option.value)}\\fR" if option.value else ""),
            *_paragraph(option.about),
        ]
    for title, entries in (
        ("EXIT STATUS", _STATUS),
        ("FILES", _FILES),
        ("SIGNALS", _SIGNALS),
        ("ENVIRONMENT", _ENVIRONMENT),
    ):
        lines += [f".SH {title}"]
        for what, about in entries:
            lines += [".TP", f".B {_text(what)}", *_paragraph(about)]
    lines += [".SH CONFIGURATION", *_paragraph(_ABOUT_KEYS), *_keys()]
    lines += [".SH EXAMPLES"]
    for number, (about, commands) in enumerate(_EXAMPLES):
        lines += [".PP"] * bool(number) + _paragraph(about)
        lines += [".PP", ".nf", ".RS", *(_text(command) for command in commands), ".RE", ".fi"]
    lines += [".SH SEE ALSO", ".BR ip (8),", ".BR systemd.service (5),", ".BR sd_notify (3)"]
    return "\n".join(lines) + "\n"


_DESCRIPTION = (
    "Each client opens a TUN device, names itself and connects to a hub over TCP, TLS or WebSocket; the hub"
    " routes IP packets between the clients by a table of prefixes, in namespaces that never see each other."
    " Configuration files, -L and -F URLs and the bytes on the wire are those of GOST v3's routing tunnel,"
    " in both roles."
)


_ABOUT_KEYS = (
    "The notation is GOST's. These keys are tunrouter's own; the guide explains them with everything around"
    " them. A switch is on or off; a duration is written 500ms, 10s or 1m30s; a size is written 64KB or 16MB,"
    " where 1 KB is 1,024 bytes."
)


def _keys() -> Iterator[str]:
    """The keys of ours, by place."""
    for place, rows in groupby(KEYS, key=lambda row: row.place):
        yield f".SS {_text(place)}"
        for row in rows:
            said = f"{row.about} Type: {row.kind}. Default: {row.default}. Example:"
            yield from (".TP", f".B {_text(row.key)}", *_paragraph(said.replace("`", "")))
            yield from (".nf", _text(row.example), ".fi")  # some are longer than a line


def _subject() -> str:
    """The usage text's first line, without the program's name."""
    return cli_grammar.title().partition(": ")[2].rstrip(".")


def _about(command: Command) -> str:
    """The explanation of a command, and the options that it takes."""
    known = ", ".join(option.names[0] for option in command.options)
    return f"{command.about}." + (f" Options: {known}." if known and command.name else "")


def _synopsis(line: str) -> list[str]:
    return [".HP", f"\\fBtunrouter\\fR {_text(line)}".rstrip()]


def _paragraph(text: str) -> list[str]:
    """The text in lines of at most 79 letters, none of which roff takes for a macro."""
    lines: list[str] = []
    for word in _text(text).split():
        if lines and len(lines[-1]) + len(word) < 79:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return [f"\\&{line}" if line[0] in ".'" else line for line in lines]


def _text(text: str) -> str:
    """The text escaped for roff, so that backslashes, minus signs and quotes print as they are."""
    for plain, roff in (
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("`", "\\(ga"),
        ("~", "\\(ti"),
        ("^", "\\(ha"),
    ):
        text = text.replace(plain, roff)
    return text
