"""A hub and a client with the rights that the shipped unit gives them: each feature works, or `check` names it."""

from __future__ import annotations

import signal
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


BY_USER = (
    AT_HUB.replace(
        "sh -c 'echo yes >/etc/tunrouter-was-here'", "sh -c 'id -u >/var/lib/tunrouter/begun'"
    ).replace("  handler", "    preDown: [sh -c 'id -u >/var/lib/tunrouter/after']\n  handler", 1)
    + "user: nobody\n"
)


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    with ExitStack() as stack:
        places = namespaces(stack, tmp_path, "hub host-7")
        with_hub(places)
        tmp_path.chmod(0o755)  # another user reads what is in it
        yield Player(tmp_path, places)


LEFT = "ip -4 addr; ip route show table all; ip rule; nft list ruleset; sysctl net.ipv4.ip_forward"
"""Shows what a client may leave on its host."""


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
    said = player.run("host-7", sealed("tunrouter check -C host-7.yaml", player.work))
    assert "then names of the hub's domain are not found on this host" in said
    assert said.count("the user nobody ") == 1, "all others work, as was seen"
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


def test_what_user_leaves(player: Player) -> None:
    """Root starts both, and each becomes another user: every feature goes on, through a reload, to a clean end."""
    (player.directory("hub") / "hub.yml").write_text(BY_USER)
    player.run("hub", "mkdir -p /run/tunrouter /var/lib/tunrouter && chown nobody /var/lib/tunrouter")
    hub = player.start("hub", "tunrouter -C hub.yml --control /run/tunrouter/tunrouter.sock")
    assert "user nobody from here on" in hub.text()
    assert "lookup 77" in player.run("hub", "ip rule show"), "preUp of the start is root's"
    assert wait_for(player, "/var/lib/tunrouter/begun") == "65534\n", "and all others are the user's"

    line = invitation(player.run("hub", f"tunrouter invite host-7 --address {HUB}:443"))
    up = "until ip -br link show uplink | grep -q ' UP '; do sleep 0.05; done"
    before = player.run("host-7", f"{up}; {LEFT}")  # the kernel says that a new link is up a second late
    own = "/var/lib/tunrouter"  # the user can read it, whoever runs tests beside this one
    player.run("host-7", f"tunrouter join --into {own} {line} && chown -R nobody {own}")
    text = player.run("host-7", f"cat {own}/host-7.yaml")
    text = text.replace('"connector"', '"metadata": {"so_mark": 7, "interface": "uplink"}, "connector"', 1)
    firewall = "nat: true, killswitch: true, map: {10.71.0.0/24: 192.168.1.0/24}, namesBy: stub"
    text = f"{text.replace('chain: hub}', f'chain: hub, metadata: {{{firewall}}}}}')}user: nobody\n"
    given = player.directory("host-7") / "given.yaml"
    given.write_text(text)
    player.run("host-7", f"cat given.yaml >{own}/host-7.yaml")
    said = player.run("host-7", f"tunrouter check -C {own}/host-7.yaml")
    assert "'namesBy': stub: user nobody cannot write to /etc/resolv.conf" in said
    lacks = [line for line in said.splitlines() if "user nobody " in line]
    lacks = [line for line in lacks if "/dev/net/tun" not in line]  # of everybody where udev has made it
    assert len(lacks) == 1, "all others work"
    client = player.start("host-7", f"tunrouter -C {own}/host-7.yaml --control /run/tunrouter/host-7.sock")
    player.run("host-7", "until ping -c 1 -W 1 10.20.0.1; do sleep 0.1; done")
    assert "join" in wait_for(player, "/var/lib/tunrouter/told")
    for number in (1, 2):
        # The hub is reached as soon as the device has an address; that is masqueraded, and forwarded, a moment later.
        player.run("host-7", "until [ $(sysctl -n net.ipv4.ip_forward) = 1 ]; do sleep 0.1; done")
        rules = player.run("host-7", "nft list ruleset")
        for words in ("tunrouter_nat_tun0", "killswitch", f"to 192.168.{number}.0/24"):
            assert words in rules
        if number == 1:
            given.write_text(text.replace("192.168.1.0/24", "192.168.2.0/24"))
            player.run("host-7", f"cat given.yaml >{own}/host-7.yaml")
            seen = client.line_count()
            client.send(signal.SIGHUP)
            client.wait_line("reload: done", after=seen)
    assert "connected" in player.run("hub", "tunrouter hosts")
    for one in (client, hub):
        assert one.stop() == 0
    assert player.run("host-7", LEFT) == before
    assert player.run("hub", "cat /var/lib/tunrouter/after") == "65534\n"
    assert "host-7" in player.run("hub", "cat /var/lib/tunrouter/pool-r"), "leases are kept"
