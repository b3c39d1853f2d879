"""Who may be whom: logins of every kind, bound names, certificates, and two sessions of one name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    TUNROUTER,
    host,
    needs_gost,
    pings,
    reach,
    run,
    start,
    start_client,
    start_gost,
    start_hub,
)
from tests.support.tls import Authority

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
NAMESPACE = "e87f56dd-fd57-4921-9ab8-a0847662daae"

HUB = """\
services:
- name: service-0
  addr: ":8443"
  handler: {{type: router{handler}, metadata: {{router: router-0{metadata}}}}}
  listener: {{type: {listener}}}
routers:
- name: router-0
  routes:
  - {{net: 192.168.123.1/32, gateway: host-1}}
  - {{net: 192.168.123.2/32, gateway: host-2}}
{more}
"""


def config(more: str = "", handler: str = ", auther: a", metadata: str = "", listener: str = "tcp") -> str:
    return HUB.format(more=more, handler=handler, metadata=metadata, listener=listener)


def logged_in(number: int, hub: str, login: str, namespace: str = "") -> tuple[str, ...]:
    return tuple(word.replace("router://", f"router://{login}@") for word in host(number, hub, namespace))


def hash_of(password: str) -> str:
    done = subprocess.run(
        (*TUNROUTER, "hash"),
        input=password + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize("side", [start, pytest.param(start_gost, marks=needs_gost)])
def test_bound_logins_hashes_and_secrets(
    topology: Topology, write: Write, tmp_path: Path, side: Callable[..., Process]
) -> None:
    hashed = hash_of("pä ss")
    assert hashed.startswith("$scrypt$")
    (tmp_path / "secret").write_text("two\n")
    hub = start_hub(
        topology.hub, "-C",
        write("hub.yml", config(
            f"authers: [{{name: a, auths: [{{username: one, password: '{hashed}', hosts: [host-1]}},"
            f" {{username: two, password: '${{file:{tmp_path}/secret}}', namespaces: [{NAMESPACE}]}}]}}]"
        )),
    )  # fmt: skip
    one, two = "one:p%C3%A4%20ss", "two:two"
    side(topology.host_1, *logged_in(1, HUB_TO_HOST_1, one))
    hub.wait_line("is host host-1")
    side(topology.host_2, *logged_in(2, HUB_TO_HOST_2, one))
    hub.wait_line("host 'host-2' refused: the login 'one' is not for it")
    topology.host_2.kill_all()
    side(topology.host_2, *logged_in(2, HUB_TO_HOST_2, two))
    hub.wait_line("host 'host-2' refused: the login 'two' is not for it in namespace 0000")
    topology.host_2.kill_all()
    side(topology.host_2, *logged_in(2, HUB_TO_HOST_2, two, NAMESPACE))
    hub.wait_line(f"is host host-2 in namespace {NAMESPACE}")
    topology.host_2.kill_all()
    side(topology.host_2, *logged_in(2, HUB_TO_HOST_2, "two:wrong", NAMESPACE))
    hub.wait_line("refused: wrong login")
    assert hashed not in hub.text()


def test_a_name_only_for_its_certificate(topology: Topology, write: Write, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, first = authority.issue("hub.test"), authority.issue("host-1")
    tls = f"tls, tls: {{certFile: {own.cert}, keyFile: {own.key}, caFile: {authority.ca.cert}}}"
    text = config("", "", ", certHosts: true", tls)
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))

    def client(number: int, address: str) -> tuple[str, ...]:
        query = f"?cert={first.cert}&key={first.key}&ca={authority.ca.cert}"
        return tuple(
            word.replace("router://", "router+tls://") + (query if word.startswith("router") else "")
            for word in host(number, address)
        )

    start_client(topology.host_1, *client(1, HUB_TO_HOST_1))
    start(topology.host_2, *client(2, HUB_TO_HOST_2)).wait_line("refused: forbidden")
    hub.wait_line("host 'host-2' refused: its certificate is for host-1")


def test_certificate_names_without_client_certificates_are_refused(write: Write) -> None:
    status, said = run("check", "-C", write("hub.yml", config("", "", ", certHosts: true", "tls")))
    assert status == 2
    assert "nobody would be let in; give the listener's tls a caFile" in said


# --- two sessions of one name ---------------------------------------------------------------------


def twice(topology: Topology, write: Write, policy: str) -> tuple[Process, Process, Process]:
    """A hub, host-1 from host-1's namespace, and once more from host-2's."""
    text = config("", "", f", onDuplicate: {policy}")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    first = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    return hub, first, start(topology.host_2, *host(1, HUB_TO_HOST_2))


def test_share(topology: Topology, write: Write) -> None:
    _, first, second = twice(topology, write, "share")
    second.wait_line("connected to")
    assert "trying again" not in first.text()


def test_replace(topology: Topology, write: Write) -> None:
    hub, first, second = twice(topology, write, "replace")
    second.wait_line("connected to")
    first.wait_line("closed by the hub; trying again")
    hub.wait_line("left: replaced by a new session of its host name")


def test_refuse_and_a_name_that_is_free_again(topology: Topology, write: Write) -> None:
    hub, first, second = twice(topology, write, "refuse")
    second.wait_line("refused: forbidden")
    hub.wait_line("another live session has this host name")
    first.stop()
    second.stop()
    start_client(topology.host_2, *host(1, HUB_TO_HOST_2))


def test_refuse_does_not_lock_out_whose_old_session_hangs(topology: Topology, write: Write) -> None:
    """The same client comes back while its old session is half-open: silent, so it has to go."""
    hub, first, second = twice(topology, write, "refuse")
    second.wait_line("refused: forbidden")
    second.stop()
    block = "table inet t { chain c { type filter hook prerouting priority 0; iifname to-host-1 drop; }; }"
    topology.hub.run("nft", block)
    start_client(topology.host_2, *host(1, HUB_TO_HOST_2))
    hub.wait_line("left: silent, and a new session wants its host name")
    assert first.returncode is None


@needs_gost
def test_a_login_over_gost_s_hub(topology: Topology, write: Write) -> None:
    auths = "authers: [{name: a, auths: [{username: one, password: secret}]}]"
    start_gost(topology.hub, "-C", write("hub.yml", config(auths)))
    start(topology.host_2, *logged_in(2, HUB_TO_HOST_2, "one:wrong")).wait_line("refused: unauthorized")
    topology.host_2.kill_all()
    for number, namespace, hub in ((1, topology.host_1, HUB_TO_HOST_1), (2, topology.host_2, HUB_TO_HOST_2)):
        start_client(namespace, *logged_in(number, hub, "one:secret"))
    reach(topology.host_1, OVERLAY_2)


def test_the_guarded_example(topology: Topology, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a user starts it: whoever has the logins of the file is let in, may ping, and may not more."""
    monkeypatch.setenv("SITE_2", "other")
    control = str(tmp_path / "hub.sock")
    file = "packaging/examples/guarded-server.yml"
    hub = start_hub(topology.hub, "-C", file, "--control", control)
    hub.wait_line("user nobody from here on")
    for number, namespace, address, login in (
        (1, topology.host_1, HUB_TO_HOST_1, "site-1:secret"),
        (2, topology.host_2, HUB_TO_HOST_2, "site-2:other"),
    ):
        words = logged_in(number, address, login)
        start_client(namespace, *(word.replace("router://", "router+wss://") for word in words))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_2, OVERLAY_1) == 5
    said = topology.host_1.run(
        "timeout", "2", "bash", "-c", f"(echo > /dev/tcp/{OVERLAY_2}/80) 2>&1", check=False
    )
    assert "oute" in said or "ermi" in said or "nreach" in said  # told by ICMP, not left to wait
    explained = run("explain", "--control", control, "--from", "host-1", "--port", "tcp/443", OVERLAY_2)[1]
    assert "rule 1: allow from host-1 to host-2 protocol tcp port 22,443" in explained
