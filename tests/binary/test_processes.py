"""Two processes, the bootloader and the program, that behave as one; and what they leave behind."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, Namespace, Process, Topology
from tests.support.program import TUNROUTER, example, host, program_pid, run, start, start_client, start_hub

pytestmark = pytest.mark.needs_root

Write = Callable[[str, str], str]

SERVER = "services: [{{name: s, addr: '{addr}', handler: {{type: router, metadata: {{router: r{more}}}}}}}]\nrouters: [{{name: r}}]\n"


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends within so long."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def hub_of(namespace: Namespace, write: Write, addr: str = "127.0.0.1:8443", more: str = "") -> Process:
    return start_hub(namespace, "-C", write("hub.yml", SERVER.format(addr=addr, more=more)))


# --- signals and status -------------------------------------------------------------------------


def test_signals_reach_the_program(namespace: Namespace, write: Write) -> None:
    hub = hub_of(namespace, write)
    hub.send(signal.SIGUSR1)
    hub.wait_line("dropped nothing")
    hub.send(signal.SIGHUP)
    hub.wait_line("configuration|reload|read again")
    assert hub.stop(signal.SIGTERM) == 0


def test_interrupt_ends_it(namespace: Namespace, write: Write) -> None:
    assert hub_of(namespace, write).stop(signal.SIGINT) == 0


def test_status_passes_through() -> None:
    assert run("check", "-C", "/no/such/file")[0] == 2
    assert run("status", "--control", "/no/such/socket")[0] == 1


def test_ctrl_c_on_a_terminal_is_one_signal(topology: Topology, write: Write) -> None:
    # The terminal tells both processes; a second signal would end the hub without waiting for its clients.
    config = write("hub.yml", SERVER.format(addr=":8443", more=", drainTimeout: 3s"))
    pid, terminal = pty.fork()
    if not pid:
        os.execvp("ip", ("ip", "netns", "exec", topology.hub.name, *TUNROUTER, "-C", config))
    try:
        said = b""
        while b"listening on" not in said:
            said += os.read(terminal, 4096)
        client = start_client(topology.host_1, "-D", *host(1, HUB_TO_HOST_1))
        client.wait_line("hub is tunrouter")  # each knows of the other that it can be asked to leave
        os.kill(program_pid(client), signal.SIGSTOP)  # it will not go when it is asked to
        os.write(terminal, b"\x03")
        assert not gone(pid, 1.5), "it did not wait"
        assert gone(pid, 10)
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# --- kill -9 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["parent", "child"])
def test_kill_9_of_either_frees_the_hub_s_port(namespace: Namespace, write: Write, which: str) -> None:
    for _ in range(2):  # the second one finds the port free
        hub = hub_of(namespace, write)
        child = program_pid(hub)
        os.kill(hub.pid if which == "parent" else child, signal.SIGKILL)
        assert hub.wait() == -signal.SIGKILL
        assert gone(child)


@pytest.mark.parametrize("which", ["parent", "child"])
def test_kill_9_of_either_frees_the_client_s_device(topology: Topology, write: Write, which: str) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&name=tr0"))
    child = program_pid(client)
    assert "tr0" in topology.host_1.devices()
    os.kill(client.pid if which == "parent" else child, signal.SIGKILL)
    assert client.wait() == -signal.SIGKILL
    assert gone(child)
    assert "tr0" not in topology.host_1.devices()


def test_the_parent_s_end_is_noticed_by_another_user_too(namespace: Namespace, write: Write) -> None:
    # Who becomes another user loses what the kernel was asked to do when the parent ends.
    config = write("hub.yml", SERVER.format(addr="127.0.0.1:8443", more=""))
    hub = start(namespace, "--user", "nobody", "-C", config)
    hub.wait_line("listening on")
    child = program_pid(hub)
    assert os.stat(f"/proc/{child}").st_uid != 0
    os.kill(hub.pid, signal.SIGKILL)
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_while_it_unpacks_leaves_nothing(place: Path, number: signal.Signals) -> None:
    for _ in range(3):
        starting = subprocess.Popen((*TUNROUTER, "hash"), stdin=subprocess.PIPE)
        while not list(place.glob("_MEI*/*/*")):
            assert starting.poll() is None
        starting.send_signal(number)
        assert starting.wait(10) in (-number, 130)
        assert list(place.iterdir()) == []


def test_signals_at_the_very_end_change_nothing(namespace: Namespace, write: Write, place: Path) -> None:
    """They come while the directory is removed, by a manager that has not noticed yet."""
    hub = hub_of(namespace, write)
    hub.send(signal.SIGTERM)
    while hub.returncode is None:
        hub.send(signal.SIGHUP)
        hub.send(signal.SIGUSR1)
    assert hub.wait() == 0
    assert list(place.iterdir()) == []


# --- what was unpacked --------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["0177", "0777"])
def test_a_umask_that_forbids_everything_is_the_program_s_only(place: Path, mask: str) -> None:
    place.chmod(0o1777)
    for parent in (place.parent, place.parent.parent, place.parent.parent.parent):
        parent.chmod(0o755)
    before = (
        "setpriv",
        "--reuid=54321",
        "--regid=54321",
        "--clear-groups",
        "sh",
        "-c",
        f'umask {mask}; exec "$@"',
        "sh",
    )
    assert run("licences", before=before)[0] == 0
    assert list(place.iterdir()) == []


def test_nothing_is_left(place: Path) -> None:
    assert run("--version")[0] == 0
    assert run("check", "-C", "/no/such/file")[0] == 2
    assert list(place.iterdir()) == []


def test_the_next_start_clears_what_kill_9_left(namespace: Namespace, write: Write, place: Path) -> None:
    hub = hub_of(namespace, write)
    child = program_pid(hub)
    os.kill(hub.pid, signal.SIGKILL)
    assert gone(child)
    (left,) = place.iterdir()
    assert run("--version")[0] == 0
    assert not left.exists()


def test_a_folder_in_use_stays(namespace: Namespace, write: Write, place: Path) -> None:
    hub = hub_of(namespace, write)
    (used,) = place.iterdir()
    files = sorted(used.rglob("*"))
    assert run("--version")[0] == 0
    assert sorted(used.rglob("*")) == files
    assert hub.stop() == 0
    assert list(place.iterdir()) == []


def test_folders_of_others_stay(place: Path, tmp_path: Path) -> None:
    another_program = place / "_MEI0000abcdefghij"
    another_program.mkdir()
    another_user = place / "_MEI0000abcdefghik"
    another_user.mkdir()
    (another_user / "tunrouter.lock").touch()
    os.chown(another_user, 12345, 12345)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tunrouter.lock").touch()
    link = place / "_MEI0000abcdefghil"
    link.symlink_to(elsewhere)
    mine = place / "_MEI0000abcdefghim"
    (mine / "deep" / "er").mkdir(parents=True)
    (mine / "tunrouter.lock").touch()
    (mine / "deep" / "link").symlink_to(elsewhere)
    assert run("--version")[0] == 0
    assert sorted(place.iterdir()) == [another_program, another_user, link]
    assert (another_user / "tunrouter.lock").exists()
    assert (elsewhere / "tunrouter.lock").exists()


def test_many_at_once_do_not_clear_each_other_s(place: Path) -> None:
    stale = place / "_MEI0000abcdefghim"
    stale.mkdir()
    (stale / "tunrouter.lock").touch()
    running = [
        subprocess.Popen((*TUNROUTER, "--version"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(12)
    ]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), said
    assert list(place.iterdir()) == []
