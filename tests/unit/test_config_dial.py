"""How a hub is dialled: interface, so_mark and hosts of a hop and its nodes, as GOST takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import (
    config_dial,
    config_from_urls,
    config_read,
    config_resolve,
    config_secrets,
    settings_summary,
    settings_summary_clients,
)
from lib.errors import ConfigError
from lib.settings import ClientSettings, NodeSettings, Settings
from lib.settings_dial import PLAIN_DIAL, ChoiceSettings, DialSettings, Interface

TEXT = """services:
- name: host
  handler: {{type: tun, chain: c}}
  listener: {{type: tun, metadata: {{net: 10.0.0.1/24}}}}
  forwarder: {{nodes: [{{name: n, addr: host-1}}]}}
hosts:
- name: names
  mappings:
  - {{ip: 192.0.2.1, hostname: hub.test}}
  - {{ip: 192.0.2.2, hostname: hub.test}}
  - {{ip: 2001:db8::1, hostname: .lab.test}}
- {{name: v4, mappings: [{{ip: 192.0.2.3, hostname: hub.test}}]}}
- {{name: both, mappings: [{{ip: 192.0.2.4, hostname: .test}}, {{ip: fe80::4%eth0, hostname: .test}}]}}
chains:
- name: c
  hops:
  - name: h
    nodes:
    - {{name: n, addr: 'hub.test:1', connector: {{type: router}}, dialer: {{type: tcp}}{node}}}
{hop}
"""


TURNS = DialSettings("eth0", others=(Interface("", "192.0.2.9", strict=True), Interface("eth1")))
BOTH = DialSettings("", "2001:db8::9", addresses=("192.0.2.3",), others=(Interface("", "192.0.2.9"),))


def resolved(node: str = "", hop: str = "") -> Settings:
    """The settings of a client whose node and hop have these keys more."""
    text = TEXT.format(node=f", {node}" if node else "", hop=f"    {hop}" if hop else "")
    return config_resolve.resolve(config_read.read([("f", text)]))


def dial(node: str = "", hop: str = "") -> DialSettings:
    return resolved(node, hop).clients[0].nodes[0].dial


def url(*ways: str) -> tuple[Settings, NodeSettings]:
    settings = config_resolve.resolve(config_from_urls.read(["tun:///host-1?net=10.0.0.1/24"], ways))
    return settings, settings.clients[0].nodes[0]


@pytest.mark.parametrize(
    ("node", "hop", "expected"),
    [
        ("", "", PLAIN_DIAL),
        ("interface: eth1", "", DialSettings("eth1")),
        ("metadata: {interface: eth1}", "", DialSettings("eth1")),
        ("", "interface: eth1", DialSettings("eth1")),
        ("", "metadata: {interface: eth1}", DialSettings("eth1")),
        ("interface: eth2", "interface: eth1", DialSettings("eth2")),
        ("interface: eth2, metadata: {interface: eth3}", "", DialSettings("eth3")),
        ("interface: eth1!", "", DialSettings("eth1")),
        ("interface: 192.0.2.9", "", DialSettings("", "192.0.2.9")),
        ("interface: 2001:db8::9", "", DialSettings("", "2001:db8::9")),
        ("interface: 'eth0,192.0.2.9!, eth1'", "", TURNS),
        ("interface: [eth0, 192.0.2.9!, eth1]", "", TURNS),
        ("metadata: {interface: [eth0, '192.0.2.9!', eth1]}", "", TURNS),
        ("", "interface: 'eth0,192.0.2.9!,eth1'", TURNS),
        ("interface: 'eth0,'", "", DialSettings("eth0", others=(Interface(),))),
        ("interface: 'eth0,eth0'", "", DialSettings("eth0")),
        ("interface: '2001:db8::9,192.0.2.9', hosts: v4", "", BOTH),
        ("sockopts: {mark: 100}", "", DialSettings(mark=100)),
        ("metadata: {so_mark: 0x64}", "", DialSettings(mark=100)),
        ("", "sockopts: {mark: 100}", DialSettings(mark=100)),
        ("", "metadata: {so_mark: 100}", DialSettings(mark=100)),
        ("sockopts: {mark: 1}", "sockopts: {mark: 2}", DialSettings(mark=1)),
        ("hosts: names", "", DialSettings(addresses=("192.0.2.1", "192.0.2.2"))),
        ("", "hosts: names", DialSettings(addresses=("192.0.2.1", "192.0.2.2"))),
        ("interface: eth1, sockopts: {mark: 7}", "hosts: names", None),
    ],
    ids=str,
)
def test_what_a_hop_or_node_says_of_its_socket_counts(
    node: str, hop: str, expected: DialSettings | None
) -> None:
    every = DialSettings("eth1", mark=7, addresses=("192.0.2.1", "192.0.2.2"))
    settings = resolved(node, hop)
    assert settings.clients[0].nodes[0].dial == (expected or every)
    assert not settings.warnings


@pytest.mark.parametrize(
    ("node", "hop", "message"),
    [
        ("hosts: nams", "", "f:19:92: there is no hosts section 'nams'; did you mean 'names'?"),
        ("interface: 'eth0,a/b'", "", "f:19:96: 'interface': 'a/b' is no device and no address"),
        ("interface: {a: b}", "", "'interface' wants a list, not keys and values"),
        ("metadata: {interface: [[a]]}", "", "f:19:108: 'interface' wants a list of texts"),
        (
            "metadata: {interface: [eth0, b/c]}",
            "",
            "f:19:114: 'interface': 'b/c' is no device and no address",
        ),
        (
            "interface: '2001:db8::9,::1', hosts: v4",
            "",
            "f:19:96: 'interface': from 2001:db8::9, which is IPv6, nothing reaches 192.0.2.3: IPv4; write an",
        ),
        ("interface: a/b", "", "'interface': 'a/b' is no device and no address"),
        ("interface: sixteen-letters-", "", "is no device and no address"),
        (
            "interface: fe80::9",
            "",
            "f:19:96: 'interface': 'fe80::9' may be behind any network device: write fe80::9%eth0",
        ),
        (
            "interface: 'fe80::9%a/b'",
            "",
            "'interface': 'fe80::9%a/b': not the name of a network device: 'a/b'",
        ),
        (
            "interface: 2001:db8::9, hosts: v4",
            "",
            "f:19:96: 'interface': from 2001:db8::9, which is IPv6, nothing reaches 192.0.2.3: IPv4; write an",
        ),
        (
            "hosts: v4",
            "metadata: {interface: '::1'}",
            "'interface': from ::1, which is IPv6, nothing reaches 192",
        ),
        ("sockopts: {mark: -1}", "", "so_mark: -1 is not within 0 to 4294967295"),
        ("sockopts: {mrk: 1}", "", "unknown key 'mrk' in a sockopts section; did you mean 'mark'?"),
        (
            "resolver: r",
            "",
            "'resolver' is not supported yet; leave it out, and name the hub's addresses in hosts",
        ),
        ("", "resolver: r", "f:20:5: 'resolver' is not supported yet; leave it out, and name the hub's"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_an_error_with_its_place(node: str, hop: str, message: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        resolved(node, hop)
    assert message in str(wrong.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{ip: hub, hostname: x}", "'ip': "),
        (
            "{ip: fe80::1, hostname: x}",
            "'ip': 'fe80::1' may be behind any network device: write fe80::1%eth0",
        ),
        ("{ip: 192.0.2.1}", "a mapping without a hostname"),
    ],
)
def test_a_wrong_mapping_is_an_error_and_not_left_out_as_in_gost(row: str, message: str) -> None:
    text = TEXT.format(node="", hop="").replace("{ip: 192.0.2.1, hostname: hub.test}", row)
    with pytest.raises(ConfigError) as wrong:
        config_resolve.resolve(config_read.read([("f", text)]))
    assert f"f:9:{5 if 'without' in message else 10}: {message}" in str(wrong.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("hub.test", "1"),
        ("lab.test", "2"),
        ("a.lab.test", "2"),
        ("a.b.lab.test", "3"),
        ("x.b.lab.test", "3"),
        ("lab.tes", ""),
        ("xlab.test", ""),
    ],
)
def test_a_name_is_found_as_gost_finds_it(host: str, expected: str) -> None:
    rows = {"hub.test": ("1",), ".lab.test": ("2",), ".b.lab.test": ("3",)}
    assert config_dial.look_up(rows, host) == tuple(expected)
    assert config_dial.look_up({**rows, ".": ("4",)}, host) == tuple(expected or "4")


def test_the_command_line_says_it_too() -> None:
    settings, node = url(
        "router+tls://hub.test:1?interface=eth1&so_mark=100&hosts=hub.test:192.0.2.1,x:192.0.2.2&secure=true"
    )
    assert node.dial == DialSettings("eth1", mark=100, addresses=("192.0.2.1",))
    assert node.transport.tls.server_name == "hub.test", "the certificate is still the name's"
    assert not settings.warnings
    words = settings_summary.words(settings)
    assert "    dialled through device eth1 with mark 100 at 192.0.2.1 (hub.test is in hosts)" in words


@pytest.mark.parametrize(
    ("hub", "source", "fits"),
    [
        ("[::1]", "127.0.0.1", False),
        ("127.0.0.1", "::1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("[fe80::1%25eth0]", "fe80::2%25eth0", True),
        ("[fe80::1%25eth0]", "192.0.2.1", False),
        ("hub.test", "127.0.0.1", True),
        ("hub.test", "::1", True),
    ],
)
def test_an_address_to_come_from_is_of_the_hub_s_version_of_ip(hub: str, source: str, fits: bool) -> None:
    way = f"router://{hub}:1?interface={source}"
    if fits:
        assert url(way)[1].dial == DialSettings(source=source.replace("%25", "%"))
        return
    with pytest.raises(ConfigError) as wrong:
        url(way)
    assert str(wrong.value).startswith(f"-F 1: 'interface': from {source}, which is IPv")


def test_of_several_addresses_one_of_the_right_version_is_enough() -> None:
    way = "router://hub.test:1?interface=192.0.2.9&hosts=hub.test:192.0.2.1"
    assert url(way)[1].dial.source == "192.0.2.9"
    dial_of_both = dial("hosts: both, interface: '::1'", "")
    assert dial_of_both.addresses == ("192.0.2.4", "fe80::4%eth0")


def test_behind_a_proxy_the_proxy_is_dialled_so_and_the_hub_is_named_by_its_address() -> None:
    settings, node = url(
        "socks5://proxy.test:1?interface=eth1&hosts=proxy.test:192.0.2.1",
        "http://second.test:2?hosts=second.test:192.0.2.2",
        "router://hub.test:3?so_mark=5&hosts=hub.test:192.0.2.3",
    )
    assert [proxy.dial for proxy in node.proxies] == [
        DialSettings("eth1", addresses=("192.0.2.1",)),
        PLAIN_DIAL,
    ]
    assert [proxy.host for proxy in node.proxies] == ["proxy.test", "192.0.2.2"]
    assert node.dial == DialSettings(addresses=("192.0.2.3",))
    [warning] = settings.warnings
    assert "'so_mark' has no effect behind a proxy, as in GOST" in str(warning)


def test_several_interfaces_are_a_text_again_where_gost_prints_and_reads_one() -> None:
    text = TEXT.format(node=", interface: [eth0, eth1]", hop="")
    assert "interface: eth0,eth1" in config_read.render(config_read.read([("f", text)]), "yaml")
    settings, node = url("router+tls://hub.test:1?interface=eth0,192.0.2.9!,eth1&secure=true")
    assert node.dial == TURNS
    words = settings_summary.words(settings)
    assert "    dialled through device eth0, else from 192.0.2.9, else through device eth1" in words


CLIENT_KEY = "for a service without a chain, in GOST too"


@pytest.mark.parametrize(
    ("role", "key", "reason"),
    [
        ("tun", "interface: eth0", CLIENT_KEY),
        ("tun", "sockopts: {mark: 1}", CLIENT_KEY),
        ("tun", "metadata: {interface: eth0}", CLIENT_KEY),
        ("tun", "metadata: {so_mark: 1}", CLIENT_KEY),
        ("tun", "hosts: names", "for names with a port"),
        ("tun", "resolver: r", "for names with a port"),
        ("router", "interface: eth0", "a hub makes none"),
        ("router", "sockopts: {mark: 1}", "a hub makes none"),
        ("router", "metadata: {so_mark: 1}", "a hub makes none"),
        ("router", "resolver: r", "a hub makes none"),
        ("router", "hosts: names", "a hub makes none"),
    ],
    ids=str,
)
def test_a_service_s_own_keys_have_no_effect_as_in_gost_and_the_reason_is_true(
    role: str, key: str, reason: str
) -> None:
    text = TEXT.format(node="", hop="")
    if role == "tun":
        text = text.replace("- name: host\n", f"- name: host\n  {key}\n")
    else:
        text = f"services:\n- {{name: s, addr: ':1', handler: {{type: router, metadata: {{router: r}}}}, {key}}}\n"
        text += "routers: [{name: r}]\nhosts: [{name: names}]\n"
    [warning] = config_resolve.resolve(config_read.read([("f", text)])).warnings
    assert reason in str(warning)
    assert warning.where.line == (3 if role == "tun" else 2)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://p:1?notels=true", "unknown metadata key 'notels' for a proxy before the hub"),
        ("socks5://p:1?weight=0", "'weight': 0 is not within 1 to 1000000"),
        ("socks5://p:1?strategy=fifi", "unknown strategy 'fifi'; did you mean 'fifo'?"),
        ("http://p:1?header=X-A", "metadata key 'header' is not supported yet; leave it out: an http proxy"),
        ("socks5://p:1?router.id=x", "it belongs to the connector metadata of the hub's node in a chain"),
        ("socks5://p:1?resolver=192.0.2.53", "-F 1: 'resolver' is not supported yet; leave it out, and name"),
    ],
)
def test_a_key_of_a_proxy_is_looked_at_as_well(proxy: str, message: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        url(proxy, "router://h:1")
    assert message in str(wrong.value)


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("socks5://u:p@p:1?notls=true", "'notls' is of no use on the way to a hub"),
        ("socks5://p:1?timeout=5s", "'timeout' counts for the whole way, and is read at the hub's node"),
        ("http://p:1?secure=true", "tls means nothing on the way to a proxy: nothing is encrypted there"),
        ("http://p:1?nodelay=true", "'nodelay' is always on here"),
    ],
)
def test_a_key_of_a_proxy_without_effect_has_its_reason(proxy: str, reason: str) -> None:
    [warning] = url(proxy, "router://h:1")[0].warnings
    assert reason in str(warning)


def hosts_file(path: str, more: str = "") -> Settings:
    text = TEXT.format(node="", hop="    hosts: names").replace(
        "- name: names", f"- name: names{more}\n  file: {{path: {path}}}"
    )
    return config_resolve.resolve(config_read.read([("f", text)]), config_secrets.read)


def test_a_file_of_hosts_is_read_as_etc_hosts_is(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# ours\n192.0.2.7\thub.test  hub # new\n\n2001:db8::7 hub.test\n")
    settings = hosts_file(str(path))
    dial = settings.clients[0].nodes[0].dial
    assert dial.addresses == ("192.0.2.1", "192.0.2.2", "192.0.2.7", "2001:db8::7")
    assert not settings.warnings


def test_bad_lines_of_a_file_of_hosts_are_warned_of_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("hub.test 192.0.2.7\n192.0.2.8\n192.0.2.9 ${env:HOME}\n192.0.2.10 x\nfe80::1 x\n")
    assert [str(warning).removeprefix(f"{path}:") for warning in hosts_file(str(path)).warnings] == [
        "1:1: not `address name`: 'hub.test 192.0.2.7'; the line is left out",
        "2:1: not `address name`: '192.0.2.8'; the line is left out",
        "3:1: not `address name`: '192.0.2.9 ${env:HOME}'; the line is left out",
        "5:1: 'fe80::1' may be behind any network device: write fe80::1%eth0; the line is left out",
    ]
    [*_, told] = hosts_file(str(path), "\n  reload: 10s").warnings
    assert "f:8:11: 'reload' is not supported yet: a file of hosts is read again by SIGHUP and -R" in str(
        told
    )


def test_reload_of_hosts_without_a_file_is_warned_of() -> None:
    text = TEXT.format(node="", hop="").replace("- name: names", "- name: names\n  reload: 3s")
    (warning,) = config_resolve.resolve(config_read.read([("f", text)])).warnings
    assert str(warning).startswith("f:8:11: 'reload' without a file: there is nothing to read again")


def test_a_file_of_hosts_that_is_not_there_is_an_error_at_the_place_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        hosts_file("/no/such/hosts")
    assert str(wrong.value) == "f:8:16: /no/such/hosts: No such file or directory"


# --- how a node is chosen

CHOICES = [
    ("metadata: {backup: true}", ChoiceSettings(backup=True)),
    ("metadata: {weight: 3}", ChoiceSettings(3)),
    ("metadata: {maxFails: 3, failTimeout: 1m}", ChoiceSettings(max_fails=3, fail_timeout=60.0)),
    ("metadata: {failTimeout: 5}", ChoiceSettings(fail_timeout=5.0)),
    ("", ChoiceSettings()),
]


@pytest.mark.parametrize(("node", "choice"), CHOICES)
def test_what_a_node_says_about_how_it_is_chosen(node: str, choice: ChoiceSettings) -> None:
    settings = resolved(node, "selector: {strategy: random}")
    assert settings.clients[0].nodes[0].choice == choice
    assert settings.clients[0].strategy == "rand", "GOST's other word for it"
    assert not settings.warnings


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("metadata: {weight: 0}", "'weight': 0 is not within 1 to 1000000"),
        ("metadata: {weight: x}", "'weight': "),
        ("metadata: {maxFails: -1}", "'maxFails': -1 is not within"),
        ("metadata: {failTimeout: -1s}", "'failTimeout': a duration below zero"),
        ("metadata: {backup: perhaps}", "'backup': "),
    ],
)
def test_a_wrong_choice_has_its_place(node: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(node, "selector: {strategy: rand}")
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.where.line == 19


def test_a_weight_that_nobody_looks_at_is_told_of() -> None:
    (warning,) = resolved("metadata: {weight: 3}").warnings
    assert (
        warning.message == "'weight' has no effect, in GOST neither: only the strategy rand chooses by weight"
    )


def client_of(more: str) -> tuple[ClientSettings, list[str]]:
    """A client of a URL, and the warnings."""
    found = config_resolve.resolve(config_from_urls.read([f"tun:///{more}"], ["router://h:1"]))
    return found.clients[0], [one.message for one in found.warnings]


def test_the_selector_of_a_forwarder_has_one_host_name_to_choose_from() -> None:
    one, (warning,) = client_of("host-1?net=10.0.0.1/24&strategy=fifo")
    assert warning == "'selector' of a forwarder chooses among host names, and this client has one"
    assert (one.host, one.hosts) == ("host-1", ())


@pytest.mark.parametrize(
    ("said", "strategy"),
    [("", "round"), ("&strategy=fifo", "fifo"), ("&strategy=rand", "rand"), ("&strategy=hash", "hash")],
)
def test_several_host_names_and_how_one_is_chosen(said: str, strategy: str) -> None:
    client, warnings = client_of(f"a,b,c?net=10.0.0.1/24{said}")
    assert [one.name for one in client.hosts] == ["a", "b", "c"]
    assert client.host_strategy == strategy
    assert not warnings
    assert "is one of the hosts a, b, c (" in "\n".join(settings_summary_clients.words(client))


def test_a_host_name_never_fails() -> None:
    _, warnings = client_of("a,b?net=10.0.0.1/24&maxFails=3&failTimeout=1s")
    assert warnings == [
        f"{key!r} of a forwarder has no effect: a host name never fails, in GOST neither"
        for key in ("maxFails", "failTimeout")
    ]


# --- network namespaces

NETNS = [
    ("netns: blue", "", "blue"),
    ("metadata: {netns: blue}", "", "blue"),
    ("", "metadata: {netns: blue}", "blue"),
    ("netns: red", "metadata: {netns: blue}", "red"),
    ("metadata: {netns: /proc/1/ns/net}, netns: red", "", "/proc/1/ns/net"),
    ("", "", ""),
]


@pytest.mark.parametrize(("node", "hop", "netns"), NETNS)
def test_in_which_network_namespace_a_node_is_dialled(node: str, hop: str, netns: str) -> None:
    assert dial(node, hop).netns == netns


def test_a_name_that_no_network_namespace_can_have_and_one_that_root_alone_can_enter() -> None:
    with pytest.raises(ConfigError, match="no network namespace can have the name 'a/b'; write a name of"):
        resolved("netns: a/b")
    text = "user: nobody\n" + TEXT.format(node=", netns: blue", hop="")
    with pytest.raises(ConfigError, match="f:1:7: 'user' beside a node's netns"):
        config_resolve.resolve(config_read.read([("f", text)]))


def of_service(netns: str, handler: str = "", node: str = "") -> Settings:
    """A client whose service names a network namespace."""
    text = TEXT.format(node=f", netns: {node}" if node else "", hop="")
    text = text.replace("- name: host\n", f"- name: host\n  metadata: {{netns: {netns}}}\n", 1)
    text = text.replace("{type: tun, chain: c}", f"{{type: tun, chain: c, metadata: {{{handler}}}}}", 1)
    return config_resolve.resolve(config_read.read([("f", text)]))


def test_the_device_of_a_client_may_be_in_another_namespace() -> None:
    settings = of_service("blue", node="red")
    (client,) = settings.clients
    assert (client.device.netns, client.nodes[0].dial.netns) == ("blue", "red")
    assert not settings.warnings
    words = "\n".join(settings_summary.words(settings))
    assert "a device that the kernel names in network namespace blue, net 10.0.0.1/24" in words
    url = config_from_urls.read(["tun:///h?net=10.0.0.1/24&netns=/run/netns/blue"], ["router://h:1"])
    assert config_resolve.resolve(url).clients[0].device.netns == "/run/netns/blue"


@pytest.mark.parametrize(
    ("netns", "handler", "node", "said"),
    [
        ("a/b", "", "", "f:3:21: 'netns': no network namespace can have the name 'a/b'"),
        ("blue", "nat: true", "", "f:3:21: 'nat' beside 'netns': tables of nftables are set where tunrouter"),
        ("blue", "map: 10.71.0.0/24:192.168.1.0/24", "", "f:3:21: 'map' beside 'netns': tables of nftables"),
        ("blue", "killswitch: true", "", "f:3:21: 'killswitch' beside 'netns': tables of nftables"),
        ("blue", "", "/run/netns/blue", "f:3:21: 'netns' of a service and of its node are the same"),
    ],
)
def test_what_does_not_go_with_a_device_in_another_namespace(
    netns: str, handler: str, node: str, said: str
) -> None:
    with pytest.raises(ConfigError) as wrong:
        of_service(netns, handler, node)
    assert said in str(wrong.value)


def test_a_user_that_may_not_look_after_a_device_elsewhere_and_devices_of_one_name_in_two_namespaces() -> (
    None
):
    text = TEXT.format(node="", hop="").replace(
        "- name: host\n", "- name: host\n  metadata: {netns: blue}\n", 1
    )
    with pytest.raises(ConfigError, match="f:1:7: 'user' beside a client's netns: only root may look after"):
        config_resolve.resolve(config_read.read([("f", f"user: nobody\n{text}")]))
    named = text.replace("metadata: {net:", "metadata: {name: tun7, net:")
    first, rest = named.split("hosts:", 1)
    both = first + first.split("services:\n")[1].replace("name: host\n", "name: guest\n")
    other = both[::-1].replace("eulb", "der", 1)[::-1]
    assert len(config_resolve.resolve(config_read.read([("f", f"{other}hosts:{rest}")])).clients) == 2
    with pytest.raises(ConfigError, match="two services have a device named 'tun7'"):
        config_resolve.resolve(config_read.read([("f", f"{both}hosts:{rest}")]))


def test_two_hubs_may_have_one_port_in_different_namespaces() -> None:
    service = "{{name: {0}, addr: ':1', metadata: {{netns: {1}}}, handler: {{type: router, metadata: {{router: r}}}}}}"
    text = "services: [{}, {}]\nrouters: [{{name: r}}]\n"
    both = text.format(service.format("a", "blue"), service.format("b", "red"))
    hubs = config_resolve.resolve(config_read.read([("f", both)])).hubs
    assert [hub.netns for hub in hubs] == ["blue", "red"]
    with pytest.raises(ConfigError, match="would listen where service a does already"):
        config_resolve.resolve(config_read.read([("f", both.replace("red", "blue"))]))
