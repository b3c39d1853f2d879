"""Spelling hints: a typing mistake is recognized, and a word that is something else is not taken for one."""

from __future__ import annotations

import pytest

from lib.config_gost_keys import HUB_KEYS
from lib.config_schema import Config
from lib.config_section import section_fields
from lib.did_you_mean import did_you_mean

SECTIONS = [field.encode_name for field in section_fields(Config)]
KEYS = [key.name for key in HUB_KEYS.values() if not key.odd and not key.not_yet]


@pytest.mark.parametrize(
    ("word", "candidates", "guess"),
    [
        ("hots-2", ["host-1", "host-2"], "host-2"),
        ("rotuers", SECTIONS, "routers"),
        ("Ingres", SECTIONS, "ingresses"),
        ("auther", SECTIONS, "authers"),
        ("keepaliveTimeout", KEYS, "keepalive.timeout"),
        ("limiter.on", KEYS, "limiter.in"),
        ("user", ["password", "username"], "username"),
        ("hh", ["h"], "h"),
        ("prot", ["port", "proto", "protocol"], "proto"),
    ],
)
def test_what_was_probably_meant(word: str, candidates: list[str], guess: str) -> None:
    assert did_you_mean(word, candidates) == f"did you mean {guess!r}?"


@pytest.mark.parametrize(
    ("word", "candidates"),
    [
        ("caches", SECTIONS),
        ("rewriters", SECTIONS),
        ("quotas", SECTIONS),
        ("quota.scope", KEYS),
        ("limiter.cleanupInterval", KEYS),
        ("x", ["h"]),
        ("", SECTIONS),
        ("plugin", SECTIONS),
    ],
)
def test_another_word_is_no_typing_mistake(word: str, candidates: list[str]) -> None:
    assert did_you_mean(word, candidates) == ""
