"""The demo as a user runs it: what it shows, and that nothing of it is left, however it ends."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.demo_table import Table
from tests.support.netns import ROOT, Process
from tests.support.program import BINARY, TUNROUTER, run

NAMES = Path("/run/netns")
DEMO = (*TUNROUTER, "demo")
# A user without rights, but one who may open a /dev/net/tun of mode 600. To map a root of one's own
# from user 0, and from no other, the kernel wants CAP_SETFCAP.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all")
WITHOUT_USER_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@"',
    "sh",
)
WITHOUT_NODE = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
WITHOUT_PERMISSION = (
    *("unshare", "--mount", "sh", "-c"),
    (
        "mount -t tmpfs none /dev/net && mknod -m 600 /dev/net/tun c 10 200 && chown 65534 /dev/net/tun"
        f' && exec {" ".join(UNPRIVILEGED)} "$@"'
    ),
    "sh",
)

pytestmark = pytest.mark.needs_root


class Trace:
    """Finds what a demo started with `environ` has left: by a mark its processes and files carry."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = f"DEMO_MARK={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.environ = os.environ | {name: value, "TMPDIR": str(directory), "GOST_LOGGER_LEVEL": "error"}
        self.names = _names()

    def processes(self) -> list[int]:
        """Process ids that carry the mark."""
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if self._carries(path)]

    def left(self) -> tuple[list[int], list[str], set[str]]:
        """(processes, files, names of namespaces) that were not there before."""
        return self.processes(), os.listdir(self.directory), _names() - self.names

    def _carries(self, environ: Path) -> bool:
        try:
            entries = environ.read_bytes().split(b"\0")
            return any(entry.endswith(self.mark.encode()) for entry in entries)  # the executable renames it
        except OSError:
            return False


def _names() -> set[str]:
    return {path.name for path in NAMES.glob("tunrouter-*")}


NOTHING: tuple[list[int], list[str], set[str]] = ([], [], set())


@pytest.fixture
def trace(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    """Whatever a failed test leaves is killed. One test has a demo at a time: the names of its namespaces are this machine's."""
    directory = tmp_path / "tmp"
    directory.mkdir(mode=0o777)
    with open(tmp_path_factory.getbasetemp().parent / "demo.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = Trace(directory)
        yield found
        for pid in found.processes():
            os.kill(pid, signal.SIGKILL)


def demo(trace: Trace, *arguments: str, wrapper: tuple[str, ...] = ()) -> Process:
    return Process((*wrapper, *DEMO, *arguments), trace.directory.parent / "demo.log", env=trace.environ)


def assert_shown(text: str) -> None:
    assert re.findall(r"ok +ping +(\S+ -> \S+) .*: (\d+) of 10, median \d+\.\d+ ms", text) == [
        ("host-1 -> 192.168.123.2", "10"),
        ("host-1 -> 192.168.200.1", "10"),
        ("host-2 -> 192.168.100.1", "10"),
    ]
    throughput = re.search(r"ok +throughput +(\d+\.\d+) Gbit/s", text)
    assert throughput
    assert float(throughput[1]) > 0.01
    rows = re.findall(r"(host-\d) +192\.168\.123\.(\d) +(10\.77\.\d\.1:8443) +\d\d:\d\d:\d\d +([\d.]+)", text)
    assert [row[:3] for row in rows[:2]] == [
        ("host-1", "1", "10.77.1.1:8443"),
        ("host-2", "2", "10.77.2.1:8443"),
    ]
    assert float(rows[0][3]) > float(rows[1][3])  # host-1 is the one that sends


def test_demo_shows_it_works_and_removes_everything(trace: Trace) -> None:
    run = demo(trace, "--seconds", "1")
    assert run.wait(60) == 0, run.text()
    assert_shown(run.text())
    assert "removed everything" in run.text()
    assert "\x1b" not in run.text()  # not a terminal
    assert trace.left() == NOTHING


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("ok +namespaces", signal.SIGINT),
        ("ok +host-1", signal.SIGTERM),
        ("ok +ping", signal.SIGINT),
        ("^  host-2 +192", signal.SIGTERM),
    ],
)
def test_a_signal_in_the_middle_leaves_nothing(trace: Trace, line: str, number: int) -> None:
    run = demo(trace, "--seconds", "60")
    run.wait_line(line, 30)
    assert run.stop(number, 30) == 130
    assert "removed everything" in run.text()
    assert "Traceback" not in run.text()
    assert trace.left() == NOTHING


def test_programs_end_with_a_demo_that_is_killed(trace: Trace) -> None:
    run = demo(trace, "--seconds", "60")
    run.wait_line("^  host-2 +192", 30)
    programs = [os.pidfd_open(pid) for pid in trace.processes() if pid != run.pid]
    assert len(programs) == (7 if BINARY else 3)  # an executable is two processes, the demo itself too
    run.stop(signal.SIGKILL)
    for program in programs:
        with open(program, "rb", buffering=0):
            assert _ends(program, 10)


def _ends(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@pytest.mark.parametrize("wrapper", [(), UNPRIVILEGED], ids=["root", "user namespace"])
def test_a_kept_demo_runs_until_asked_to_end(trace: Trace, wrapper: tuple[str, ...]) -> None:
    run = demo(trace, "--keep", "--seconds", "0.5", wrapper=wrapper)
    assert run.wait(60) == 0, run.text()
    assert_shown(run.text())
    commands = re.findall(
        r"^    ((?:ip netns exec|nsenter|kill \d).*?)(?: {4}#.*)?$", run.text(), re.MULTILINE
    )
    ping, *_, end = commands
    done = subprocess.run((*wrapper, *ping.split(), "-c1"), capture_output=True, text=True, timeout=30)
    assert "1 received" in done.stdout, done
    control = re.search(r"^    tunrouter status --control (\S+)$", run.text(), re.MULTILINE)
    assert control
    directory, _, name = control[1].rpartition("/")  # pytest's own path is too long for a socket
    done = subprocess.run(
        (*wrapper, *TUNROUTER, "status", "--control", name),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "host-2" in done.stdout, done
    if not wrapper:
        second = demo(trace, "--keep", "--seconds", "0.5")
        assert second.wait(60) == 1
        there_is_one = r"^error: a namespace tunrouter-hub exists: .*ip netns del tunrouter-hub$"
        assert re.search(there_is_one, second.text(), re.MULTILINE)
    keeper = os.pidfd_open(int(end.split()[1]))
    with open(keeper, "rb", buffering=0):
        subprocess.run(end.split(), check=True, timeout=10)
        assert _ends(keeper, 30)
    assert trace.left() == NOTHING


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        pytest.param(
            WITHOUT_USER_NAMESPACES,
            r"may not make network namespaces here .*sudo tunrouter demo\), or allow user namespaces "
            r"\(sudo sysctl -w user\.max_user_namespaces=10000\)",
            id="no user namespaces",
        ),
        pytest.param(
            WITHOUT_PERMISSION,
            "no permission on /dev/net/tun: run as root .*; or let every user open it: sudo chmod 666 /dev/net/tun",
            id="user namespace, but no TUN",
        ),
        pytest.param(WITHOUT_NODE, "there is no /dev/net/tun: modprobe tun", id="no device node"),
    ],
)
def test_a_host_that_does_not_let_us(trace: Trace, wrapper: tuple[str, ...], message: str) -> None:
    run = demo(trace, "--seconds", "1", wrapper=wrapper)
    assert run.wait(60) == 1
    assert re.search(f"^error: .*{message}", run.text(), re.MULTILINE), run.text()
    assert "Traceback" not in run.text()
    assert trace.left() == NOTHING


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_seconds_that_are_none(seconds: str) -> None:
    status, said = run("demo", f"--seconds={seconds}")
    assert (status, "--seconds: " in said) == (2, True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The program, whose example files a test may change."""
    made = tmp_path / "checkout"
    for part in ("lib", "packaging"):
        shutil.copytree(ROOT / part, made / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tunrouter.py", made)
    return made


def test_what_is_shown_does_not_depend_on_the_log(trace: Trace, checkout: Path, tmp_path: Path) -> None:
    for name in ("server.yml", "client.yml"):
        config = checkout / "packaging" / "examples" / name
        config.write_text(config.read_text() + "\nlog: {level: fatal}\n")
    command = (sys.executable, str(checkout / "tunrouter.py"), "demo", "--seconds", "1")
    run = Process(command, tmp_path / "log", env=trace.environ)
    assert run.wait(60) == 0, run.text()
    assert_shown(run.text())
    assert trace.left() == NOTHING


def test_a_program_that_does_not_start_is_quoted(trace: Trace, checkout: Path, tmp_path: Path) -> None:
    config = checkout / "packaging" / "examples" / "server.yml"
    config.write_text(config.read_text().replace("gateway: host-2", "gatewai: host-2"))
    run = Process(
        (sys.executable, str(checkout / "tunrouter.py"), "demo"), tmp_path / "log", env=trace.environ
    )
    assert run.wait(60) == 1
    assert re.search(
        r"^error: the program of hub ended with status 2; it said:\n(?: +.*\n)* +.*gatewai",
        run.text(),
        re.MULTILINE,
    )
    assert trace.left() == NOTHING


@pytest.mark.parametrize(
    ("in_place", "second"), [(True, "\x1b[2Ac\x1b[K\nd\x1b[K\n"), (False, "c\nd\n")], ids=["terminal", "pipe"]
)
def test_table_is_refreshed_in_place_on_a_terminal(
    in_place: bool, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table(in_place)
    table.show(["a", "b"])
    assert "sent Gbit/s" in capsys.readouterr().out
    table.show(["c", "d"])
    assert capsys.readouterr().out == second
