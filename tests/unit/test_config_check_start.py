"""What `check` finds that a start on this host would fail at: certificates, paths, addresses, users, devices."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import cli_check, cli_main, netlink_networks, service_command, service_socket, stream_options
from lib.addresses import packed_prefix
from lib.errors import Position, Problem
from lib.push_accept import LocalNetwork
from tests.support.tls import Authority

HUB = """services:
- name: hub
  addr: "127.0.0.1:0"
  handler: {type: router}
  listener:
    type: tls
    tls: {certFile: CERT, keyFile: KEY, caFile: CA}
"""
CLIENT = """services:
- name: host
  handler: {type: tun, chain: c}
  listener: {type: tun}
  forwarder: {nodes: [{name: n, addr: host-1}]}
chains:
- name: c
  hops:
  - name: h
    nodes:
    - name: n
      addr: "127.0.0.1:1"
      connector: {type: router}
      dialer:
        type: tls
        tls: {certFile: CERT, keyFile: KEY, caFile: CA}
"""
PLAIN = HUB.replace("type: tls\n    tls: {certFile: CERT, keyFile: KEY, caFile: CA}", "type: tcp")

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run `check` on a text; returns its status and all that it says, without the directory."""

    def run(text: str, *words: str) -> tuple[int, str]:
        (tmp_path / "f.yml").write_text(text)
        if "--control" not in words:
            words = ("--control", "none", *words)
        status = cli_main.main(["check", "-C", str(tmp_path / "f.yml"), *words])
        said = capsys.readouterr()
        return status, (said.err + said.out).replace(f"{tmp_path}/", "")

    return run


def with_files(text: str, directory: Path, cert: str, key: str, ca: str) -> str:
    for word, name in (("CERT", cert), ("KEY", key), ("CA", ca)):
        text = text.replace(word, str(directory / name), 1)
    return text


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A directory with good and bad certificates and keys."""
    directory = tmp_path / "pem"
    directory.mkdir()
    authority = Authority(directory)
    pair = authority.issue("a")
    authority.issue("b")
    authority.issue("old", days=-30)
    (directory / "junk").write_text("junk")
    words = (
        "openssl",
        "ec",
        "-in",
        pair.key,
        "-out",
        str(directory / "secret"),
        "-aes128",
        "-passout",
        "pass:x",
    )
    subprocess.run(words, check=True, capture_output=True)
    return directory


@pytest.mark.parametrize(
    ("text", "line", "where"), [(HUB, 7, 10), (CLIENT, 16, 14)], ids=["a hub", "a client"]
)
@pytest.mark.parametrize(
    ("files", "key", "why"),
    [
        (("none.pem", "a-key.pem", "ca.pem"), "certFile", "pem/none.pem: No such file or directory"),
        (("a.pem", "none", "ca.pem"), "keyFile", "pem/none: No such file or directory"),
        (("a.pem", "a-key.pem", "none"), "caFile", "pem/none: No such file or directory"),
        (
            ("a.pem", "b-key.pem", "ca.pem"),
            "keyFile",
            "b-key.pem: the key does not belong to the certificate",
        ),
        (("a.pem", "secret", "ca.pem"), "keyFile", "pem/secret: the key is encrypted"),
        (("junk", "a-key.pem", "ca.pem"), "certFile", "pem/junk: it holds no certificate"),
        (("a.pem", "junk", "ca.pem"), "keyFile", "pem/junk: it holds no private key"),
        (("a.pem", "a-key.pem", "junk"), "caFile", "pem/junk: it holds no certificate"),
        (("a.pem", "a-key.pem", ""), "caFile", "Is a directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_certificate_or_key_that_cannot_be_used(
    check: Check, pem: Path, text: str, line: int, where: int, files: tuple[str, str, str], key: str, why: str
) -> None:
    written = with_files(text, pem, *files)
    status, said = check(written)
    column = written.splitlines()[line - 1].index(f"{key}: ") + len(key) + 3
    assert status == 2
    assert f"error: f.yml:{line}:{column}: {key!r}: " in said
    assert why in said
    assert "ok: " not in said


@pytest.mark.parametrize("text", [HUB, CLIENT], ids=["a hub", "a client"])
def test_good_certificates_pass_and_an_expired_one_is_warned_of(check: Check, pem: Path, text: str) -> None:
    status, said = check(with_files(text, pem, "a.pem", "a-key.pem", "ca.pem"))
    assert (status, "certificate has" in said) == (0, False)
    status, said = check(with_files(text, pem, "old.pem", "old-key.pem", "ca.pem"))
    assert status == 0
    assert "old.pem: the certificate has expired on " in said


def test_the_default_certificate_is_looked_at_where_a_listener_takes_it(check: Check, pem: Path) -> None:
    default = f"tls: {{certFile: {pem}/a.pem, keyFile: {pem}/b-key.pem}}\n"
    taken = HUB.replace("    tls: {certFile: CERT, keyFile: KEY, caFile: CA}\n", "")
    assert check(default + taken)[0] == 2
    assert check(default + PLAIN)[0] == 0


@pytest.mark.parametrize(
    ("cert", "key", "why"),
    [
        ("none.pem", "a-key.pem", "'certFile': pem/none.pem: No such file or directory"),
        ("a.pem", "b-key.pem", "'keyFile': pem/b-key.pem: the key does not belong to the certificate"),
    ],
)
def test_the_certificate_of_the_web_api_is_looked_at(
    check: Check, pem: Path, cert: str, key: str, why: str
) -> None:
    """A start would fail with it; where the API is not opened at all nothing is loaded."""
    text = f"{PLAIN}api: {{addr: '127.0.0.1:0', tls: {{certFile: {pem}/{cert}, keyFile: {pem}/{key}}}}}\n"
    status, said = check(text)
    assert status == 2
    assert why in said
    assert check(text.replace("127.0.0.1:0", ":0"))[0] == 0
    assert check(text.replace(cert, "a.pem").replace(key, "a-key.pem"))[0] == 0


def test_the_certificate_in_the_working_directory_is_looked_at(
    check: Check, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cert.pem").write_bytes((pem / "a.pem").read_bytes())
    (tmp_path / "key.pem").write_bytes((pem / "b-key.pem").read_bytes())
    status, said = check(HUB.replace("    tls: {certFile: CERT, keyFile: KEY, caFile: CA}\n", ""))
    assert status == 2
    assert "names no certificate and takes cert.pem: key.pem: the key does not belong" in said


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/" + "x" * service_socket.MAX_PATH, f"a socket's path has at most {service_socket.MAX_PATH} bytes"),
        ("TMP/file/ctl", "file is no directory"),
        ("TMP/file", "is there already, and is no socket"),
        ("TMP/open/ctl", "others may write to"),
        ("TMP/closed/ctl", "this user may not write to closed"),
        ("/proc/ctl", "/proc is of the kernel's own (proc): no files can be made there"),
        ("/sys/none/ctl", "/sys is of the kernel's own (sysfs)"),
    ],
    ids=[
        "too long",
        "below a file",
        "a file",
        "others may write there",
        "no rights",
        "proc",
        "sys",
    ],
)
def test_a_control_path_that_cannot_be(
    check: Check, tmp_path: Path, path: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = os.access  # root may write everywhere, as access(2) says
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path) and may(path, mode))
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    status, said = check(PLAIN, "--control", path.replace("TMP", str(tmp_path)))
    assert status == 2
    assert "error: --control: " in said
    assert why in said


def test_a_control_path_whose_directory_a_start_would_make(check: Check, tmp_path: Path) -> None:
    assert check(PLAIN, "--control", str(tmp_path / "new" / "ctl"))[0] == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("section", "place", "why"),
    [
        ("log: {output: TMP/none/t.log}", "f.yml:7:15: 'output': none/t.log: there is no directory", ""),
        ("log: {output: TMP}", "f.yml:7:15: 'output': ", "is a directory"),
        ("log: {output: /proc/t.log}", "f.yml:7:15: 'output': /proc/t.log: ", "no files can be made there"),
        ("metrics: {addr: 'unix://TMP/f.yml'}", "f.yml:7:17: 'addr': f.yml: ", "is no socket"),
        ("metrics: {addr: '192.0.2.1:9000'}", "f.yml:7:17: ", "this host has no such address"),
        ("user: nobody-of-this-name", "f.yml:7:7: ", "there is no user"),
    ],
    ids=["log without directory", "log", "log in proc", "metrics socket", "metrics address", "user"],
)
def test_what_else_a_start_opens(check: Check, tmp_path: Path, section: str, place: str, why: str) -> None:
    status, said = check(PLAIN + section.replace("TMP", str(tmp_path)) + "\n")
    assert status == 2
    assert f"error: {place}" in said
    assert why in said


def test_an_address_of_another_host_is_no_address_to_listen_on(check: Check) -> None:
    status, said = check(PLAIN.replace("127.0.0.1:0", "192.0.2.1:8443"))
    assert status == 2
    assert "error: f.yml:3:9: cannot listen on 192.0.2.1:8443; this host has no such address" in said


def test_a_port_that_is_in_use_is_only_warned_of(check: Check) -> None:
    """Most who check a file want it to replace the one that runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        status, said = check(PLAIN.replace("127.0.0.1:0", address))
    assert status == 0
    assert f"warning: f.yml:3:9: somebody listens on {address} now" in said


def test_metrics_and_a_hub_on_one_port(check: Check) -> None:
    status, said = check(PLAIN.replace("127.0.0.1:0", ":18443") + "metrics: {addr: '127.0.0.1:18443'}\n")
    assert status == 2
    assert "metrics would be served where service hub listens" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_the_later_user_may_not_read(check: Check, tmp_path: Path) -> None:
    """Routes are read after the change of the user, so that root's check is not enough."""
    public = Path("/tmp").is_dir() and Path("/tmp").stat().st_mode & 1
    assert public, "the test needs a directory that everybody may enter"
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        (Path(name) / "routes").write_text("10.0.0.0/8 a\n")
        text = PLAIN + f"user: nobody\nrouters:\n- name: r\n  file: {{path: {name}/routes}}\n"
        for directory, mode, why in ((0o700, 0o644, f"enter {name}"), (0o755, 0o600, "read it")):
            Path(name).chmod(directory)
            (Path(name) / "routes").chmod(mode)
            status, said = check(text)
            assert status == 0
            assert f"warning: f.yml:10:16: 'path': {name}/routes: user nobody may not {why}" in said
        (Path(name) / "routes").chmod(0o644)
        assert "may not" not in check(text)[1]


def test_a_device_that_is_no_tun_device(check: Check) -> None:
    text = CLIENT.replace("{type: tun}", "{type: tun, metadata: {name: lo}}", 1)
    status, said = check(text.replace("        tls: {certFile: CERT, keyFile: KEY, caFile: CA}\n", ""))
    assert status == 2
    assert "there is a network device lo already, and it is no TUN device" in said


@pytest.mark.parametrize("key", ["interface: wlan77", "metadata: {interface: wlan77}"])
def test_a_device_through_which_the_hub_is_dialled_and_that_is_not_there(check: Check, key: str) -> None:
    text = CLIENT.replace("        tls: {certFile: CERT, keyFile: KEY, caFile: CA}\n", "")
    status, said = check(text.replace("    - name: n\n", f"    - name: n\n      {key}\n"))
    assert status == 0
    assert "warning: f.yml:12:" in said
    assert "'interface': there is no network device wlan77 here now" in said


@pytest.mark.parametrize("source", ["192.0.2.77", "2001:DB8::77"])
def test_an_address_that_the_hub_is_dialled_from_and_that_is_not_here(check: Check, source: str) -> None:
    text = CLIENT.replace("        tls: {certFile: CERT, keyFile: KEY, caFile: CA}\n", "")
    text = text.replace("127.0.0.1:1", "hub.test:1")
    status, said = check(text.replace("    - name: n\n", f"    - name: n\n      interface: '{source}'\n"))
    assert status == 0
    assert f"'interface': {source.lower()} is no address of this host now" in said


def test_everything_is_found_at_once_and_for_machines_too(
    check: Check,
) -> None:
    text = PLAIN.replace("127.0.0.1:0", "192.0.2.1:1") + "user: nobody-of-this-name\nlog: {output: /}\n"
    assert check(text)[1].count("error: ") == 3
    status, said = check(text, "--json")
    whole = json.loads(said)
    assert (status, whole["ok"], len(whole["problems"])) == (2, False, 3)
    assert [service["name"] for service in whole["services"]] == ["hub"]


def test_many_warnings_of_one_kind_are_counted() -> None:
    of_a_kind = [Problem(Position("f", n, 1), f"router r{n}: 10.0.{n}.0/24 is odd") for n in range(1, 201)]
    lines = list(cli_check.folded([*of_a_kind, Problem(Position("f", 300, 1), "another")], "warning"))
    assert lines == [
        *map(str, of_a_kind[: cli_check.OF_A_KIND]),
        "and 197 more warnings of this kind; --all prints them",
        "f:300:1: another",
    ]
    kinds = [Problem(Position("f", n, 1), "x" * n) for n in range(1, 21)]
    assert list(cli_check.folded(kinds, "note"))[-1] == "and 5 more notes of other kinds; --all prints them"


DIALLED = CLIENT.replace("tls: {certFile: CERT, keyFile: KEY, caFile: CA}", "metadata: {congestion: NAME}")


def test_a_congestion_control_that_the_kernel_would_refuse_is_warned_of(check: Check) -> None:
    listened = PLAIN.replace("type: tcp", "type: tcp, metadata: {congestion: none_such}").replace(
        "\n    type", " {type"
    )
    text = listened.rstrip() + "}\n"
    status, said = check(text)
    place = f"f.yml:{text.count(chr(10))}:{text.splitlines()[-1].index('none_such') + 1}"
    assert status == 0
    assert f"warning: {place}: 'congestion': the kernel has not loaded none_such, only " in said
    status, said = check(DIALLED.replace("NAME", "None_Such"))
    assert status == 0
    assert "warning: f.yml:16:32: 'congestion': the kernel has not loaded none_such, only " in said


@pytest.mark.parametrize("name", ["system", "reno"])
def test_a_congestion_control_that_everybody_may_use_is_not_spoken_of(check: Check, name: str) -> None:
    assert "congestion" not in check(DIALLED.replace("NAME", name))[1]


@pytest.mark.parametrize("text", [PLAIN, DIALLED.replace("NAME", "auto")], ids=["a hub", "a client"])
def test_a_note_says_what_to_do_where_auto_gets_no_bbr(
    check: Check, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(stream_options, "missing", lambda name: f"no {name}: do this")
    status, said = check(text)
    assert status == 0
    assert said.count("note: ") == 1
    assert "bbr would carry more where packets are lost, and is not used: no bbr: do this. " in said
    monkeypatch.setattr(stream_options, "missing", lambda name: "")
    assert "note: " not in check(text)[1]


@pytest.mark.parametrize(
    "more",
    ["mptcp: true", "mptcp: true, congestion: bbr", "mptcp: true, congestion: reno", "congestion: bbr"],
)
def test_a_note_says_what_a_hub_that_becomes_another_user_has_in_listeners_that_a_reload_opens(
    check: Check, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    def missing(name: str, is_admin: bool | None = None) -> str:
        return "" if is_admin is None or name == "reno" else f"only root may use {name}"

    monkeypatch.setattr(stream_options, "missing", missing)
    listener = PLAIN.rstrip() + f"\n    metadata: {{{more}}}\n"
    status, said = check(listener + "user: nobody\n")
    assert status == 0
    line = (
        "note: f.yml:8:7: 'user': a listener with mptcp to which a reload gives another address, or that it "
        "adds, has no"
    )
    told = more in ("mptcp: true", "mptcp: true, congestion: bbr")
    assert (f"{line} bbr until the next start: only root may use bbr" in said) == told
    assert line not in check(listener)[1]


def test_mptcp_that_the_kernel_has_not_is_warned_of(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    text = DIALLED.replace("congestion: NAME", "mptcp: yes")
    monkeypatch.setattr(stream_options, "no_mptcp", lambda: "it is off: do this")
    status, said = check(text)
    assert status == 0
    assert "warning: f.yml:16:27: 'mptcp': it is off: do this; until then connections are plain TCP" in said
    assert "'mptcp'" not in check(text.replace("yes", "no"))[1]
    monkeypatch.setattr(stream_options, "no_mptcp", lambda: "")
    assert "'mptcp'" not in check(text)[1]


def test_a_map_wants_nft_and_a_prefix_that_is_not_here(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = (
        LocalNetwork("eth7", packed_prefix("10.71.0.0/16")),
        LocalNetwork("eth8", packed_prefix("10.99.0.0/16")),
    )
    monkeypatch.setattr(netlink_networks, "connected", lambda without: networks)
    text = CLIENT.replace(
        "{type: tun, chain: c}", "{type: tun, chain: c, metadata: {map: {10.71.5.0/24: 192.168.1.0/24}}}"
    ).replace("type: tls\n        tls: {certFile: CERT, keyFile: KEY, caFile: CA}", "type: tcp")
    status, said = check(text)
    assert status == 0
    assert "f.yml:3:50: " in said
    assert "'map': 10.71.5.0/24 overlaps with 10.71.0.0/16, a network of eth7" in said
    assert "eth8" not in said
    assert "192.168.1.0/24 behind this host appears as 10.71.5.0/24" in said
    monkeypatch.setattr(service_command, "find", lambda name: None)
    status, said = check(text)
    assert status == 2
    assert "'map': there is no nft here; install it (package nftables)" in said
