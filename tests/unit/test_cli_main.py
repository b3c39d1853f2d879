"""Commands as they are typed, and texts from whatever editor or shell: configurations, secrets, passwords."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from lib import auth_passwords, cli_config, cli_main, config_secrets
from tests.unit.test_text_encoding import saved

CONFIG = """\
services:
  - name: hüb
    addr: ':8443'
    handler:
      type: router
routers: [{name: r}]
"""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli_main.main(arguments) == 0
    return capsys.readouterr().out


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_configuration_however_it_was_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    plain = tmp_path / "plain.yml"
    plain.write_bytes(CONFIG.encode())
    expected = printed(capsys, "-C", str(plain), "-O", "yaml")
    assert "hüb" in expected
    for how, data in saved(CONFIG.replace("\n", ends)).items():
        path = tmp_path / "hub.yml"
        path.write_bytes(data)
        assert printed(capsys, "-C", str(path), "-O", "yaml") == expected, how
        stdin(monkeypatch, data)
        cli_config.standard_input.cache_clear()
        assert printed(capsys, "-C", "-", "-O", "yaml") == expected, how
    cli_config.standard_input.cache_clear()


def test_a_configuration_that_is_cut_is_an_error_at_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hub.yml"
    path.write_bytes(CONFIG.encode("utf-16")[:-1])
    assert cli_main.main(["check", "-C", str(path)]) == 2
    assert f"error: {path}: 'utf-16-le' codec" in capsys.readouterr().err


MARKED = ("UTF-8", "UTF-8 with a mark", "UTF-16 little with a mark", "UTF-16 big with a mark")


@pytest.mark.parametrize("how", MARKED)
@pytest.mark.parametrize("ends", ["", "\n", "\r\n", "\r\nmore\r\n"])
def test_a_password_that_is_hashed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str, ends: str
) -> None:
    stdin(monkeypatch, saved(f"pä ss{ends}")[how])
    stored = printed(capsys, "hash").strip()
    assert auth_passwords.matches(stored, "pä ss")
    assert not auth_passwords.matches(stored, "pä ss\r")


def test_input_of_hash_that_is_no_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, b"\xff\xfea")
    assert cli_main.main(["hash"]) == 1
    assert "error: standard input: 'utf-16-le' codec" in capsys.readouterr().err


@pytest.mark.parametrize("how", MARKED)
@pytest.mark.parametrize("ends", ["", "\n", "\r\n"])
def test_a_secret_in_a_file(tmp_path: Path, how: str, ends: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(saved(f" pä ss{ends}")[how])
    assert config_secrets.read("file", str(path)) == " pä ss"


@pytest.mark.parametrize("secret", [b"\xff\xfea", b"p\0w\0", b"\xff\xfe\x00\xd8"])
def test_a_secret_may_be_any_bytes(tmp_path: Path, secret: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(secret)
    assert config_secrets.read("file", str(path)).encode("utf-8", "surrogateescape") == secret


def three_of_each(tmp_path: Path) -> list[str]:
    """A command line that runs: three files, three services, two proxies and a hub."""
    words: list[str] = []
    for number in (1, 2, 3):
        path = tmp_path / f"{number}.yml"
        route = f"{{dst: 10.0.{number}.0/24, gateway: host-{number}}}"
        path.write_text(f"routers: [{{name: r{number}, routes: [{route}]}}]\n")
        words += ["-C", str(path)]
    for url in ("router://:8441?router=r1", "router://:8442?router=r2", "tun:///h?net=10.9.0.1/24"):
        words += ["-L", url]
    for url in ("socks5://p:1", "http://q:2", "router+wss://u:p@hub:443?secure=true"):
        words += ["-F", url]
    return words


RUNNING = (
    *("-D", "-R", "10s", "--metrics", "127.0.0.1:9", "--user", "root", "--trace", "tcp port 22"),
    *("--control", "none"),
)


def test_check_takes_the_command_line_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = three_of_each(tmp_path)
    single = ("--single", str(tmp_path / "pid"))
    said = printed(capsys, "check", *words, *RUNNING, *single)
    assert [said.count(f"service-{number}") > 0 for number in range(4)] == [True, True, True, False]
    assert said == printed(capsys, "check", *RUNNING, *single, *words)
    assert not (tmp_path / "pid").exists(), "a check touches nothing"
    assert printed(capsys, *words, "-O", "yaml").count("addr:") == 6


@pytest.mark.parametrize(
    ("address", "status"), [("10.0.1.1", 0), ("10.0.2.1", 3)], ids=["its route", "another hub's"]
)
def test_explain_takes_the_command_line_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, status: int
) -> None:
    words = three_of_each(tmp_path)
    question = ("--from", "host-1", "--source", "10.0.1.2", "--service", "service-0")
    assert cli_main.main(["explain", *words, *question, address]) == status
    assert "service-0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-R", "soon"), "error: -R: "),
        (("--single", "/no/such/pid"), "error: --single: /no/such/pid: its directory is not there"),
        (("--single", "/etc/passwd"), "error: --single: /etc/passwd: exists already and is not a pid file"),
        (("--trace", "tcp prot 7"), "error: --trace: "),
        (("--metrics", "x:y:z"), "error: "),
    ],
    ids=str,
)
def test_check_finds_what_would_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str], why: str
) -> None:
    assert cli_main.main(["check", *three_of_each(tmp_path), *words]) == 2
    assert why in capsys.readouterr().err
