"""Real TUN devices in network namespaces: lib.tun against this kernel."""

from __future__ import annotations

import errno
import os
import platform
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lib.errors import HostError
from lib.netlink import GSO_MAX_SIZE
from lib.packet_offload import CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6
from lib.tun import HEADER_SIZE, TunDevice, accepted_offloads, is_gone
from tests.support.devices import READ_SIZE, device, readable, settings
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    TUNROUTER,
    example,
    host,
    pings,
    start_client,
    start_hub,
)

TSO = CSUM | TSO4 | TSO6 | TSO_ECN
USO = USO4 | USO6
MAX_FRAME = 65535
UDP_SEGMENT = 103  # linux/udp.h


def errno_of(call: Callable[[], object]) -> int:
    try:
        call()
    except OSError as refused:
        return refused.errno or 0
    pytest.fail("the kernel took it")


# --- what the kernel offloads ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refuses", "accepted"),
    [
        pytest.param(lambda bits: False, TSO | USO, id="takes everything"),
        pytest.param(lambda bits: bits & USO, TSO, id="before Linux 6.2: no USO"),
        pytest.param(lambda bits: bits & TSO_ECN, TSO & ~TSO_ECN | USO, id="no ECN"),
        pytest.param(lambda bits: bits & TSO6, CSUM | TSO4 | TSO_ECN | USO, id="no TSO6"),
        pytest.param(lambda bits: bits & USO not in (0, USO), TSO | USO, id="USO both or none"),
        pytest.param(lambda bits: bits & ~CSUM, CSUM, id="checksums only"),
        pytest.param(lambda bits: not bits & CSUM, TSO | USO, id="nothing without checksums"),
        pytest.param(lambda bits: True, 0, id="nothing"),
    ],
)
def test_offloads_fall_back_flag_by_flag(refuses: Callable[[int], int], accepted: int) -> None:
    assert accepted_offloads(lambda bits: not refuses(bits)) == accepted


def test_this_kernel_takes_what_its_version_should(namespace: Namespace) -> None:
    major, minor = map(int, platform.release().split(".")[:2])
    with device(namespace) as tun:
        assert tun.has_header
        assert tun.capabilities == (TSO | USO if (major, minor) >= (6, 2) else TSO)


@pytest.mark.parametrize(
    ("claimed", "usable"),
    [(0, 0), (TSO, TSO), (0xFFFF, TSO | USO), (CSUM | USO4, CSUM), (CSUM | TSO_ECN, CSUM), (TSO4 | USO, 0)],
)
def test_any_claim_of_a_peer_can_be_set(namespace: Namespace, claimed: int, usable: int) -> None:
    with device(namespace) as tun:
        assert tun.set_offload(claimed) == usable & tun.capabilities


def test_kernel_without_virtio_headers(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.tun.HEADER_SIZE", 1)  # a size the kernel refuses, as an old one refuses any
    with device(namespace, settings("10.88.0.1/24"), name="tr0") as tun:
        assert (tun.name, tun.has_header, tun.capabilities) == ("tr0", False, 0)
        tun.set_offload(TSO)  # nothing to set, nothing to refuse
        namespace.run("ping", "-c1", "-W0.1", "10.88.0.2", check=False)
        packet = os.read(tun.fd, READ_SIZE)
        assert (packet[0], len(packet)) == (0x45, 84)
        assert os.write(tun.fd, packet) == 84


# --- nothing stays behind --------------------------------------------------------------------------

OPEN_AND_WAIT = """
from gevent import monkey; monkey.patch_all()
import gevent
from ipaddress import ip_interface, ip_network
from lib.netlink import configure
from lib.settings import DeviceSettings
from lib.tun import open_tun
wanted = DeviceSettings(addresses=(ip_interface("10.88.0.1/24"),), routes=((ip_network("10.1.0.0/16"), ""),))
for turn in range(3):
    tun = open_tun("tr0")
    configure(wanted, tun.name, tun.capabilities)
    if turn < 2:
        tun.close()
print("open", flush=True)
gevent.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=lambda n: n.name)
def test_all_is_gone_after_any_signal(namespace: Namespace, number: signal.Signals) -> None:
    before = namespace.run("ip", "route", "show", "table", "all"), namespace.devices()
    child = namespace.popen(sys.executable, "-c", OPEN_AND_WAIT)
    # The child reopens the same name twice: with gevent's own os.close it would still be taken.
    child.wait_line("^open$")
    assert "tr0" in namespace.devices()
    assert namespace.ip("route", "show", "10.1.0.0/16")
    assert child.stop(number) == -number
    assert (namespace.run("ip", "route", "show", "table", "all"), namespace.devices()) == before


def test_close_returns_when_all_is_gone(namespace: Namespace) -> None:
    with device(namespace, settings("10.88.0.1/24", routes={"10.1.0.0/16": ""})) as tun:
        tun.close()
        assert namespace.devices() == {"lo"}
        assert namespace.ip("route") == []
        tun.close()  # once more does nothing


# --- packets ---------------------------------------------------------------------------------------


def pump(source: TunDevice, sink: TunDevice, stop: int, sizes: list[int]) -> None:
    """Carry packets from one device to the other until `stop` is readable: a tunnel of one thread."""
    poll = select.poll()
    poll.register(source.fd, select.POLLIN)
    poll.register(stop, select.POLLIN | select.POLLHUP)
    while stop not in dict(poll.poll()):
        try:
            packet = os.read(source.fd, READ_SIZE)
            sizes.append(len(packet))
            os.write(sink.fd, packet)
        except BlockingIOError:
            continue


@contextmanager
def tunnel(left: TunDevice, right: TunDevice) -> Iterator[list[int]]:
    """Both ways between two devices; gives the sizes of what went from left to right."""
    stop, release = os.pipe()
    sizes: list[int] = []
    threads = [
        threading.Thread(target=pump, args=(left, right, stop, sizes)),
        threading.Thread(target=pump, args=(right, left, stop, [])),
    ]
    for thread in threads:
        thread.start()
    try:
        yield sizes
    finally:
        os.close(release)
        for thread in threads:
            thread.join()
        os.close(stop)


def send_all(client: socket.socket, amount: int) -> None:
    client.sendall(bytes(amount))
    client.shutdown(socket.SHUT_WR)


def send_stream(sender: Namespace, receiver: Namespace, address: str, amount: int) -> int:
    """Send so many bytes over TCP to an address of the receiver; returns how many arrived."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with in_namespace(receiver.name):
        server = socket.create_server((address, 7000), family=family)
    with server:
        with in_namespace(sender.name):
            client = socket.create_connection((address, 7000), timeout=10)
        connection, _ = server.accept()
    received = 0
    with connection, client:
        connection.settimeout(10)
        sending = threading.Thread(target=send_all, args=(client, amount))
        sending.start()
        while data := connection.recv(1 << 20):
            received += len(data)
        sending.join()
    return received


@pytest.mark.parametrize("address", ["10.88.0.3", "fd77::3"])
@pytest.mark.parametrize("superpackets", [True, False])
def test_tcp_stream_comes_in_superpackets_when_allowed(
    topology: Topology, superpackets: bool, address: str
) -> None:
    amount = 8 << 20
    left, right = settings("10.88.0.2/24", "fd77::2/64"), settings("10.88.0.3/24", "fd77::3/64")
    with device(topology.host_1, left) as source, device(topology.host_2, right) as sink:
        source.set_offload(source.capabilities if superpackets else 0)
        with tunnel(source, sink) as sizes:
            assert send_stream(topology.host_1, topology.host_2, address, amount) == amount
    if superpackets:
        assert 32768 < max(sizes) <= MAX_FRAME
    else:
        assert max(sizes) == 1420 + HEADER_SIZE


@pytest.mark.parametrize("payload", [1000, 30000, 65507], ids=lambda n: f"{n} bytes")
def test_udp_segments_fit_a_frame(namespace: Namespace, payload: int) -> None:
    with device(namespace, settings("10.88.0.2/24")) as tun:
        if not tun.capabilities & USO4:
            pytest.skip("no USO before Linux 6.2")
        tun.set_offload(tun.capabilities)
        with in_namespace(namespace.name):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1300)
            sender.sendto(bytes(payload), ("10.88.0.3", 7000))
        sizes = []
        while readable(tun, 0):
            sizes.append(len(os.read(tun.fd, READ_SIZE)))
    headers = HEADER_SIZE + 28
    assert max(sizes) <= MAX_FRAME
    assert sum(sizes) - headers * len(sizes) == payload
    if payload + headers < GSO_MAX_SIZE:
        assert len(sizes) == 1
    else:
        assert max(sizes) == 1300 + headers  # past the limit the kernel segments for us


@pytest.mark.parametrize(
    "addresses", [("10.88.0.1/24",), ("fd77::1/64",), ("10.88.0.1/24", "fd77::1/64"), ()]
)
def test_a_device_of_ours_says_nothing_by_itself(namespace: Namespace, addresses: tuple[str, ...]) -> None:
    with device(namespace) as chatty, device(namespace, settings(*addresses)) as quiet:
        namespace.run("ip", "link", "set", chatty.name, "up")
        assert readable(chatty, 5)  # the kernel's router solicitation, at once
        assert not readable(quiet, 1.5)  # long past an address check or a multicast report


# --- which errors mean what ------------------------------------------------------------------------

PACKET = bytes(HEADER_SIZE) + bytes.fromhex("450000140000000040010000010101010a580001")
NOT_A_PACKET = bytes(HEADER_SIZE) + b"\x99" + bytes(20)


def test_device_down_costs_packets_not_the_device(namespace: Namespace) -> None:
    with device(namespace, settings("10.88.0.1/24")) as tun:
        assert os.write(tun.fd, PACKET) == len(PACKET)
        namespace.run("ip", "link", "set", tun.name, "down")
        read, write = (
            errno_of(lambda: os.read(tun.fd, READ_SIZE)),
            errno_of(lambda: os.write(tun.fd, PACKET)),
        )
        assert read in (errno.EAGAIN, errno.EIO)
        assert write == errno.EIO
        assert not is_gone(read)
        assert not is_gone(write)
        namespace.run("ip", "link", "set", tun.name, "up")
        assert os.write(tun.fd, PACKET) == len(PACKET)


@pytest.mark.parametrize("junk", [b"\x01", bytes(HEADER_SIZE), NOT_A_PACKET, b"\xff" * 40])
def test_junk_costs_itself_only(namespace: Namespace, junk: bytes) -> None:
    with device(namespace, settings("10.88.0.1/24")) as tun:
        assert not is_gone(errno_of(lambda: os.write(tun.fd, junk)))
        assert os.write(tun.fd, PACKET) == len(PACKET)


def test_deleted_device_is_gone_for_reader_and_writer(namespace: Namespace) -> None:
    with device(namespace, settings("10.88.0.1/24")) as tun:
        poll = select.poll()
        poll.register(tun.fd, select.POLLIN)
        deleting = threading.Thread(target=namespace.run, args=("ip", "link", "del", tun.name))
        deleting.start()
        assert poll.poll(5000)  # a waiting reader wakes up
        deleting.join()
        assert is_gone(errno_of(lambda: os.read(tun.fd, READ_SIZE)))
        assert is_gone(errno_of(lambda: os.write(tun.fd, PACKET)))
        with pytest.raises(HostError, match=tun.name):
            tun.set_offload(tun.capabilities)


# --- one clear line for what this host does not let us do ------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lo", "TUN device lo: a device of that name exists already: choose another name"),
        ("x" * 16, "TUN device xxxxxxxxxxxxxxxx: the name is longer than 15 bytes"),
        ("a b", "the kernel takes no such name"),
        ("a/b", "the kernel takes no such name"),
        (".", "the kernel takes no such name"),
    ],
)
def test_bad_name(namespace: Namespace, name: str, message: str) -> None:
    with pytest.raises(HostError, match=message), device(namespace, name=name):
        pass


def test_persistent_device_is_not_taken_over(namespace: Namespace) -> None:
    namespace.run("ip", "tuntap", "add", "mode", "tun", "name", "keep0")
    with pytest.raises(HostError, match="keep0: a device of that name exists already"):
        with device(namespace, name="keep0"):
            pass


OPEN = "from lib.tun import open_tun; open_tun('tr0')"
WITHOUT_CAPABILITY = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
WRONG_NODE = ("unshare", "--mount", "sh", "-c", 'mount --bind /etc/hostname /dev/net/tun && exec "$@"', "sh")
WITHOUT_NODE = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        pytest.param(
            WITHOUT_CAPABILITY, "tr0: no permission: run as root or with CAP_NET_ADMIN", id="no capability"
        ),
        pytest.param(WITHOUT_NODE, "there is no /dev/net/tun: modprobe tun", id="no device node"),
        pytest.param(WRONG_NODE, "/dev/net/tun is a regular file, not the device 10:200", id="a file"),
    ],
)
def test_host_without_tun(namespace: Namespace, wrapper: tuple[str, ...], message: str) -> None:
    child = namespace.popen(*wrapper, sys.executable, "-c", OPEN)
    child.wait_line(f"^lib.errors.HostError: .*{message}")
    assert child.wait() == 1


# --- a kernel, or a sandbox, that refuses offloads -------------------------------------------------


@pytest.mark.parametrize(
    ("request_number", "code", "reason"),
    [
        pytest.param("0x400454d0", errno.EPERM, "TUNSETOFFLOAD: Operation not permitted", id="TUNSETOFFLOAD"),
        pytest.param(
            "0x400454d8", errno.ENOTTY, "virtio-net headers: Inappropriate ioctl for device",
            id="TUNSETVNETHDRSZ",
        ),
    ],
)  # fmt: skip
def test_a_host_that_refuses_offloads_goes_on_without_superpackets_and_says_so_once(
    topology: Topology, write: Callable[[str, str], str], request_number: str, code: int, reason: str
) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    sandbox = (sys.executable, "-m", "tests.support.refused_ioctl", request_number, str(code))
    client = topology.host_1.popen(*sandbox, *TUNROUTER, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    client.wait_line("connected to")
    assert pings(topology.host_2, OVERLAY_1, 2) == 2
    amount = 1 << 20
    assert send_stream(topology.host_1, topology.host_2, OVERLAY_2, amount) == amount
    assert send_stream(topology.host_2, topology.host_1, OVERLAY_1, amount) == amount
    assert client.text().count(f"the kernel refuses superpackets ({reason}): packets go one by one") == 1
    assert client.stop() == 0
