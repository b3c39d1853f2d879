"""`tunrouter licences`: everything that is pinned is in it, with its licence and its text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lib import __version__, cli_licences
from lib.cli_licences import ROOT, collected

PINS = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def text() -> str:
    return collected()


@pytest.mark.parametrize(("name", "version"), [*PINS, ("tunrouter", __version__)], ids=lambda word: word)
def test_every_package_with_its_licence_and_a_text(text: str, name: str, version: str) -> None:
    pattern = rf"^{re.sub('[-_.]', '.', name)} {re.escape(version)}"
    listed, *_ = re.findall(pattern + ".*$", text, re.MULTILINE | re.IGNORECASE)
    assert len(listed.split()) > 2, "no licence is named"
    _, _, own = text.partition("=\n" + listed[: len(f"{name} {version}")] + "\n=")
    assert len(own.partition("\n" + "=" * 80)[0]) > 80, "no text"


def test_what_is_no_package_comes_from_a_directory(tmp_path: Path) -> None:
    (tmp_path / "OpenSSL 3.0.1.txt").write_text("License: Apache-2.0\nits text\n")
    made = collected(str(tmp_path))
    assert re.search(r"^OpenSSL 3\.0\.1 +Apache-2\.0$", made, re.MULTILINE)
    assert "its text" in made
    assert "PSF-2.0" not in made.partition("\n\n")[0].replace("MIT AND PSF-2.0", "")


def test_the_executable_prints_what_was_collected_when_it_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "licences.txt").write_text("collected before\n")
    monkeypatch.setattr("sys._MEIPASS", str(tmp_path), raising=False)
    assert cli_licences.run({}) == 0
    assert capsys.readouterr().out == "collected before\n"
