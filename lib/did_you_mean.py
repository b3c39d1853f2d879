"""Spelling hints: the known word that is nearest to an unknown one.

Knows: how near two words are. Refuses to know: which words there are (config_gost_keys, cli_grammar and
others).

A word is near when a few typing mistakes lead from one to the other: a letter left out, added, changed, or
two letters that changed places. How many are allowed grows with the length. The beginning of a word is near
too (`user` for `username`). A wrong guess is worse than none: it sends the reader to the wrong key.
"""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 64
"""Letters of a word that are looked at."""
_SHORTENED = 4
"""Letters that the beginning of a word needs, so that the whole word is guessed from it."""


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean 'X'?` for a word that is none of the candidates; "" where none of them is near."""
    chosen = nearest(word, candidates)
    return f"did you mean {chosen!r}?" if chosen else ""


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that was perhaps meant by a word; "" where none of them is near."""
    typed = word[:LONGEST].lower()
    best, fewest = "", _allowed(typed) + 1
    beginning = ""
    for candidate in candidates:
        spelled = candidate[:LONGEST].lower()
        # of two that are as near, the one that begins as the word does: `prot` is proto rather than port
        begins = spelled.startswith(typed)
        mistakes = _mistakes(typed, spelled, fewest + begins)
        if mistakes < fewest + begins:
            best, fewest = candidate, mistakes
        elif not beginning and _begins(typed, spelled):
            beginning = candidate
    return best or beginning


def _allowed(word: str) -> int:
    """How many mistakes a word of this length may have."""
    return 1 if len(word) < 6 else 2 if len(word) < 10 else 3


def _letters(word: str) -> set[str]:
    return {letter for letter in word if letter.isalnum()}


def _begins(typed: str, spelled: str) -> bool:
    short, long = sorted((typed, spelled), key=len)
    return len(short) >= _SHORTENED and len(short) * 2 >= len(long) and long.startswith(short)


def _mistakes(one: str, other: str, bound: int) -> int:
    """The mistakes between two words (the optimal string alignment distance); `bound` for that many or more.

    Words without a letter in common are not alike: that is `bound` too.
    """
    if abs(len(one) - len(other)) >= bound or not _letters(one) & _letters(other):
        return bound
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, against in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and against == one[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) >= bound:
            return bound
    return min(row[-1], bound)
