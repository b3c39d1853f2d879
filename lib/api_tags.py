"""Entity tags of the web API (RFC 9110, 8.8.3 and 13.1.1): two people who change one object notice it.

Knows: how a tag is made of an object, and of a version of the whole configuration.
Refuses to know: where these come from (api_routes).

    GET /config/routers/r          ->  ETag: "…"
    PUT /config/routers/r, If-Match: "…"   ->  412 where the object is another one by now
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from weakref import ReferenceType, ref

from lib import api_big, api_json, config_read
from lib.api_request import Refused
from lib.config_findings import at_once
from lib.config_section import Part

ANY = "*"
KEPT = 64
"""Objects whose tags are kept: nobody changes one in place."""


class Tags:
    """The tags of one process."""

    def __init__(self, key: bytes) -> None:
        """With a random key, so that a tag tells nobody whether a hidden secret is the one they think."""
        self._key = key
        self._kept: dict[int, tuple[ReferenceType[Part], str]] = {}

    def of_version(self, version: int) -> str:
        """The tag of the whole configuration, and of its lists."""
        return self._tag([f"version {version}".encode()], at_once)

    def of_object(self, section: Part, step: Callable[[], None] = at_once) -> str:
        """The tag of one object: what a service is doing makes no difference.

        `step` is called after every little piece of the work.
        """
        kept = self._kept.get(id(section))
        if kept is None or kept[0]() is not section:
            plain = config_read.plain(section, step=step)
            made = self._tag(api_big.as_json(plain), step)
            api_json.release(plain, step)
            if len(self._kept) >= KEPT:
                self._kept.clear()
            kept = self._kept[id(section)] = ref(section), made
        return kept[1]

    def check(
        self, header: str | None, version: int, section: Part | None, step: Callable[[], None] = at_once
    ) -> None:
        """Refuse a change whose If-Match fits neither the object as it is nor the version. Raises Refused."""
        if header is None:
            return
        wanted = {tag.strip() for tag in header.split(",")}
        there = {self.of_version(version)}
        if section is not None:
            there |= {self.of_object(section, step), ANY}
        if not wanted & there:
            raise Refused(412, "it has been changed meanwhile (If-Match): read it again, then change it")

    def _tag(self, pieces: Iterable[bytes], step: Callable[[], None]) -> str:
        digest = hashlib.blake2b(key=self._key, digest_size=12)
        for piece in pieces:
            digest.update(piece)
            step()
        return f'"{digest.hexdigest()}"'
