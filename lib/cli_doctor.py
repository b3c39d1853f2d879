"""`tunrouter doctor`: what is wrong with a tunnel here, why it matters, and the command that mends it.

Knows: whose settings are looked at, what is looked at at the same time and for how long, how it is printed.
Refuses to know: the looks (doctor_look_host, doctor_look_way, doctor_look_tunnel), checks (doctor_checks).

    exit status   0 nothing was found   1 there are findings, or this host does not allow it
                  2 the command line or the configuration is wrong
"""

from __future__ import annotations

import glob
import json
import os
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import gevent

from lib import (
    __version__,
    cli_config,
    cli_join,
    cli_paper,
    config_check,
    config_check_certificates,
    config_check_start,
    config_lint,
    config_read,
    ctl_client,
    doctor_bundle,
    doctor_checks,
    doctor_look_host,
    doctor_look_tunnel,
    doctor_look_way,
    doctor_process,
    doctor_processes,
    doctor_redact,
    service_environment,
    service_threads,
)
from lib.addresses import is_address
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.doctor_checks import Report
from lib.doctor_facts import Ailing, Facts, Said, Unknown
from lib.doctor_processes import Running
from lib.errors import ConfigError, HostError, Position, Problem
from lib.humanize import counted
from lib.printable import every, printable
from lib.settings import ClientSettings, Settings

SECONDS = 9.0
"""How long all looks together may take; a look that is not over then is told of."""
MAX_NAMED, MAX_READ = 5, 100
"""Configurations that are named where there are several, and that are looked into."""
_OURS = ("listens on", "'congestion'")
"""What `check` warns of and doctor looks at by itself, with the running process in mind."""

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Patient:
    """What is looked at."""

    config: Config
    settings: Settings
    arguments: Arguments
    running: Running | None
    is_named: bool = True
    """Whether the command line names the configuration: nobody says that it runs then."""

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows of the running process's clients."""
        return self.running.clients if self.running else []

    @property
    def here(self) -> list[Mapping[str, Any]]:
        """Those of which the device is in this network namespace."""
        return [row for row in self.rows if not row.get("netns")]

    @property
    def clients_here(self) -> list[ClientSettings]:
        """The settings of clients whose device is, or would be, in this network namespace."""
        return [client for client in self.settings.clients if not client.device.netns]

    @property
    def tunnels(self) -> frozenset[str]:
        """The devices of its tunnels."""
        return doctor_processes.names(self.here)

    @property
    def far(self) -> list[str]:
        """Addresses behind the tunnel to ask: those of --to, and the hub's own where it has told a client."""
        hubs = [
            address
            for row in self.here
            for address in row["from_hub"]["dns"]
            if any((":" in own) == (":" in address) for own in row["addresses"])
        ]
        return list(dict.fromkeys([*self.arguments["--to"], *hubs]))


def run(arguments: Arguments) -> int:
    """Look at everything and print the report; returns the exit status. Raises ConfigError, HostError."""
    service_threads.begin()
    for address in arguments["--to"]:
        if not is_address(address):
            raise ConfigError([Problem(Position("--to"), f"{address[:64]!r} is no IP address")])
    bundle = os.path.abspath(arguments["--bundle"]) if arguments["--bundle"] else ""
    given = {**arguments, "-C": [*arguments["-C"], *arguments["FILE"]]}
    found: list[Running | str] = [*doctor_processes.running(arguments["--control"], given["-C"])]
    if not found and not given["-C"] and not given["-L"]:
        found += _joined()
    if len(found) > 1 and (bundle or arguments["--json"]):
        raise ConfigError(_several(found))
    if arguments["--to"]:  # the far side of a tunnel: a hub has none
        found = [one for one in found if isinstance(one, str) or one.clients] or found
    status = 0
    for number, one in enumerate(found or [""]):
        print("\n" * (number > 0), end="")
        status |= _look(given, one, bundle)
    return status


def _several(found: Sequence[Running | str]) -> list[Problem]:
    """That one of several has to be named."""
    running = [one for one in found if isinstance(one, Running)]
    listed = [Problem(Position(one.path), f"pid {one.pid}: {', '.join(one.files[:5])}") for one in running]
    if listed:
        what, hint, option = "tunrouters run here", "name one of them with --control PATH", "--control"
    else:
        named = ", ".join(str(one) for one in found[:MAX_NAMED]) + ", …" * (len(found) > MAX_NAMED)
        what, hint, option = f"configurations are here: {named}", f"tunrouter doctor {found[0]} …", "-C"
    return [*listed, Problem(Position(option), f"several {what}; one report is about one of them", hint)]


def _look(arguments: Arguments, found: Running | str, bundle: str) -> int:
    """Look at a process, or at a configuration that none runs by; returns the exit status.

    `found` is the one or the other; empty for the configuration that is named, or the default file.
    """
    until = time.monotonic() + SECONDS
    patient = _patient(arguments, found)
    facts = _facts(patient, until)
    report = doctor_checks.report(facts)
    if bundle:
        doctor_bundle.write(bundle, _texts(patient, facts, report), doctor_redact.secrets(patient.settings))
    if arguments["--json"]:
        print(json.dumps(every(_json(patient, report)), indent=2))
    else:
        for line in lines(_heading(patient), report, cli_paper.paper().width or 100):
            print(printable(line))
        if bundle:
            print(printable(f"{bundle}: packed, without passwords and tokens; addresses and names are in it"))
    return 0 if report.healthy else 1


# --- whose settings -----------------------------------------------------------------------------


def _patient(arguments: Arguments, found: Running | str) -> _Patient:
    """The configuration that is named; else that of the process, else the one found, or the default file."""
    given = dict(arguments)
    running = found if isinstance(found, Running) else None
    is_named = bool(given["-C"] or given["-L"])
    if not is_named and running is not None:
        given |= _own_arguments(running)
    elif not is_named and found:
        given["-C"] = [found]
    config = cli_config.read(given)
    return _Patient(config, cli_config.settings(given, config), given, running, is_named)


def _joined() -> list[str]:
    """The configurations that `tunrouter join` has written: they come before the default file.

    A package brings a default file, an example of a hub, to each box that joins another one.
    """
    folders = dict.fromkeys(map(os.path.dirname, config_read.default_files(os.path.expanduser("~"))))
    names = [name for folder in folders if folder != "." for name in sorted(glob.glob(f"{folder}/*.yaml"))]
    return list(filter(_is_of_join, names[:MAX_READ]))


def _is_of_join(name: str) -> bool:
    with suppress(OSError), open(name, encoding="utf-8", errors="replace") as file:
        return file.read(len(cli_join.MARK)) == cli_join.MARK
    return False


def _own_arguments(running: Running) -> dict[str, list[str]]:
    """-C, -L and -F of the running process, whose working directory and variables become ours."""
    service_environment.lend(doctor_processes.environment(running.pid))
    words, place = doctor_processes.command_line(running.pid)
    with suppress(OSError):
        os.chdir(place or ".")
    pairs = list(pairwise(words))
    urls = {name: [value for flag, value in pairs if flag == name] for name in ("-L", "-F")}
    return {"-C": list(running.files), **urls}


# --- the looks ----------------------------------------------------------------------------------


def _facts(patient: _Patient, until: float) -> Facts:
    """All facts; each is looked for in a greenlet of its own, and all of them end at the same time."""
    first = {name: gevent.spawn(_found, look, patient) for name, look in _LOOKS.items()}
    late = [gevent.spawn(_later, first, patient, name) for name in ("firewall", "paths")]
    jobs = {**first, "firewall": late[0], "paths": late[1]}
    gevent.joinall(list(jobs.values()), timeout=max(0.1, until - time.monotonic()))
    silent = Unknown(f"it took longer than {SECONDS:g} s")
    found = {name: job.value if job.ready() else silent for name, job in jobs.items()}
    gevent.killall([job for job in jobs.values() if not job.ready()], block=False)
    return Facts(**found)


def _found(look: Callable[[_Patient], Any], patient: _Patient) -> Any:
    """What a look has found; Unknown where this host does not let it."""
    try:
        return look(patient)
    except Exception as error:  # noqa: BLE001  one look that fails shall not take the others with it
        known = isinstance(error, OSError | HostError)
        return Unknown(getattr(error, "strerror", "") or str(error) if known else repr(error)[:200])


def _later(first: Mapping[str, Any], patient: _Patient, name: str) -> Any:
    """The looks that need what others have found."""
    gateways, far = first["gateways"].get() or (), first["far"].get() or ()
    if name == "firewall":
        known = () if isinstance(gateways, Unknown) else gateways
        return _found(lambda one: doctor_look_host.firewall(one.settings, one.here, known), patient)
    behind = () if isinstance(far, Unknown) else far
    return _found(
        lambda one: (*doctor_look_way.paths(one.settings.clients), *doctor_look_tunnel.paths(behind)), patient
    )


def _names(patient: _Patient) -> Any:
    clients = patient.settings.clients
    return doctor_look_way.names(clients, patient.tunnels) if clients else None


_LOOKS: Mapping[str, Callable[[_Patient], Any]] = {
    "said": lambda one: _said(one),
    "tun": lambda one: doctor_look_host.tun_device(one.rows) if one.settings.clients else None,
    "locked": lambda one: doctor_look_host.locked(),
    "gateways": lambda one: doctor_look_host.gateways(one.here),
    "filtered": lambda one: doctor_look_host.filtered(one.clients_here, one.here),
    "neighbours": lambda one: doctor_look_tunnel.neighbours(one.here),
    "far": lambda one: doctor_look_tunnel.far(one.far, one.here, one.tunnels),
    "ways": lambda one: doctor_look_way.ways(one.settings.clients),
    "names": _names,
    "domains": lambda one: doctor_look_way.domains(one.here),
    "clock": lambda one: service_threads.aside("clock", doctor_look_host.clock, one.settings),
    "congestion": lambda one: doctor_look_host.congestion(one.settings),
    "networks": lambda one: doctor_look_host.networks(one.clients_here, one.here),
    "others": lambda one: doctor_processes.others(one.settings, one.running),
    "sessions": lambda one: doctor_look_tunnel.sessions(one.rows),
    "ailing": lambda one: _ailing(one),
    "datagrams": lambda one: doctor_look_tunnel.datagrams(one.rows),
    "listening": lambda one: doctor_look_host.listening(one.settings.hubs if one.running else ()),
}
"""Field of Facts -> how it is found."""


def _ailing(patient: _Patient) -> tuple[Ailing, ...] | None:
    """What the running process tells; that there is none, where one of this machine was to be looked at."""
    if patient.running is not None:
        return doctor_process.ailing(patient.running.status)
    is_known = os.geteuid() == 0 and patient.arguments["--control"] != "none"  # to see those of all users
    return doctor_process.stopped(patient.config.files) if is_known and not patient.is_named else None


def _said(patient: _Patient) -> tuple[Said, ...]:
    """What `check` warns of, and what GOST would do otherwise."""
    config, settings, arguments = patient.config, patient.settings, patient.arguments
    found = Findings()
    config_check_certificates.look(config, settings, found)
    config_check_start.look(config, settings, arguments, found)
    warnings = [*settings.warnings, *config_check.warnings(settings, config), *found.problems]
    warnings += [
        one
        for one in found.warnings
        if not any(word in one.message for word in _OURS[0 if patient.running else 1 :])
    ]
    linted = config_lint.findings([cli_config.text(source) for source in arguments["-C"]])
    lines = [(one, "GOST" in one.message) for one in warnings] + [(one, True) for one in linted]
    return tuple(Said(f"{one.where}: {one.message}", one.hint, of_gost) for one, of_gost in lines)


# --- the report ---------------------------------------------------------------------------------


def _heading(patient: _Patient) -> str:
    settings = patient.settings
    services = [f"hub {hub.name}" for hub in settings.hubs]
    services += [f"client {client.name} (host {client.host})" for client in settings.clients]
    who = f"pid {patient.running.pid} runs it" if patient.running else "no tunrouter runs it here now"
    more = f" and {counted(len(services) - 3, 'more service')}" if len(services) > 3 else ""
    return f"{', '.join(services[:3])}{more}; {who}"


def lines(heading: str, report: Report, width: int) -> Iterator[str]:
    """The report as people read it."""
    yield heading
    for name, finding in report.findings:
        yield ""
        yield from _wrapped(f"{name}: {finding.what}", "", "  ", width)
        yield from _wrapped(f"why: {finding.why}", "  ", "       ", width)
        yield f"  mend: {finding.mend}"  # a command is copied, and a broken line would break it
    yield ""
    for name, finding in report.notes:
        yield from _wrapped(f"note: {name}: {finding.what}", "", "  ", width)
    if report.passed:
        yield from _wrapped(f"in order: {', '.join(report.passed)}", "", "  ", width)
    for name, why in report.unknown:
        yield from _wrapped(f"not looked at: {name}: {why}", "", "  ", width)
    yield counted(len(report.findings), "finding") if report.findings else "nothing is wrong"


def _wrapped(text: str, first: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, max(width, 40), initial_indent=first, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _json(patient: _Patient, report: Report) -> dict[str, Any]:
    return {
        "software": f"tunrouter {__version__}",
        "healthy": report.healthy,
        "pid": patient.running.pid if patient.running else None,
        "findings": [{"check": name, **asdict(finding)} for name, finding in report.findings],
        "notes": [{"check": name, **asdict(finding)} for name, finding in report.notes],
        "in_order": list(report.passed),
        "not_looked_at": [{"check": name, "why": why} for name, why in report.unknown],
    }


def _texts(patient: _Patient, facts: Facts, report: Report) -> dict[str, str]:
    """The files of the bundle, before what is secret in any form is hidden."""
    config = doctor_redact.tree(json.loads(config_read.render(patient.config, "json")))
    texts = {
        "report.txt": "\n".join(lines(_heading(patient), report, 100)) + "\n",
        "report.json": json.dumps(_json(patient, report), indent=2),
        "configuration.json": json.dumps(config, indent=2, ensure_ascii=False),
        "facts.txt": "\n".join(
            f"{name} = {getattr(facts, name)!r}" for name in Facts.__slots__ if name != "said"
        ),
    }
    if patient.running is not None:
        texts["status.json"] = json.dumps(doctor_redact.tree(dict(patient.running.status)), indent=2)
        with suppress(HostError):
            drops = ctl_client.ask(patient.running.path, {"do": "drops"}, 2.0)
            texts["drops.json"] = json.dumps(doctor_redact.tree(drops), indent=2)
    return texts
