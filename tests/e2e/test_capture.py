"""Capture, trace and flight recorder: what tshark reads of them, and that traffic does not notice."""

from __future__ import annotations

import json
import re
import signal
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, ROOT, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    TUNROUTER,
    example,
    host,
    killed_after,
    pings,
    reach,
    run,
    start_client,
    start_hub,
    stopped,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
Net = tuple[Topology, Process, Path]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """Two hosts and a hub with a recorder, its control socket at hub.sock, host-1's at client.sock."""
    path = tmp_path_factory.mktemp("net")
    config = path / "hub.yml"
    config.write_text(example("server.yml") + "recorder: 1MB\n")
    with Topology(path) as topology:
        hub = start_hub(topology.hub, "-C", str(config), "--control", str(path / "hub.sock"))
        start_client(topology.host_1, "--control", str(path / "client.sock"), *host(1, HUB_TO_HOST_1))
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
        reach(topology.host_1, OVERLAY_2)
        yield topology, hub, path
    for log in path.glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log


def begin(tmp_path: Path, to: str, *words: str, who: str = "hub") -> Process:
    """Start a capture into a file and wait until it runs."""
    argv = (*TUNROUTER, "capture", "--control", str(tmp_path / f"{who}.sock"), "-w", to, *words)
    process = Process(argv, tmp_path / "capture.log")
    process.wait_line("capturing")
    return process


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of every block of a pcapng file; nothing may be left over."""
    found, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert data[at + size - 4 : at + size] == struct.pack("<I", size)
        found.append((kind, data[at + 8 : at + size - 4]))
        at += size
    return found


def tshark(path: Path | str, *fields: str, checks: bool = False) -> list[list[str]]:
    """The fields of every packet of a file, as tshark reads them; it must not complain."""
    options = [word for field in fields for word in ("-e", field)]
    if checks:
        for protocol in ("ip", "tcp", "udp"):
            options += ["-o", f"{protocol}.check_checksum:TRUE"]
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert (done.returncode, complaints) == (0, []), done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_tshark_reads_what_went_and_what_was_dropped(net: Net) -> None:
    topology, _, tmp_path = net
    file = tmp_path / "a.pcapng"
    capture = begin(tmp_path, str(file), "icmp")
    assert pings(topology.host_1, OVERLAY_2, 3) == 3
    pings(topology.host_1, "192.168.123.77", 2)
    assert capture.stop(signal.SIGINT) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = tshark(file, "ip.src", "ip.dst", "frame.comment", "icmp.checksum.status", checks=True)
    went = [row for row in rows if row[:2] == [OVERLAY_1, OVERLAY_2]]
    assert len(went) == 3
    assert went[0][2].startswith("from host-1, to host-2, session 10.77.2.2:")
    assert len([row for row in rows if row[:2] == [OVERLAY_2, OVERLAY_1]]) == 3
    lost = [row for row in rows if row[:2] == [OVERLAY_1, "192.168.123.77"]]
    assert len(lost) == 2
    assert lost[0][2] == (
        "from host-1, dropped: no-route, no table has a route for the destination, its sender was told (ICMP)"
    )
    assert f"{len(rows)} packets" in capture.text()


def test_a_file_is_whole_by_any_end(net: Net) -> None:
    topology, _, tmp_path = net
    hub = start_hub(topology.hub, "-L", "router://:9999", "--control", str(tmp_path / "other.sock"))
    tunnel = ("-L", "tun:///host-9?net=192.168.99.1/24", "-F", f"router://{HUB_TO_HOST_1}:9999")
    start_client(topology.host_1, *tunnel)
    files = {name: tmp_path / f"{name}.pcapng" for name in ("count", "term", "killed")}
    counted = begin(tmp_path, str(files["count"]), "--count", "2", "icmp")
    ended = begin(tmp_path, str(files["term"]), "--host", "host-2", "icmp")
    left = begin(tmp_path, str(files["killed"]), "icmp", who="other")
    assert pings(topology.host_1, OVERLAY_2, 3) == 3
    pings(topology.host_1, "192.168.99.2", 2)
    assert counted.wait() == 0
    assert ended.stop(signal.SIGTERM) == 0
    wait_for(lambda: files["killed"].stat().st_size > 300)
    hub.send(signal.SIGKILL)
    assert left.wait() == 0
    assert [len(tshark(file, "ip.src")) for file in files.values()] == [2, 6, 2]
    for file in files.values():
        kinds = [kind for kind, _ in blocks(file.read_bytes())]
        assert kinds[:2] == [0x0A0D0D0A, 1]
        assert kinds[-1] == 5


def test_into_tshark_live(net: Net) -> None:
    topology, _, tmp_path = net
    command = [*TUNROUTER, "capture", "--control", str(tmp_path / "hub.sock"), "-w", "-", "icmp"]
    with killed_after(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True)
    ) as capture:
        argv = ["tshark", "-n", "-l", "-r", "-", "-T", "fields", "-e", "ip.dst", "-e", "frame.comment"]
        shark = Process(argv, tmp_path / "shark.log", stdin=capture.stdout)
        ping = topology.host_1.popen("ping", "-i0.2", OVERLAY_2)
        shark.wait_line(rf"{OVERLAY_2}\tfrom host-1, to host-2", 20)  # while both still run
        assert capture.poll() is None
        shark.send(signal.SIGKILL)
        shark.wait()
        assert capture.stdout is not None
        capture.stdout.close()  # ours: now nobody reads
        assert capture.wait(10) == 1
        ping.stop()


def test_a_client_shows_what_its_device_sent_and_got(net: Net) -> None:
    topology, _, tmp_path = net
    file = tmp_path / "client.pcapng"
    capture = begin(tmp_path, str(file), "icmp", who="client")
    assert pings(topology.host_1, OVERLAY_2, 2) == 2
    assert capture.stop(signal.SIGINT) == 0
    rows = tshark(file, "ip.src", "frame.comment")
    assert [row[1].partition(" 10.77")[0] for row in rows if row[0] == OVERLAY_1] == [
        "from host-1, to session"
    ] * 2
    assert [row[1] for row in rows if row[0] == OVERLAY_2] == ["to host-1, device tun0"] * 2


def test_superpackets_are_one_record_with_a_right_checksum(net: Net) -> None:
    topology, _, tmp_path = net
    file = tmp_path / "super.pcapng"
    capture = begin(tmp_path, str(file), "tcp", "and", "from", "host-1")
    server = topology.host_2.popen("iperf3", "-s", "--forceflush", "-1", "-B", OVERLAY_2)
    server.wait_line("listening")
    topology.host_1.run("iperf3", "-c", OVERLAY_2, "-n", "3M")
    assert capture.stop(signal.SIGINT) == 0
    rows = tshark(file, "ip.len", "tcp.checksum.status", "ip.checksum.status", "frame.comment", checks=True)
    assert {row[1] for row in rows} == {"1"}  # good, every one
    supers = [row for row in rows if "superpacket: " in row[3]]
    assert max(int(row[0]) for row in supers) > 10000


def test_the_recorder_tells_what_was(net: Net) -> None:
    topology, hub, tmp_path = net
    assert pings(topology.host_1, OVERLAY_2, 3) == 3
    pings(topology.host_1, "192.168.123.78", 1)
    file = tmp_path / "recorded.pcapng"
    words = ("capture", "--control", str(tmp_path / "hub.sock"), "--recorder", "-w", str(file))
    assert run(*words, "icmp")[0] == 0
    rows = tshark(file, "ip.dst", "frame.comment")
    assert len([row for row in rows if row[1].startswith("from host-1, to host-2")]) >= 3
    (lost,) = [row[1] for row in rows if row[0] == "192.168.123.78"]
    assert lost.startswith("from host-1, dropped: no-route")
    assert run(*words, "dropped and not reason no-route and not net 224.0.0.0/4") == (0, "0 packets\n")
    config = tmp_path / "hub.yml"
    config.write_text(config.read_text().replace("recorder: 1MB", "recorder: off"))
    lines = hub.line_count()
    hub.send(signal.SIGHUP)
    hub.wait_line("recorder: off", after=lines)
    status, said = run(*words)
    assert (status, "no flight recorder runs here" in said) == (1, True)
    config.write_text(config.read_text().replace("recorder: off", "recorder: 1MB"))
    hub.send(signal.SIGHUP)
    hub.wait_line("recorder: 1048576 bytes", after=lines)


def test_trace_shows_packets_and_does_not_drown(net: Net) -> None:
    topology, _, tmp_path = net
    argv = (*TUNROUTER, "trace", "--control", str(tmp_path / "hub.sock"), "host", OVERLAY_2)
    trace = Process(argv, tmp_path / "trace.log")
    trace.wait_line("tracing host 192.168.123.2; Ctrl-C ends it")
    counted = Process(
        (*argv[:-2], "--count", "2", "--ns", str(UUID(int=0)), "to", "host-2"), tmp_path / "two.log"
    )
    counted.wait_line("tracing to host-2")
    topology.host_1.run("ping", "-c3", "-i0.1", OVERLAY_2)
    trace.wait_line(
        r"^\d\d:\d\d:\d\d\.\d{3} host-1 icmp 192.168.123.1 > 192.168.123.2 echo \d+ B: to host-2, session 10.77.2.2:\d+$"
    )
    assert counted.wait() == 0
    assert len(re.findall(r"host-1 icmp .*: to host-2", counted.text())) == 2
    before = trace.line_count()
    topology.host_1.run("ping", "-q", "-f", "-c", "3000", OVERLAY_2)
    trace.wait_line(r"… (\d+,)?\d{3} more packets fit, in the last second", after=before)  # 100 or more
    assert trace.line_count() - before < 400
    assert trace.stop(signal.SIGINT) == 0


def test_wrong_filters_end_before_anything_is_done(tmp_path: Path) -> None:
    told = "unknown word 'prot' at 5; did you mean 'proto'?"
    for words in (("capture", "-w", str(tmp_path / "x"), "tcp", "prot", "7"), ("trace", "tcp prot 7")):
        assert run(*words, "--control", "/nowhere") == (2, f"error: FILTER: {told}\n")
    assert run("-L", "router://:1", "--trace", "tcp prot 7") == (2, f"error: --trace: {told}\n")
    assert not (tmp_path / "x").exists()
    status, said = run("capture", "-w", str(tmp_path / "x"), "--control", str(tmp_path / "none.sock"))
    assert (status, said.count("\n")) == (1, 1)
    assert not (tmp_path / "x").exists()


def test_trace_and_decisions_in_the_log(topology: Topology, write: Write) -> None:
    hub = start_hub(
        topology.hub, "-D", "--trace", "icmp and from host-1", "-C", write("hub.yml", example("server.yml"))
    )
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    hub.wait_line(r"info.*host-1 icmp 192.168.123.1 > 192.168.123.2 echo 84 B: to host-2, session 10.77.2.2:")
    hub.wait_line(
        r"debug.*host-1 icmp 192.168.123.1 > 192.168.123.2: to host-2 by 192.168.123.2/32 \(inline\), session"
    )
    pings(topology.host_1, "192.168.123.77", 1)
    hub.wait_line(r"debug.*host-1 icmp 192.168.123.1 > 192.168.123.77: dropped: no-route")
    assert "host-2 icmp 192.168.123.2 > 192.168.123.1 echo reply" not in hub.text()


def test_a_reader_that_stops_loses_its_packets_and_nobody_elses(net: Net) -> None:
    topology, _, tmp_path = net
    file = tmp_path / "stopped.pcapng"
    capture = begin(tmp_path, str(file), "tcp")
    server = topology.host_2.popen("iperf3", "-s", "--forceflush", "-B", OVERLAY_2)
    server.wait_line("listening")
    with stopped(capture):
        load = topology.host_1.popen("iperf3", "-c", OVERLAY_2, "-t", "2", "-J")
        recorded = tmp_path / "meanwhile.pcapng"
        words = ("capture", "--control", str(tmp_path / "hub.sock"), "--recorder", "-w", str(recorded))
        assert run(*words, "tcp")[0] == 0  # of what flows on while it is handed over
        assert load.wait() == 0
        assert json.loads(load.text())["end"]["sum_received"]["bits_per_second"] > 100e6
        assert len(tshark(recorded, "ip.src")) > 4
    assert capture.stop(signal.SIGINT) == 0
    lost = capture.wait_line(r"and ([\d,]+) lost")
    assert int(lost[1].replace(",", "")) > 10
    assert len(tshark(file, "ip.src")) > 10
    assert pings(topology.host_1, OVERLAY_2, 2) == 2
