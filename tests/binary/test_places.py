"""Where the executable runs: a bare Debian 11, read-only, as anybody, with no room in /tmp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.binary.conftest import INSIDE, InRoot
from tests.support.netns import HUB_TO_HOST_1, Namespace, Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, example, host, reach, start_client, start_hub
from tests.support.tls import Authority

pytestmark = pytest.mark.needs_root

BINARY = f"{INSIDE}/tunrouter"
ALL = "licences"
"""A command for which everything is unpacked."""
READ_ONLY = "mount -o remount,bind,ro $R"
SMALL = "size=1M,mode=1777"
FEW = "nr_inodes=20,mode=1777"
NO_SHM = "mount -t tmpfs -o size=1M,ro none $R/dev/shm"
NOTHING = f"mount -t tmpfs -o {SMALL} none $R/tmp; mount -t tmpfs -o noexec,mode=1777 none $R/var/tmp; {READ_ONLY}; {NO_SHM}"
ANYBODY = (
    *("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"),
    *("--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"),
)


def run(namespace: Namespace, *argv: str) -> tuple[int, str]:
    process = namespace.popen(*argv)
    return process.wait(20), process.text()


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(":", id="bare root"),
        pytest.param(f"mount -t tmpfs none $R/tmp; {READ_ONLY}", id="read-only but for tmp"),
        pytest.param(READ_ONLY, id="read-only, shared memory is left"),
        pytest.param("mount -t tmpfs -o noexec,mode=1777 none $R/tmp", id="tmp is noexec"),
        pytest.param(f"mount -t tmpfs -o {SMALL} none $R/tmp", id="tmp is full"),
        pytest.param(f"mount -t tmpfs -o {FEW} none $R/tmp", id="tmp has few inodes"),
    ],
)
@pytest.mark.parametrize("user", [(), ANYBODY], ids=["root", "anybody"])
def test_starts(namespace: Namespace, in_root: InRoot, before: str, user: tuple[str, ...]) -> None:
    for word in ("--version", ALL):
        status, text = run(namespace, *in_root(*user, BINARY, word, before=before))
        assert (status, text.split()[:1]) == (0, ["tunrouter"]), text


def test_an_executable_that_may_not_be_read_is_one_line_that_says_so(
    namespace: Namespace, in_root: InRoot
) -> None:
    """It contains all that it runs; root reads it anyway."""
    before = f"mount -t tmpfs none $R/srv; cp $R{BINARY} $R/srv/tunrouter; chmod 0711 $R/srv/tunrouter"
    status, text = run(namespace, *in_root(*ANYBODY, "/srv/tunrouter", "--version", before=before))
    assert (status, text.count("\n")) == (1, 1)
    assert text.startswith("error: /srv/tunrouter may be executed, but not read, ")
    assert run(namespace, *in_root("/srv/tunrouter", "--version", before=before))[0] == 0


def test_starts_without_proc(namespace: Namespace, in_root: InRoot) -> None:
    assert run(namespace, *in_root(BINARY, ALL, before="umount $R/proc"))[0] == 0


@pytest.mark.parametrize(("word", "status"), [("--version", 0), (ALL, 1)])
def test_a_question_needs_little_room(namespace: Namespace, in_root: InRoot, word: str, status: int) -> None:
    nowhere_else = NOTHING.replace("size=1M", "size=20M", 1)
    assert run(namespace, *in_root(BINARY, word, before=nowhere_else))[0] == status


def test_nowhere_to_unpack_is_one_line_that_says_what_to_set(namespace: Namespace, in_root: InRoot) -> None:
    status, text = run(namespace, *in_root(BINARY, ALL, before=NOTHING))
    assert status == 1
    assert text.count("\n") == 1
    assert text.startswith(
        "error: no place to unpack to: /tmp is full, /var/tmp is mounted noexec, /run is read-only"
    )
    assert "set TMPDIR=/some/dir: " in text


def test_few_inodes_are_told_of(namespace: Namespace, in_root: InRoot) -> None:
    status, text = run(namespace, *in_root(BINARY, ALL, before=NOTHING.replace(SMALL, FEW, 1)))
    assert (status, text.count("\n")) == (1, 1)
    assert text.startswith(
        "error: no place to unpack to: /tmp has no inodes left, /var/tmp is mounted noexec, "
    )


def test_what_it_says_to_set_helps(namespace: Namespace, in_root: InRoot) -> None:
    before = f"{NOTHING}; mount -t tmpfs none $R/srv; export TMPDIR=/srv"
    assert run(namespace, *in_root(BINARY, ALL, before=before))[0] == 0


def test_a_tmpdir_that_will_not_do_is_passed_over(namespace: Namespace, in_root: InRoot) -> None:
    for wrong in ("/none", "/etc/passwd", "/proc"):
        assert run(namespace, *in_root(BINARY, ALL, before=f"export TMPDIR={wrong}"))[0] == 0


def test_a_tunnel_from_read_only_roots_as_anybody(
    topology: Topology, write: Callable[[str, str], str], in_root: InRoot
) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    device = "mount -t tmpfs none $R/dev/net; mknod -m 666 $R/dev/net/tun c 10 200"  # as udev leaves it
    before = f"{device}; mount -t tmpfs -o mode=1777 none $R/tmp; {READ_ONLY}"
    client = topology.host_1.popen(*in_root(*ANYBODY, BINARY, *host(1, HUB_TO_HOST_1), before=before))
    client.wait_line("connected to")
    start_client(topology.host_2, *host(2, "10.77.2.1"))
    reach(topology.host_1, OVERLAY_2)
    reach(topology.host_2, OVERLAY_1)
    assert client.stop() == 0


@pytest.mark.parametrize(
    "bundle", ["ssl/certs/ca-certificates.crt", "pki/tls/certs/ca-bundle.crt", "ssl/ca-bundle.pem"]
)
def test_finds_the_system_s_certificates(
    topology: Topology, write: Callable[[str, str], str], in_root: InRoot, tmp_path: Path, bundle: str
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("hub.test")
    start_hub(
        topology.hub,
        "-L",
        f"router+tls://:8443?router=r&cert={own.cert}&key={own.key}",
        "-C",
        write("r.yml", "routers: [{name: r}]"),
    )
    before = (
        "unset SSL_CERT_FILE SSL_CERT_DIR; mount -t tmpfs none $R/etc; "
        f"mkdir -p $R/etc/{Path(bundle).parent}; cp {authority.ca.cert} $R/etc/{bundle}; "
        f"echo {HUB_TO_HOST_1} hub.test >$R/etc/hosts"
    )
    to = "router+tls://hub.test:8443?secure=true"
    client = topology.host_1.popen(
        *in_root(BINARY, "-L", "tun:///host-1?net=192.168.123.1/24", "-F", to, before=before)
    )
    client.wait_line("connected to")
