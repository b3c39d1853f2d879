"""Spelling hints: the known word that is nearest to an unknown one.

Knows: how near two words are. Refuses to know: which words there are (config_gost_keys, cli_grammar and
others).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean 'X'?` for a word that is none of the candidates; "" where none of them is near."""
    spelled = {candidate.lower(): candidate for candidate in candidates}
    close = get_close_matches(word[:64].lower(), spelled, 1, 0.6)
    return f"did you mean {spelled[close[0]]!r}?" if close else ""
