"""Tests of lib/page_files.py, and of the rules that the page's files keep: no outside resource, no markup from text."""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import pytest

from lib import cli_licences, page_files

OURS = sorted(file for file in page_files.folder().iterdir() if file.is_file())


def test_the_page_is_served_from_its_root() -> None:
    page = page_files.find("/")
    assert page is not None
    assert page.type == "text/html; charset=utf-8"
    assert b"<main" in page.body
    assert gzip.decompress(page.gzip_body) == page.body
    assert page_files.find("/page/index.html") == page


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/page/uplot/uPlot.esm.js", "text/javascript; charset=utf-8"),
    ],
)
def test_each_file_has_its_type(path: str, kind: str) -> None:
    file = page_files.find(path)
    assert file is not None
    assert file.type == kind
    assert re.fullmatch(r'"[0-9a-f]{20}"', file.etag)


@pytest.mark.parametrize(
    "path",
    ["", "/page", "/page/", "/page/../page_files.py", "/page/../../lib/page_files.py", "/page//etc/passwd", "/page/uplot", "/page/uplot/LICENSE", "/page/%2e%2e/x", "/main.js", "/x/me", "/page/main.js\0"],
)  # fmt: skip
def test_nothing_else_is_a_page(path: str) -> None:
    assert page_files.find(path) is None


def test_the_executable_has_the_page_where_it_was_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    assert page_files.folder() == tmp_path / "packaging" / "page"
    spec = (page_files.ROOT / "packaging" / "tunrouter.spec").read_text(encoding="utf-8")
    assert '(str(ROOT / "packaging" / "page"), "packaging/page")' in spec


def test_the_library_is_the_version_that_we_name_and_its_licence_is_told() -> None:
    name, _, version = page_files.UPLOT.partition(" ")
    text = (page_files.folder() / "uplot" / "uPlot.esm.js").read_text(encoding="utf-8")
    assert f"{name.lower()}" in text.lower()
    assert f"(v{version})" in text
    told = cli_licences.collected()
    assert page_files.UPLOT in told
    assert "Leon Sorokin" in told


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.name)
def test_no_text_becomes_markup_and_nothing_is_asked_of_another_place(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for never in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "javascript:",
        "style=",
    ):
        assert never not in text, never
    outside = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s'\"]*", text)
    assert [one for one in outside if one != "http://www.w3.org/2000/svg"] == []


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    page = page_files.find("/")
    assert page is not None
    text = page.body.decode()
    assert "<style" not in text
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r"\son\w+=", text) == []


def test_every_module_of_the_page_is_served() -> None:
    for file in OURS:
        for name in re.findall(
            r"from '\./([\w./]+)'|import '\./([\w./]+)'", file.read_text(encoding="utf-8")
        ):
            path = f"/page/{name[0] or name[1]}"
            assert page_files.find(path) is not None, f"{file.name} imports {path}"
