"""Redaction of log lines: secrets in URLs and headers are hidden, control characters are escaped.

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

_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)
"""Characters that change the direction of writing: a line would be shown in another order than it has."""
_ESCAPES = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *_BIDI, *range(0xD800, 0xE000))
}


def secrets(text: str) -> str:
    """A text with `***` for logins in URLs, for secrets in their queries, and for Authorization headers."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def one_line(text: str) -> str:
    """A text with control characters escaped: none ends the line, moves the cursor or rings the bell."""
    return text if text.isascii() and text.isprintable() else text.translate(_ESCAPES)
