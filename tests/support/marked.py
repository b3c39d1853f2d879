"""The part of a page that a script writes: what stands between two marks, which are invisible when rendered."""

from __future__ import annotations

from pathlib import Path


def between(page: Path, begin: str, end: str) -> str:
    """What stands between two marks of a page."""
    return _parts(page, begin, end)[1]


def put_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two marks of a page, in place of what stands there."""
    before, _, after = _parts(page, begin, end)
    page.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")


def _parts(page: Path, begin: str, end: str) -> tuple[str, str, str]:
    """(what stands before the marks, between them, behind them)"""
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    assert found, f"{page.name}: no mark {begin!r}"
    text, found, after = rest.partition(end)
    assert found, f"{page.name}: no mark {end!r}"
    return before, text, after
