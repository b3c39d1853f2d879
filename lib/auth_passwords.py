"""Stored passwords, in plain text or hashed with scrypt (RFC 7914): hashing, parsing, comparison.

Knows: how a hash is written, and a comparison in constant time.
Refuses to know: whose password it is (auth_logins), that a check takes long (auth_password_pool).

    $scrypt$ln=14,r=8,p=1$SALT$HASH        base64, no padding
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from hmac import compare_digest

LOG_N, BLOCKS, PARALLEL = 14, 8, 1
"""scrypt's cost as log2(N), r and p: 16 MB and some 40 ms for a check."""
SALT_SIZE = 16
"""Bytes of random salt that `hashed` takes."""
_PREFIX = "$scrypt$"
_FORM = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_MAX_MEMORY = 64 << 20


def is_hashed(stored: str) -> bool:
    """Whether a stored password begins as a hash does; it may still be malformed (check_form)."""
    return stored.startswith(_PREFIX)


def hashed(password: str, salt: bytes) -> str:
    """The hash to store for a password, as `$scrypt$…`; salt is SALT_SIZE random bytes."""
    digest = _scrypt(password, salt, LOG_N, BLOCKS, PARALLEL, 32)
    return f"{_PREFIX}ln={LOG_N},r={BLOCKS},p={PARALLEL}${_text(salt)}${_text(digest)}"


def check_form(stored: str) -> None:
    """Raises ValueError for a hash that does not parse, or whose check would take more than 64 MB."""
    _parse(stored)


def matches(
    stored: str | None, password: str, dearest: str = "", *, others: tuple[str | None, ...] = ()
) -> bool:
    """Whether a password is the stored one, or one of the `others` that are right for the same name.

    `stored` is None for a user name that nobody has, and None among the others stands for a password that
    this name does not have and another name has: so all names take the same time.

    An empty stored password and a broken hash match nothing. `dearest` is the hash that takes longest to
    check among all users, empty where there is none. Every check takes as long as that one, also for a plain
    password or a name that nobody has: so the time does not tell which names exist.
    """
    return any(_matches(one, password, dearest) for one in (stored, *others))


def _matches(stored: str | None, password: str, dearest: str) -> bool:
    kept_hash = stored if stored is not None and is_hashed(stored) else ""
    right = bool(kept_hash) and _is_hash_of(kept_hash, password)
    own, most = work(kept_hash), work(dearest)
    padding, times = (kept_hash, -(-most // own) - 1) if own else (dearest, 1 if most else 0)
    for _ in range(times):
        _is_hash_of(padding, password)
    if kept_hash:
        return right
    return compare_digest(_bytes(stored or ""), _bytes(password)) and bool(stored)


def takes_a_while(stored: str | None, dearest: str = "") -> bool:
    """Whether matches() has a hash to compute, which takes some 40 ms or more."""
    return bool(dearest) or (stored is not None and is_hashed(stored))


def work(stored: str) -> int:
    """The cost of checking a hash: N times r times p (RFC 7914). 0 where it is none, or broken."""
    try:
        log_n, r, p, _, _ = _parse(stored)
    except ValueError:
        return 0
    return (1 << log_n) * r * p


def _is_hash_of(stored: str, password: str) -> bool:
    try:
        log_n, r, p, salt, digest = _parse(stored)
    except ValueError:
        return False
    return compare_digest(_scrypt(password, salt, log_n, r, p, len(digest)), digest)


def _parse(stored: str) -> tuple[int, int, int, bytes, bytes]:
    form = _FORM.fullmatch(stored)
    if form is None:
        raise ValueError("not a hash as `tunrouter hash` prints it")
    log_n, r, p = int(form[1]), int(form[2]), int(form[3])
    if not (1 <= log_n <= 20 and r >= 1 and p >= 1 and 128 * r * (1 << log_n) <= _MAX_MEMORY and p <= 4):
        raise ValueError("a hash that takes more than 64 MB to check")
    try:
        salt, digest = (base64.b64decode(text + "=" * (-len(text) % 4)) for text in (form[4], form[5]))
    except binascii.Error:
        raise ValueError("not a hash as `tunrouter hash` prints it") from None
    if len(digest) < 16:
        raise ValueError("a hash of less than 16 bytes")
    return log_n, r, p, salt, digest


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int, size: int) -> bytes:
    memory = 128 * r * ((1 << log_n) + p) + (1 << 20)
    return hashlib.scrypt(_bytes(password), salt=salt, n=1 << log_n, r=r, p=p, maxmem=memory, dklen=size)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
