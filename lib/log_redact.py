"""Redaction of log lines: secrets in URLs and headers are hidden.

Knows: where secrets stand in texts that other programs make (errors of libraries quote whole URLs).
Refuses to know: the configuration's secrets. Those are never put into a line in the first place.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_SECRETS = (
    (re.compile(r"(?<=://)[^\s/@?#'\"]*(?:@[^\s/@?#'\"]*)*@"), f"{HIDDEN}@"),
    (
        re.compile(
            r"(?i)([?&;](?:[a-z0-9_.-]*[_.-])?(?:token|key|secret|password|passwd|passphrase|pass|pwd|auth"
            r"|authorization|sig|signature|apikey|credential|credentials|pin)=)[^\s&;#'\"]*[^\s&;#'\":,]"
        ),
        rf"\g<1>{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)( +)(?=[\w.~+/=-]*[\d=._~+/-])[\w.~+/=-]{6,}"), rf"\g<1>\g<2>{HIDDEN}"),
    (re.compile(r"(?i)((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n,}]+"), rf"\g<1>{HIDDEN}"),
)


_MAY_HOLD = re.compile(r"://|=|(?i:bearer|basic|authorization)")
"""What stands in every text that holds one: most texts do not."""


def secrets(text: str) -> str:
    """A text with `***` for logins in URLs, for secrets in their queries, and for Authorization headers."""
    if not _MAY_HOLD.search(text):
        return text
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
