"""Entity tags of the web API (RFC 9110, 8.8.3 and 13.1.1): two people who change one object notice it.

Knows: how a tag is made of an object, and of a version of the whole configuration.
Refuses to know: where these come from (api_routes).

    GET /config/routers/r          ->  ETag: "…"
    PUT /config/routers/r, If-Match: "…"   ->  412 where the object is another one by now
"""

from __future__ import annotations

import hashlib

from lib import config_read
from lib.api_request import Refused
from lib.config_section import Part

ANY = "*"


class Tags:
    """The tags of one process."""

    def __init__(self, key: bytes) -> None:
        """With a random key, so that a tag tells nobody whether a hidden secret is the one they think."""
        self._key = key

    def of_version(self, version: int) -> str:
        """The tag of the whole configuration, and of its lists."""
        return self._tag(f"version {version}")

    def of_object(self, section: Part) -> str:
        """The tag of one object: what a service is doing makes no difference."""
        return self._tag(repr(config_read.plain(section)))

    def check(self, header: str | None, version: int, section: Part | None) -> None:
        """Refuse a change whose If-Match fits neither the object as it is nor the version. Raises Refused."""
        if header is None:
            return
        wanted = {tag.strip() for tag in header.split(",")}
        there = {self.of_version(version)}
        if section is not None:
            there |= {self.of_object(section), ANY}
        if not wanted & there:
            raise Refused(412, "it has been changed meanwhile (If-Match): read it again, then change it")

    def _tag(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        return f'"{hashlib.blake2b(data, key=self._key, digest_size=12).hexdigest()}"'
