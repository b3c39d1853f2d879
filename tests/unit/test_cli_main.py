"""The same text means the same, whatever editor or shell it is from: configurations, secrets, passwords."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from lib import auth_passwords, cli_main, config_secrets
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
        cli_main._standard_input.cache_clear()
        assert printed(capsys, "-C", "-", "-O", "yaml") == expected, how
    cli_main._standard_input.cache_clear()


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
