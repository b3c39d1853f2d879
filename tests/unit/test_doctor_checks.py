"""Checks of doctor: each fault is found, said in three parts, and everything is silent about what is well."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from lib import doctor_checks, doctor_process
from lib.addresses import packed_prefix
from lib.doctor_checks import CHECKS
from lib.doctor_facts import (
    Ailing,
    Certificate,
    Claim,
    Clock,
    Datagrams,
    Facts,
    Far,
    Filtered,
    Gateway,
    HubDomain,
    Listening,
    Local,
    Locked,
    Looked,
    Names,
    NameServer,
    Neighbour,
    Networks,
    Other,
    PathMtu,
    Refused,
    Said,
    Session,
    Tun,
    Unknown,
    Way,
)
from lib.doctor_firewall import Chain, Firewall, Packet
from lib.log_troubles import LASTING

NOW, DAY = 1_800_000_000.0, 86400.0
MARK = "ab" * 32
GOOD = Certificate(NOW - DAY, NOW + 900 * DAY, MARK)
WAY = Way("service-0", "node-0", "hub.example:8443", "", "", 0, True, True, GOOD, NOW + 1, NOW)
SERVER = NameServer("10.0.0.53", True, "eth0", False, False)
HUB = Packet("clients' connections", "in", "4", "tcp", "8443", "?")
LAN = Packet("what the tunnel brings", "forward", "4", "tcp", iif="tun0", oif="eth1")
CLAIM = Claim("service-0", "tun0", packed_prefix("10.9.0.0/24"), False)
ROUTE = Claim("service-0", "tun0", packed_prefix("0.0.0.0/1"), True)
ETH = Local("eth0", packed_prefix("192.168.1.0/24"))
NEIGHBOUR = Neighbour("192.168.200.7", "eth1", "192.168.200.1", "10.9.0.2/24", True, True)

DOMAIN = HubDomain("service-0", "tun0", "tun.example", "10.9.0.1", True, True)

CHANNEL = Datagrams("service-0", "203.0.113.1:8443", "good", "")

WELL = Facts(
    tun=Tun(),
    gateways=(Gateway("service-0", "192.168.200.0/24", False),),
    filtered=(),
    neighbours=(NEIGHBOUR,),
    far=(Far("192.168.100.7", "tun0", True, (("10.9.0.2", True), ("192.168.200.1", True))),),
    ways=(WAY,),
    paths=(PathMtu("to the hub", "203.0.113.1", "eth0", True, 1500, 1500),),
    names=Names((Looked("hub.example", "", 0.02),), (SERVER,)),
    domains=(DOMAIN,),
    datagrams=(CHANNEL,),
    clock=Clock(NOW, ("/etc/tunrouter/tunrouter.yaml", NOW - 5), (("/etc/cert.pem", GOOD),)),
    firewall=Firewall((Chain("inet filter", "input", (), "input"),), (HUB, LAN)),
    congestion=(),
    networks=Networks((ETH,), (CLAIM, ROUTE)),
    others=(),
    sessions=(Session("service-0", "host-2", "203.0.113.1:8443", "", ()),),
    listening=(Listening("service-0", ":8443", "", ""),),
    ailing=(),
    said=(),
)


def way(**changes: Any) -> tuple[Way, ...]:
    return (WAY._replace(**changes),)


def clock(**changes: Any) -> Clock:
    assert isinstance(WELL.clock, Clock)
    return replace(WELL.clock, **changes)


def cert(begins: float, ends: float) -> Certificate:
    return Certificate(NOW + begins, NOW + ends, MARK)


DROPS = (
    Chain("inet filter", "input", (), "input", policy="drop"),
    Chain("ip x", "forward", (), "forward", policy="drop"),
)
TUNNEL_SERVER = NameServer("10.9.0.53", True, "tun0", True, False)

FAULTS: list[tuple[str, str, Any, str, str]] = [
    ("configuration", "said", (Said("a.yml:3:1: that is odd", "write this", False),), "that is odd", "write this"),
    ("killswitch", "locked", Locked("it lets out tun0, and no hub"), "that no process holds: it lets out tun0", "tunrouter unlock"),
    ("GOST", "said", (Said("a.yml:3:1: GOST takes the first match", "", True),), "first match", "tunrouter lint"),
    ("running process", "ailing", (Ailing("source", "router r cannot be read from r.txt for 3 s: gone"),), "from r.txt for 3 s: gone", "tunrouter status"),
    ("running process", "ailing", doctor_process.stopped(["/etc/a.yaml"]), "runs here by /etc/a.yaml", "systemctl start"),
    ("session", "sessions", (Session("s", "host-2", "", "10.0.0.1:8443: refused", ()),), "no session: 10.0.0.1:8443: refused", ""),
    ("session", "sessions", (Session("s", "host-2", "10.0.0.1:8443", "", ("reverse-path …",)),), "reverse-path", "tunrouter drops"),
    ("session", "sessions", (Session("s", "host-2", "10.0.0.1:8443", "", (), ("address 10.20.0.9/32: it is in 10.20.0.0/24, a network of eth0",)),), "has not the address that the hub gives it: address 10.20.0.9/32", "hosts: {host-2: ADDRESS}"),
    ("hub's settings", "sessions", (Session("s", "host-2", "10.0.0.1:8443", "", (), ("route 0.0.0.0/0: a default route",)),), "not set of what the hub tells: route 0.0.0.0/0", "acceptRoutes"),
    ("names of hosts", "domains", (DOMAIN._replace(answers=False),), "does not answer for names of tun.example at 10.9.0.1", "dig @10.9.0.1 tun.example"),
    ("names of hosts", "domains", (DOMAIN._replace(resolves=False, by="resolved"),), "names of tun.example are not asked of the hub", "resolvectl domain tun0 '~tun.example'"),
    ("names of hosts", "domains", (DOMAIN._replace(resolves=False, by="stub"),), "names of tun.example are not asked of the hub", "head /etc/resolv.conf"),
    ("names of hosts", "domains", (DOMAIN._replace(resolves=False, by="hosts"),), "names of tun.example are not asked of the hub", "grep tun.example /etc/hosts"),
    ("names of hosts", "domains", (DOMAIN._replace(resolves=False),), "names of tun.example are not asked of the hub", "namesBy"),
    ("names", "names", Names((Looked("hub.example", "no such name", 0.1),), (SERVER,)), "hub.example is not found: no such name", "getent ahosts hub.example"),
    ("names", "names", Names((Looked("hub.example", "", 4.2),), (SERVER,)), "took 4 s", "resolv.conf"),
    ("names", "names", Names((), (SERVER._replace(answers=False),)), "10.0.0.53 does not answer", "dig @10.0.0.53"),
    ("names", "names", Names((Looked("hub.example", "", 0.1),), (TUNNEL_SERVER,)), "only through the tunnel (tun0)", "address instead of its name"),
    ("hub", "ways", way(error="Connection refused", stage="connection", code=errno.ECONNREFUSED, certificate=None), "hub.example:8443: Connection refused", "ss -ltn"),
    ("hub", "ways", way(error="no reply", stage="connection", code=errno.ETIMEDOUT, certificate=None), "no reply", "nc -vz hub.example 8443"),
    ("hub", "ways", way(error="no route", stage="connection", code=errno.ENETUNREACH, certificate=None), "no route", "ip route get hub.example"),
    ("hub", "ways", way(error="Name not known", stage="name", certificate=None), "Name not known", "getent ahosts hub.example"),
    ("hub", "ways", way(error="TLS: not the one pinned", stage="TLS"), "not the one pinned", "pin"),
    ("hub over UDP", "datagrams", (CHANNEL._replace(state="bad", reason="datagrams are not answered"),), "no datagrams pass between here and the hub (203.0.113.1:8443): datagrams are not answered", "udp dport 8443 accept"),
    ("listening", "listening", (Listening("s", ":8443", "no connection to it from here", "ss -ltnp"),), "no connection", "ss -ltnp"),
    ("certificate", "ways", way(verified=False), "not checked at all", f"pin=sha256:{MARK}"),
    ("certificate", "ways", way(certificate=cert(-DAY, -1)), "has expired on 2027-01-15", "renew it on the hub"),
    ("certificate", "ways", way(certificate=cert(60, DAY)), "not valid before", "timedatectl"),
    ("certificate", "ways", way(certificate=cert(-DAY, 3 * DAY)), "expires in 3 d", "renew it on the hub"),
    ("clock", "clock", clock(newest=("/etc/a.yml", NOW + 7200)), "/etc/a.yml was written at", "timedatectl"),
    ("clock", "clock", clock(certificates=(("/etc/c.pem", cert(-DAY, -1)),)), "/etc/c.pem of the hub here has expired", "renew"),
    ("hub's clock", "ways", way(date=NOW + 3600), "1 h behind that of hub.example:8443", "chronyc makestep"),
    ("hub's clock", "ways", way(date=NOW - 120), "ahead of that of", "timedatectl"),
    ("TUN device", "tun", Tun("no TUN device: no permission on /dev/net/tun"), "no permission", "--device /dev/net/tun"),
    ("TUN device", "tun", Tun("", "TUNSETOFFLOAD: Invalid argument"), "single packets only (TUNSETOFFLOAD", "kernel"),
    ("overlap", "networks", Networks((ETH,), (CLAIM._replace(prefix=packed_prefix("192.168.0.0/16")),)), "network 192.168.0.0/16 overlaps with 192.168.1.0/24", "dev eth0"),
    ("overlap", "networks", Networks((ETH,), (ROUTE._replace(prefix=packed_prefix("192.168.1.128/25")),)), "route 192.168.1.128/25", "eth0"),
    ("forwarding", "gateways", (Gateway("s", "192.168.200.0/24", True),), "192.168.200.0/24 to this host, which does not", "sysctl -w net.ipv4.ip_forward=1"),
    ("forwarding", "gateways", (Gateway("s", "2001:db8::/64", True),), "2001:db8::/64", "net.ipv6.conf.all.forwarding=1"),
    ("reverse path", "filtered", (Filtered("packets from the tunnel", "tun0", "10.7.0.0/16", "net.ipv4.conf.tun0.rp_filter"),), "drops packets from the tunnel from 10.7.0.0/16", "sysctl -w net.ipv4.conf.tun0.rp_filter=2"),
    ("firewall", "firewall", Firewall(DROPS, (HUB,)), "drops clients' connections: chain input", "nft insert rule inet filter input tcp dport 8443 accept"),
    ("firewall", "firewall", Firewall(DROPS, (LAN,)), "chain forward of ip x", 'nft insert rule ip x forward iifname "tun0" oifname "eth1" accept'),
    ("firewall", "firewall", Firewall((replace(DROPS[1], table="ip iptables-filter"),), (LAN,)), "by its policy", "iptables -I forward -i tun0 -o eth1 -j ACCEPT"),
    ("return routes", "neighbours", (NEIGHBOUR._replace(answers_tunnel=False),), "192.168.200.7 on eth1 answers to 192.168.200.1, but not to 10.9.0.2", "ip route add 10.9.0.0/24 via 192.168.200.1"),
    ("far address", "far", (Far("10.1.1.1", "", False, ()),), "no route to 10.1.1.1", "ip route get 10.1.1.1"),
    ("far address", "far", (Far("10.1.1.1", "eth0", False, ()),), "leads through eth0, which is no tunnel", "route="),
    ("far address", "far", (Far("10.1.1.1", "tun0", True, (("10.9.0.2", False),)),), "does not answer through the tunnel", "explain --from HOST 10.1.1.1"),
    ("far address", "far", (Far("10.1.1.1", "tun0", True, (("10.9.0.2", False), ("192.168.200.1", True))),), "but not to 10.9.0.2, this host's address in the tunnel", "ip route add 10.9.0.2 via ADDRESS"),
    ("far address", "far", (Far("10.1.1.1", "tun0", True, (("10.9.0.2", True), ("192.168.200.1", False))),), "answers to 10.9.0.2, but not to 192.168.200.1", "tunrouter routes 192.168.200.1"),
    ("path MTU", "paths", (PathMtu("to the hub", "203.0.113.1", "eth0", True, 1400, 1500),), "more than 1400 bytes vanish", "ip link set dev eth0 mtu 1400"),
    ("congestion", "congestion", (Refused("s", "bbr", "this kernel has no bbr"),), "bbr is not used: this kernel", "congestion: system"),
    ("other programs", "others", (Other(77, "gost", "it is host host-1 at hub:8443 too"),), "gost (pid 77) runs here too", "kill 77"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "field", "fact", "what", "mend"), FAULTS, ids=[f"{one[0]}: {one[3]}" for one in FAULTS]
)
def test_each_fault_is_found_and_nothing_else(name: str, field: str, fact: Any, what: str, mend: str) -> None:
    report = doctor_checks.report(replace(WELL, **{field: fact}))
    ((found, finding),) = report.findings or report.notes
    assert found == name
    assert what in finding.what
    assert mend in finding.mend
    assert finding.why
    assert report.healthy == (name in ("GOST", "hub's settings")), "what is only good to know is no illness"


def test_every_check_has_a_fault() -> None:
    assert {check.name for check in CHECKS} == {fault[0] for fault in FAULTS}


def test_what_is_well_is_passed_in_silence() -> None:
    report = doctor_checks.report(WELL)
    assert (report.findings, report.notes, report.unknown) == ((), (), ())
    assert report.healthy
    assert {"forwarding", "hub", "path MTU"} <= set(report.passed)


@pytest.mark.parametrize(
    ("field", "fact"),
    [
        ("networks", Networks((ETH,), (ROUTE._replace(prefix=packed_prefix("192.168.0.0/16")),))),
        ("networks", Networks((ETH,), (CLAIM._replace(prefix=packed_prefix("2001:db8::/32")),))),
        ("neighbours", (NEIGHBOUR._replace(answers_own=False, answers_tunnel=False),)),
        ("neighbours", (NEIGHBOUR, NEIGHBOUR._replace(address="192.168.200.9", answers_tunnel=False))),
        ("paths", (PathMtu("to the hub", "203.0.113.1", "eth0", False, 0, 1500),)),
        ("names", Names((), (TUNNEL_SERVER,))),
        ("names", Names((Looked("hub.example", "", 0.1),), (TUNNEL_SERVER._replace(answers_outside=True),))),
        ("ways", way(date=None)),
        ("datagrams", (CHANNEL._replace(state="tried"), CHANNEL._replace(state="rest"))),
        ("ways", way(encrypted=False, verified=False, certificate=None)),
    ],
    ids=["a wider route takes nothing", "the other version of IP", "a machine that answers no pings",
         "a machine that refuses strangers", "a hub that answers no pings", "no name to look up",
         "a name server that is reached without the tunnel too", "a hub that does not say the time",
         "datagrams that are tried still", "no TLS"],
)  # fmt: skip
def test_what_is_no_fault_is_not_told(field: str, fact: Any) -> None:
    assert not doctor_checks.report(replace(WELL, **{field: fact})).findings


def test_what_cannot_be_looked_at_is_said_and_no_finding() -> None:
    report = doctor_checks.report(replace(WELL, firewall=Unknown("only root may read it"), tun=None))
    assert report.healthy
    assert report.unknown == (("firewall", "only root may read it"),)
    assert "TUN device" not in report.passed


SOURCE = {"kind": "file", "name": "r.txt", "read_s": 9.0, "error": "", "failing_s": None, "bad_rows": 0}
PLUGIN = {"url": "http://10.0.0.9", "answered_s": 1.0, "error": ""}
TABLE = {"kind": "router", "name": "r", "rows": 1, "plugin": PLUGIN, "sources": [SOURCE]}
LINKED = {"name": "hub-2", "address": "10.0.0.2:8444", "live": True, "error": ""}
PATH = {"hub": "h:8443", "state": "carries", "rtt_s": 0.1, "since_s": 4.0}
CLIENT = {"service": "s", "hub": "h:8443", "paths": [PATH, PATH]}
MISSING = PATH | {"hub": "i:8443", "state": "no session: refused", "since_s": None}
PROBLEM = {"test": "host-1 to 10.2.0.9", "expect": "deny", "outcome": "fails", "reason": "it is delivered"}
WORKER = {"worker": 1, "pid": 7, "ready": True, "connections": 0, "since_s": 60.0}
CLUSTER = {
    "registry": "redis r:6379",
    "error": "",
    "hubs": [LINKED, LINKED | {"live": False, "error": "refused"}],
}
STATUS = {
    "tables": [TABLE, TABLE | {"plugin": None}],
    "notify": [{"name": "n", "error": ""}],
    "clusters": [CLUSTER],
    "hubs": [{"service": "s", "warnings": []}],
    "log": [{"output": "/var/log/t", "error": ""}],
    "tasks": [
        {"task": "router r", "failures": 3, "error": "it failed once", "failing_s": None, "ended": False}
    ],
    "clients": [CLIENT, CLIENT | {"paths": []}, CLIENT | {"hub": None, "paths": [MISSING]}],
    "policy": {"problems": []},
    "troubles": [{"event": "something-new", "text": "a newer process tells of it", "since_s": 1.0}],
    "workers": [WORKER],
    "worker_deaths": 0,
}
TROUBLE: list[tuple[str, Any, str]] = [
    ("tables", [TABLE | {"sources": [SOURCE | {"error": "gone", "failing_s": 40.0}]}], "router r cannot be read from r.txt for 40 s: gone"),
    ("tables", [TABLE | {"sources": [SOURCE | {"error": "gone"}]}], "router r cannot be read from r.txt: gone"),
    ("tables", [TABLE | {"sources": [SOURCE | {"bad_rows": 2}]}], "2 rows of r.txt for router r cannot be used"),
    ("tables", [TABLE | {"plugin": PLUGIN | {"error": "refused"}}], "router r: its plugin http://10.0.0.9 fails: refused"),
    ("notify", [{"name": "n", "error": "exit status 1"}], "notify n: exit status 1"),
    ("clusters", [CLUSTER | {"error": "no reply"}], "the registry of the cluster (redis r:6379) does not answer: no reply"),
    ("clusters", [CLUSTER | {"hubs": [LINKED | {"error": "refused"}]}], "no link to the hub hub-2 (10.0.0.2:8444): refused"),
    ("hubs", [{"service": "s", "warnings": ["two hosts are host-1"]}], "service s: two hosts are host-1"),
    ("log", [{"output": "/var/log/t", "error": "No space left"}], "the log cannot be written to /var/log/t: No space left"),
    ("tasks", [{"task": "router r", "failures": 3, "error": "odd", "failing_s": 4.0}], "router r fails for 4 s: odd"),
    ("tasks", [{"task": "t", "failures": 1, "error": "odd", "failing_s": None, "ended": True}], "t has ended: odd"),
    ("clients", [CLIENT | {"paths": [PATH, MISSING]}], "service s: one of its sessions is missing, by hub i:8443: no session: refused"),
    ("clients", [CLIENT | {"paths": [PATH, PATH | {"state": "silent", "silent_s": 12.0}]}], "service s: hub h:8443 is silent for 12 s"),
    ("sessions", [{"host": "host-1", "peer": "10.0.0.1:5", "silent_s": 12.0}, {"host": "host-2", "peer": "", "silent_s": None}],
     "host host-1 (10.0.0.1:5) is silent for 12 s"),
    ("policy", {"problems": [PROBLEM]}, "the policy test host-1 to 10.2.0.9 fails: it is delivered"),
    ("policy", {"problems": [PROBLEM | {"outcome": "not judged"}]}, "the policy test host-1 to 10.2.0.9 cannot be judged: it is delivered"),
    ("workers", [WORKER, WORKER | {"worker": 2, "ready": False}], "worker 2 (pid 7) takes no connections"),
    ("worker_deaths", 2, "a worker has ended by itself, 2 times since the start of the process"),
    *(("troubles", [{"event": one.value, "text": "the line", "since_s": 9.0}], "the line (for 9 s)") for one in LASTING),
]  # fmt: skip


@pytest.mark.parametrize(("field", "rows", "what"), TROUBLE, ids=[f"{one[0]}-{one[2]}" for one in TROUBLE])
def test_what_the_running_process_tells_of_is_found(field: str, rows: Any, what: str) -> None:
    assert not doctor_process.ailing(STATUS)
    found = doctor_process.ailing(STATUS | {field: rows})
    assert [one.what for one in found] == [what]
    assert list(doctor_process.findings(found))


def test_a_process_of_an_older_release_tells_of_less() -> None:
    newer = ("policy", "troubles", "workers", "worker_deaths")
    assert not doctor_process.ailing({key: rows for key, rows in STATUS.items() if key not in newer})
    assert not doctor_process.ailing(
        STATUS | {"worker_deaths": 2, "workers": [WORKER | {"since_s": 7200.0}]}
    ), "long ago"


def test_of_many_silent_sessions_a_few_are_named() -> None:
    silent = [{"host": f"host-{number}", "peer": "", "silent_s": 1.0} for number in range(5000)]
    found = doctor_process.ailing(STATUS | {"sessions": silent})
    assert len(found) == doctor_process.MOST_SILENT + 1
    assert found[-1].what == "4,992 more sessions silent"


def test_what_many_rows_tell_of_is_found_once() -> None:
    ill = TABLE | {"sources": [SOURCE | {"error": "gone"}]}
    assert len(doctor_process.ailing(STATUS | {"tables": [ill, ill]})) == 1


@pytest.mark.parametrize(
    ("warning", "told"),
    [
        ("the hub routes 192.168.200.0/24 to this host, which does not forward: sysctl -w …", ["forwarding"]),
        ("the hub routes 192.168.201.0/24 to this host, which does not forward: sysctl -w …", ["session", "forwarding"]),
    ],
)  # fmt: skip
def test_a_warning_is_left_out_where_a_check_says_the_same(warning: str, told: list[str]) -> None:
    sessions = (Session("s", "host-2", "10.0.0.1:8443", "", (warning,)),)
    gateways = (Gateway("s", "192.168.200.0/24", True),)
    report = doctor_checks.report(replace(WELL, sessions=sessions, gateways=gateways))
    assert [name for name, _ in report.findings] == told
