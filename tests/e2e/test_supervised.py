"""Under a service manager: what it is told, what a real supervisord does with us, cron's line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.manager import Manager
from tests.support.netns import HUB_TO_HOST_1, ROOT, Namespace, Process, Topology
from tests.support.program import TUNROUTER, example, host, program_pid, run, start, start_client, start_hub

pytestmark = pytest.mark.usefixtures("no_traceback", "real_starts")

Write = Callable[[str, str], str]
PROGRAM = shlex.join(TUNROUTER)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path / "notify") as made:
        yield made


def told(namespace: Namespace, manager: Manager, *arguments: str, **environ: str) -> Process:
    """Start tunrouter as a manager does."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "NOTIFY_SOCKET": str(manager.path)} | environ
    return namespace.popen(*TUNROUTER, *arguments, env=environment)


@pytest.mark.parametrize("closed", [(2,), (0, 1), (0, 1, 2)], ids=str)
def test_a_hub_serves_where_standard_descriptors_are_closed(
    namespace: Namespace, write: Write, manager: Manager, closed: tuple[int, ...]
) -> None:
    """Else the lock, a socket or the executable itself gets the number, and the log goes into it."""
    shut = " ".join(f"{number}>&-" for number in closed)
    path = write("hub.yml", example("server.yml"))
    command = ("sh", "-c", f'exec "$@" {shut}', "sh", *TUNROUTER, "-C", path, "--control", f"{path}.sock")
    hub = namespace.popen(*command, env=os.environ | {"NOTIFY_SOCKET": str(manager.path)})
    manager.next("READY", "1")
    for pid in {hub.pid, program_pid(hub)}:
        held = [os.readlink(f"/proc/{pid}/fd/{number}") for number in closed]
        assert held == [os.devnull] * len(closed)
    assert run("status", "--control", f"{path}.sock", before=("sh", "-c", f'exec "$@" {shut}', "sh"))[0] == 0
    assert run("check", "-C", "/no/such", before=("sh", "-c", f'exec "$@" {shut}', "sh"))[0] == 2
    hub.send(signal.SIGHUP)
    manager.next("RELOADING", "1")
    manager.next("READY", "1")
    assert hub.stop(signal.SIGTERM) == 0


def test_a_hub_is_ready_reloads_and_ends(
    topology: Topology, write: Write, manager: Manager, tmp_path: Path
) -> None:
    path = write("hub.yml", example("server.yml"))
    hub = told(topology.hub, manager, "-C", path, "--control", str(tmp_path / "hub.sock"))
    assert manager.next("READY", "1")["STATUS"] == "hub with 0 sessions"
    assert ":8443" in topology.hub.run("ss", "-tlnH")
    started = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    hub.send(signal.SIGHUP)
    assert int(manager.next("RELOADING", "1")["MONOTONIC_USEC"]) > started
    manager.next("READY", "1")
    hub.wait_line("reload: nothing is different")
    Path(path).write_text("nonsense: 1\n")
    hub.send(signal.SIGHUP)
    manager.next("RELOADING", "1")
    manager.next("READY", "1")  # with what it had: it serves as before
    hub.send(signal.SIGTERM)
    manager.next("STOPPING", "1")
    assert hub.wait() == 0
    assert not any("WATCHDOG" in message for message in manager.heard)


def test_signs_of_life_come_at_half_the_time_and_say_how_it_stands(
    topology: Topology, write: Write, manager: Manager
) -> None:
    hub = told(topology.hub, manager, "-C", write("hub.yml", example("server.yml")), WATCHDOG_USEC="600000")
    manager.next("READY", "1")
    started = time.monotonic()
    for _ in range(4):
        manager.next("WATCHDOG", "1")
    assert 1.1 < time.monotonic() - started < 6.0
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    manager.next("STATUS", "hub with 1 session")
    assert hub.stop() == 0


def test_a_client_is_ready_before_there_is_a_hub(topology: Topology, manager: Manager) -> None:
    client = told(topology.host_1, manager, *host(1, HUB_TO_HOST_1), WATCHDOG_USEC="400000")
    assert manager.next("READY", "1")["STATUS"] == "host-1 not connected"
    assert "tun0" in topology.host_1.devices()
    start_hub(topology.hub, "-L", "router://:8443")
    manager.next("STATUS", f"host-1 connected to {HUB_TO_HOST_1}:8443")
    assert client.stop() == 0


@pytest.mark.parametrize("what", ["standing", "broken"])
def test_no_sign_of_life_from_what_does_not_work(
    what: str, topology: Topology, write: Write, manager: Manager, tmp_path: Path
) -> None:
    """A process whose event loop stands still, and one whose greenlet that accepts has ended."""
    spoil = {
        "standing": "from gevent.monkey import get_original; get_original('time', 'sleep')(60)",
        "broken": "next(iter(service._parts.hubs.values()))._server.close()",
    }[what]
    script = write("spoilt.py", textwrap.dedent(f"""
        from gevent import monkey
        monkey.patch_all()
        import signal, sys, gevent
        from lib import cli_main, service
        original = service.Service.run
        def run(service):
            def spoil():
                {spoil}
            gevent.signal_handler(signal.SIGUSR2, spoil)
            original(service)
        service.Service.run = run
        sys.exit(cli_main.main())
    """))  # fmt: skip
    environ = os.environ | {
        "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT),
        "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000",
    }  # fmt: skip
    hub = topology.hub.popen(
        sys.executable, script, "-C", write("hub.yml", example("server.yml")), env=environ
    )
    manager.next("READY", "1")
    manager.next("WATCHDOG", "1")
    hub.send(signal.SIGUSR2)
    if what == "broken":
        assert "nothing is accepted any more" in manager.next("STATUS", "broken")["STATUS"]
        hub.wait_line("watchdog is no longer fed")
    manager.quiet("WATCHDOG", 1.0)
    assert hub.returncode is None


# ---------------------------------------------------------------- --single


def holder(pid_file: Path, started: Process) -> int:
    """The pid in the file: of what was started, or of its child, where an executable's loader was."""
    pid = int(pid_file.read_text())
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    assert pid in (started.pid, *map(int, children))
    return pid


def test_the_second_one_ends_at_once_and_says_nothing(topology: Topology, tmp_path: Path) -> None:
    pid_file = tmp_path / "one.pid"
    arguments = ("-L", "router://:8443", "--single", str(pid_file))
    hub = start_hub(topology.hub, *arguments)
    pid = holder(pid_file, hub)
    second = start(topology.hub, *arguments)
    assert (second.wait(), second.text()) == (0, "")
    third = start(topology.hub, "-D", *arguments)
    assert third.wait() == 0
    assert re.fullmatch(r"\S+ \S+ debug .*one\.pid is held by another one: nothing to do\n", third.text())
    fourth = start(topology.hub, "-C", "/not/there", "--single", str(pid_file))
    assert (fourth.wait(), fourth.text()) == (0, "")  # cron would mail it every minute
    os.kill(pid, signal.SIGKILL)
    hub.wait()
    assert pid_file.read_text() == f"{pid}\n"
    after = start_hub(topology.hub, *arguments)
    assert holder(pid_file, after) != pid
    assert after.stop() == 0
    assert not pid_file.exists()


def test_the_file_goes_with_whoever_fails(topology: Topology, tmp_path: Path) -> None:
    pid_file = tmp_path / "one.pid"
    for arguments, status in ((("-C", "/not/there"), 2), (("-L", "router://203.0.113.1:1"), 1)):
        failed = start(topology.hub, *arguments, "--single", str(pid_file))
        assert failed.wait() == status, failed.text()
        assert not pid_file.exists()
    lost = start(topology.hub, "-L", "router://:8443", "--single", str(tmp_path / "no" / "folder"))
    assert lost.wait() == 1
    assert re.fullmatch(r"error: --single /.*/no/folder: No such file or directory\n", lost.text())


def test_another_user_holds_it_too(topology: Topology, tmp_path: Path) -> None:
    folder = tmp_path / "roots-own"
    folder.mkdir(mode=0o755)
    pid_file = folder / "one.pid"
    arguments = ("-L", "router://:8443", "--user", "nobody", "--single", str(pid_file))
    hub = start_hub(topology.hub, *arguments)
    hub.wait_line("user nobody from here on")
    second = start(topology.hub, *arguments)
    assert (second.wait(), second.text()) == (0, "")
    assert hub.stop() == 0
    assert pid_file.read_text() == ""  # nobody may not remove it
    again = start_hub(topology.hub, *arguments)
    holder(pid_file, again)
    assert again.stop() == 0


# ---------------------------------------------------------------- cron


def cron_lines() -> dict[str, str]:
    """When -> the command, of packaging/cron/tunrouter."""
    lines = (ROOT / "packaging" / "cron" / "tunrouter").read_text().splitlines()
    found = [re.fullmatch(r"(@reboot|\S+ \S+ \S+ \S+ \S+) +root +(.*)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def test_crons_lines(topology: Topology, write: Write, tmp_path: Path) -> None:
    """The commands as they stand there, with other paths: the second does nothing while the first one runs."""
    lines = cron_lines()
    assert set(lines) == {"@reboot", "* * * * *"}
    assert "%" not in "".join(lines.values()), "cron would take it for the end of the line"
    config = write("hub.yml", example("server.yml"))
    places = {
        "/usr/bin/tunrouter": PROGRAM, "/etc/tunrouter/tunrouter.yaml": config,
        "/run/tunrouter.pid": str(tmp_path / "one.pid"), "/var/log/tunrouter.log": str(tmp_path / "cron.log"),
    }  # fmt: skip

    def run(when: str) -> Process:
        command = lines[when]
        for there, here in places.items():
            assert there in command
            command = command.replace(there, here)
        return topology.hub.popen("/bin/sh", "-c", command)

    def logged(count: int) -> str:
        text = ""
        for _ in range(200):
            text = (tmp_path / "cron.log").read_text() if (tmp_path / "cron.log").exists() else ""
            if text.count("listening on") == count:
                break
            time.sleep(0.05)
        return text

    first = run("@reboot")
    said = logged(1)
    assert said.count("listening on") == 1
    minute = run("* * * * *")
    assert (minute.wait(), minute.text()) == (0, "")
    assert logged(1) == said
    os.truncate(tmp_path / "cron.log", 0)  # as logrotate's copytruncate does
    os.kill(int((tmp_path / "one.pid").read_text()), signal.SIGHUP)
    rest = wait_for((tmp_path / "cron.log").read_text, "reload: nothing is different")
    assert rest[:2] == "20", "it begins with a date, and with no hole before it"
    os.kill(int((tmp_path / "one.pid").read_text()), signal.SIGKILL)
    first.wait()
    again = run("* * * * *")
    assert logged(1).count("listening on") == 1
    os.kill(int((tmp_path / "one.pid").read_text()), signal.SIGTERM)
    assert (again.wait(), again.text()) == (0, "")


# ---------------------------------------------------------------- supervisord

SUPERVISORD = """
[unix_http_server]
file={folder}/supervisor.sock
[supervisord]
logfile={folder}/supervisord.log.txt
pidfile={folder}/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/supervisor.sock
[include]
files={folder}/tunrouter.conf
"""


@pytest.fixture
def ctl(topology: Topology, write: Write, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """supervisorctl of a real supervisord that has read packaging/supervisord/tunrouter.conf, paths changed."""
    text = (ROOT / "packaging" / "supervisord" / "tunrouter.conf").read_text()
    config = write("hub.yml", example("server.yml"))
    places = (
        ("/usr/bin/tunrouter", PROGRAM), ("/etc/tunrouter/tunrouter.yaml", config),
        ("/var/log/tunrouter.log", str(tmp_path / "service.txt")), ("directory=/\n", f"directory={ROOT}\n"),
        ("startsecs=2", "startsecs=1"),
    )  # fmt: skip
    for there, here in places:
        assert there in text
        text = text.replace(there, here)
    write("tunrouter.conf", text)
    main = write("supervisord.conf", SUPERVISORD.format(folder=tmp_path))
    daemon = topology.hub.popen(sys.executable, "-m", "supervisor.supervisord", "-n", "-c", main)
    daemon.wait_line("entered RUNNING state", 20)

    def ask(*words: str) -> str:
        argv = (sys.executable, "-m", "supervisor.supervisorctl", "-c", main, *words)
        return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout

    yield ask
    assert daemon.stop(timeout=40) == 0


def wait_for(read: Callable[[], str], pattern: str, seconds: float = 20.0) -> str:
    """Read until the pattern is in it."""
    until = time.monotonic() + seconds
    while not re.search(pattern, text := read()):
        assert time.monotonic() < until, f"no {pattern} in {text}"
        time.sleep(0.05)
    return text


def test_a_real_supervisord(ctl: Callable[..., str], topology: Topology, tmp_path: Path) -> None:
    log = tmp_path / "service.txt"

    def status() -> str:
        return ctl("status", "tunrouter")

    assert "RUNNING" in status()
    wait_for(log.read_text, "listening on")
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))

    ctl("signal", "HUP", "tunrouter")
    wait_for(log.read_text, "reload: nothing is different")

    first, before = int(ctl("pid", "tunrouter")), client.line_count()
    os.kill(first, signal.SIGKILL)
    wait_for(log.read_text, r"(?s)listening on.*listening on")
    client.wait_line("connected to", 20, after=before)
    assert int(ctl("pid", "tunrouter")) != first

    assert "stopped" in ctl("stop", "tunrouter")
    assert "STOPPED" in status()
    client.wait_line("asks for another session")  # drained: it got one SIGTERM, not two
    assert "started" in ctl("start", "tunrouter")
    assert "RUNNING" in status()

    ctl("stop", "tunrouter")
    (tmp_path / "hub.yml").write_text("nonsense: 1\n")
    ctl("start", "tunrouter")
    wait_for(status, "EXITED|FATAL|BACKOFF")  # BACKOFF, unless it took longer than startsecs to fail
    assert "hub.yml:1:1" in log.read_text()
