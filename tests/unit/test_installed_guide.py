"""What install.sh, and with it the package, puts on a machine to read: the guide, whose links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.netns import ROOT
from tests.support.page import DOCS
from tests.unit.test_pages import LINK, anchors

SCRIPT = ROOT / "packaging" / "install.sh"
PLACE = "usr/share/doc/tunrouter"


def run(folder: Path, *words: str) -> None:
    program = folder / "program"
    program.write_text("#!/bin/sh\necho made by $*\n")  # completions and the manual page
    program.chmod(0o755)
    environment = {"DESTDIR": str(folder), "PREFIX": "/usr", "EXECUTABLE": str(program)}
    subprocess.run(
        (str(SCRIPT), *words), env=os.environ | environment, check=True, capture_output=True, timeout=60
    )


@pytest.fixture(scope="module")
def doc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machine")
    run(folder)
    return folder / PLACE


def test_every_page_of_the_guide_is_installed(doc: Path) -> None:
    pages = {page.name for page in DOCS.glob("*.md")} | {"PROTOCOL.md", "SECURITY.md"}
    assert {"guide.md", "recipes.md", "operating.md", "watching.md"} < pages
    assert {page.name for page in doc.glob("*.md")} == pages
    assert "| top level | `user` |" in (doc / "guide.md").read_text()


def test_the_links_of_installed_pages_lead_to_what_is_installed(doc: Path) -> None:
    followed = 0
    for page in doc.glob("*.md"):
        text = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in (next(filter(None, found)) for found in LINK.findall(text)):
            file, _, anchor = target.partition("#")
            if not target.startswith("http"):
                where = page.parent / file if file else page
                assert where.is_file(), f"{page.name}: {target}"
                assert not anchor or anchor in anchors(where), f"{page.name}: {target}"
                followed += 1
    assert followed > 10


def test_the_files_that_installed_pages_name_are_there(doc: Path) -> None:
    named = {
        found
        for page in doc.glob("*.md")
        for found in re.findall(r"`((?:examples|schema|grafana)/[\w.-]*)`", page.read_text(encoding="utf-8"))
    }
    assert {"examples/", "schema/control.json", "grafana/tunrouter.json"} <= named
    assert not [name for name in named if not (doc / name).exists()]
    assert not [page for page in doc.glob("*.md") if "packaging/examples" in page.read_text(encoding="utf-8")]


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    run(tmp_path)
    assert (tmp_path / PLACE / "guide.md").exists()
    run(tmp_path, "uninstall")
    assert not (tmp_path / PLACE).exists()
