"""A hub and a client with the rights that the shipped unit gives them: each feature works, or `check` names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.test_recipes import HUB, namespaces, with_hub
from tests.support.page import Player, invitation
from tests.support.sealed import sealed

pytestmark = [pytest.mark.usefixtures("no_traceback"), pytest.mark.needs_root]

AT_HUB = """\
services:
- name: hub
  addr: :443
  metadata:
    preUp: [ip rule add pref 77 lookup 77]
    postUp: [sh -c 'echo yes >/etc/tunrouter-was-here']
  handler: {type: router, metadata: {router: r, enrol: /var/lib/tunrouter/hosts}}
  listener: {type: tls}
routers:
- {name: r, address: 10.20.0.1/24, pool: 10.20.0.0/24, dnsDomain: tun.example.com}
notify:
- command: sh -c 'echo "$TUNROUTER_EVENT" >>/var/lib/tunrouter/told'
"""
ELSEWHERE = AT_HUB.replace("  metadata:\n", "  metadata:\n    netns: blue\n").replace(
    "/var/lib/tunrouter/hosts", "/srv/hosts"
)


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    with ExitStack() as stack:
        places = namespaces(stack, tmp_path, "hub host-7")
        with_hub(places)
        tmp_path.chmod(0o755)  # another user reads what is in it
        yield Player(tmp_path, places)


def wait_for(player: Player, path: str) -> str:
    """What is in a file at the hub, once it is there."""
    return player.run("hub", f"until [ -s {path} ]; do sleep 0.05; done; cat {path}")


def test_what_the_unit_lets_through(player: Player) -> None:
    here = player.directory("hub")
    (here / "hub.yml").write_text(AT_HUB)
    (here / "elsewhere.yml").write_text(ELSEWHERE)
    player.run("hub", "mkdir -p /run/tunrouter /var/lib/tunrouter")
    hub = player.start(
        "hub", sealed("tunrouter -C hub.yml --control /run/tunrouter/tunrouter.sock", player.work)
    )
    assert "lookup 77" in player.run("hub", "ip rule show"), "a hook has the capabilities of the unit"
    hub.wait_line("postUp: sh: ended with status .*Read-only file system")

    line = invitation(player.run("hub", f"tunrouter invite host-7 --address {HUB}:443"))
    player.run("host-7", f"tunrouter join --into . {line}")
    config = player.directory("host-7") / "host-7.yaml"
    node = '"connector"'
    more = '"metadata": {"so_mark": 7, "interface": "uplink"}, "connector"'
    config.write_text(config.read_text().replace(node, more, 1))
    firewall = "chain: hub, metadata: {nat: true, killswitch: true, map: {10.71.0.0/24: 192.168.1.0/24}}}"
    config.write_text(config.read_text().replace("chain: hub}", firewall))
    player.run("host-7", "sysctl -qw net.ipv4.ip_forward=1")
    player.run("host-7", "chown nobody host-7.yaml host-7.login")
    client = player.start(
        "host-7", sealed("tunrouter -C host-7.yaml --control /run/tunrouter/host-7.sock", player.work)
    )
    player.run("host-7", "until ping -c 1 -W 1 10.20.0.1; do sleep 0.1; done")
    rules = player.run("host-7", "nft list ruleset")
    assert "tunrouter_nat_tun0" in rules
    assert "killswitch" in rules
    assert "dnat ip prefix to 192.168.1.0/24" in rules
    assert "connected" in player.run("hub", "tunrouter hosts")
    assert "join" in wait_for(player, "/var/lib/tunrouter/told")

    # what it does not let through is named by a check with the same rights
    said = player.run("hub", sealed("tunrouter check -C hub.yml", player.work))
    assert "the user nobody" not in said
    said = player.run("hub", sealed("tunrouter check -C elsewhere.yml", player.work))
    for words in (
        "'netns' of a service: the user nobody has no CAP_SYS_ADMIN; start it as root, or by the unit of the package",
        "'enrol': /srv/hosts: this user may not write to /srv",
    ):
        assert words in said
    assert "1 host revoked, 1 session ended\n" in player.run("hub", "tunrouter revoke host-7")
    client.wait_line("refused: unauthorized")
    for one in (client, hub):
        one.stop()
    assert "tun0" not in player.run("host-7", "cat /proc/net/dev; nft list tables")
    assert "host-7" in player.run("hub", "cat /var/lib/tunrouter/pool-r"), "leases are kept"
