"""What must not be read in a line: secrets in URLs and headers, and characters that make two lines of one.

Knows: where secrets stand in texts that others make (errors of libraries quote URLs).
Refuses to know: which secrets there are: what is known to be one is not put into a line in the first place.
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
"""What turns the direction of writing: a line would not read as it is."""
_ESCAPES = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *_BIDI, *range(0xD800, 0xE000))
}


def secrets(text: str) -> str:
    """A text without logins in URLs, secrets in their queries, and Authorization headers."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def one_line(text: str) -> str:
    """A text in which nothing ends the line, rings a bell, or moves what follows."""
    return text if text.isascii() and text.isprintable() else text.translate(_ESCAPES)
