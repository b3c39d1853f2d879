"""Two commands from nothing to a ping: invite on the hub, join on the host; and revoke, after which nobody comes back."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import enrol_token
from lib.enrol_token import Token
from tests.support import schema
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import (
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
from tests.support.redis_server import Redis, needs_redis
from tests.support.tls import Authority

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
OWN, OTHER = "192.168.123.7", "192.168.123.2"

HUB = """\
services:
- name: hub
  addr: ":8443"
  handler: {{type: router, auther: a, metadata: {{router: r, enrol: {enrol}}}}}
  listener: {{type: tls, tls: {{certFile: {cert}, keyFile: {key}}}}}
authers: [{{name: a, auths: [{{username: u, password: p, hosts: [host-2]}}]}}]
routers: [{{name: r, routes: [{{dst: 192.168.123.2/32, gateway: host-2}}]}}]
"""


@pytest.fixture
def hub_file(write: Write, tmp_path: Path) -> Callable[[str, str], str]:
    """A hub's configuration by its list of hosts, and a name for the file."""
    own = Authority(tmp_path).issue("hub.test")

    def written(enrol: str, name: str) -> str:
        return write(name, HUB.format(enrol=enrol, cert=own.cert, key=own.key))

    return written


def invited(control: str, *arguments: str) -> str:
    """The line that invite prints."""
    status, said = run("invite", "--control", control, *arguments)
    assert status == 0, said
    return next(line for line in said.splitlines() if line.startswith("tunrouter1-"))


def other_host(topology: Topology) -> None:
    """A client of the other kind, with a login of the auther."""
    words = host(2, HUB_TO_HOST_2)
    login = [word.replace("router://", "router+tls://u:p@") for word in words]
    start_client(topology.host_2, *login)


def test_from_nothing_to_a_ping_and_out_for_good(
    topology: Topology, hub_file: Callable[[str, str], str], tmp_path: Path
) -> None:
    listed, control, etc = tmp_path / "state" / "hosts", str(tmp_path / "c.sock"), tmp_path / "etc"
    hub = start_hub(topology.hub, "-C", hub_file(str(listed), "hub.yml"), "--control", control)
    other_host(topology)

    status, said = run("invite", "host-7", "--control", control)
    assert status == 1
    assert "say it: --address NAME:PORT" in said, "no route leads out of this namespace"
    said = run("invite", "host-2", "--address", HUB_TO_HOST_1, "--control", control)[1]
    assert "the name host-2 may be used by the login 'u' of auther a" in said

    began = time.monotonic()
    address = f"{HUB_TO_HOST_1}:8443"
    line = invited(control, "host-7", "--address", address, "--gateway", OWN, "--gateway", "192.168.7.0/24")
    client = start(topology.host_1, "join", "--into", str(etc), "--now", line)
    client.wait_line("joined hub 10.77.1.1:8443 as host host-7")
    client.wait_line("connected to")
    reach(topology.host_1, OTHER)
    assert time.monotonic() - began < 15.0, "two commands, and a ping"
    hub.wait_line("host host-7 in namespace 0{8}-.* has joined from 10.77.1.2")
    client.wait_line("192.168.7.0/24 is routed to this host: let it forward")

    login = etc / "host-7.login"
    assert stat.S_IMODE(os.stat(login).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(listed).st_mode) == 0o600
    password = login.read_text().split()[1]
    assert password not in listed.read_text(), "only hashes are kept at the hub"
    assert not list(etc.glob("*.new"))

    status, said = run("routes", "192.168.7.0/24", "--control", control)
    assert (status, "enrolled hosts" in said, "host-7" in said) == (0, True, True)
    reply = json.loads(run("hosts", "--json", "--control", control)[1])
    schema.check(reply, "hosts")
    (row,) = reply["hosts"]
    assert (row["host"], row["connected"], row["gateways"]) == (
        "host-7",
        True,
        [f"{OWN}/32", "192.168.7.0/24"],
    )
    said = run("hosts", "--control", control)[1]
    assert "connected" in said
    reply = json.loads(run("status", "--json", "--control", control)[1])
    schema.check(reply, "status")
    (table,) = (row for row in reply["tables"] if row["kind"] == "enrolled")
    assert (table["rows"], table["sources"][0]["name"], table["sources"][0]["error"]) == (1, str(listed), "")

    # the same line once more, here and as if from elsewhere
    for directory in (etc, tmp_path / "elsewhere"):
        second = topology.host_1.popen(*TUNROUTER, "join", "--into", str(directory), line)
        assert second.wait() == 1
        assert "the invitation has been used already" in second.text()
        assert not list(directory.glob("*.new"))
    assert login.read_text().split()[1] == password

    before = time.monotonic()
    status, said = run("revoke", "host-7", "--control", control)
    assert (status, said) == (0, "1 host revoked, 1 session ended\n")
    hub.wait_line("host-7.* left: no longer let in: wrong login")
    assert time.monotonic() - before < 6.0, "a second, and the start of the command"
    client.wait_line("refused: unauthorized")
    hub.wait_line("host 'host-7' refused: wrong login")
    assert "enrolled hosts" not in run("routes", "--control", control)[1]
    assert run("hosts", "--control", control) == (0, "nobody is enrolled, and nobody is invited\n")
    assert json.loads(listed.read_text())["hosts"] == []


@needs_gost
def test_a_hub_that_is_a_gost_is_told(topology: Topology, tmp_path: Path) -> None:
    own = Authority(tmp_path).issue("hub.test")
    start_gost(topology.hub, "-L", f"router+tls://:8443?certFile={own.cert}&keyFile={own.key}")
    text = Path(own.cert).read_text()
    end = "-----END CERTIFICATE-----"
    first = text[: text.index(end) + len(end)]
    token = Token(
        *(HUB_TO_HOST_1, 8443, bytes(8), bytes(8), bytes(16), 1_900_000_000, "host-7"),
        pin=hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).digest(),
    )
    argv = ("join", "--into", str(tmp_path / "etc"), enrol_token.encode(token))
    status, said = run(*argv, namespace=topology.host_1)
    assert status == 1
    assert "it knows no enrolment: it is a GOST or an older tunrouter" in said
    assert not (tmp_path / "etc" / "host-7.yaml").exists()


@needs_redis
def test_two_hubs_of_a_cluster_share_a_redis(
    topology: Topology, hub_file: Callable[[str, str], str], tmp_path: Path
) -> None:
    """An invitation of one hub counts at the other; a host that is revoked at one loses its session at the other."""
    redis = Redis(topology.hub)
    redis.start()
    controls = [str(tmp_path / f"{number}.sock") for number in (1, 2)]
    hubs, one = [], controls[0]
    for number, control in enumerate(controls, 1):
        file = Path(hub_file(f"{{redis: {{addr: {redis.addr}, key: enrolled}}}}", f"{number}.yml"))
        text = (
            file.read_text().replace(":8443", f":{8442 + number}").replace("router: r,", "router: r, sd: s,")
        )
        link = f"127.0.0.1:{7000 + number}"
        text += f"sds: [{{name: s, redis: {{addr: {redis.addr}}}}}]\ncluster: {{name: hub-{number}, link: "
        text += f"{{listen: '{link}', address: '{link}', secret: {'x' * 32}}}}}\n"
        file.write_text(text)
        hubs.append(start_hub(topology.hub, "-C", str(file), "--control", control))
    first, second = hubs
    other_host(topology)

    line = invited(one, "host-7", "--address", f"{HUB_TO_HOST_1}:8444", "--gateway", OWN)
    client = start(topology.host_1, "join", "--into", str(tmp_path), "--now", line)
    client.wait_line("connected to")
    second.wait_line("has joined from")
    first.wait_line("enrolled hosts of redis://.*: 1 host")
    assert "host-7" in run("hosts", "--control", one)[1]
    reach(topology.host_2, OWN)

    assert run("revoke", "host-7", "--control", one)[0] == 0
    second.wait_line("host-7.* left: no longer let in", 1.0)
    assert pings(topology.host_2, OWN, 2) == 0
    assert "host-7" not in redis.do("HGET", "enrolled", "list").partition('"invitations"')[0]
    client.wait_line("refused: unauthorized")
