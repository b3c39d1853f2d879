"""Entity tags of the web API (RFC 9110, 8.8.3 and 13.1): two people who change one object notice it.

Knows: how a tag is made of an object, and of a version of the whole configuration; what If-Match and
If-None-Match ask for. Refuses to know: where these come from (api_routes).

    GET /config/routers/r                       ->  ETag: "…"
    GET /config/routers/r, If-None-Match: "…"   ->  304 while the answer would be the same
    PUT /config/routers/r, If-Match: "…"        ->  412 where the object is another one by now

The answer about a service says also what it is doing. So its tag is `"CONFIGURATION.STATE"`. The part
after the dot makes no difference to If-Match: else a service that is at work could not be changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from weakref import ReferenceType, ref

from lib import api_big, api_json, config_read
from lib.api_request import Refused
from lib.config_findings import at_once
from lib.config_section import Part

ANY = "*"
KEPT = 64
"""Objects whose tags are kept: nobody changes one in place."""
_TAG = re.compile(r'(W/)?("[^"]*"|\*)')


def tags_in(header: str, weak: bool) -> set[str]:
    """The tags of If-Match or If-None-Match, `*` among them; those that are weak (`W/"…"`) only if `weak`."""
    return {tag for is_weak, tag in _TAG.findall(header) if weak or not is_weak}


def is_known(headers: Mapping[str, str], tag: str) -> bool:
    """Whether who reads has what this tag stands for already (If-None-Match): the answer is 304 then."""
    return not tags_in(headers.get("if-none-match", ""), weak=True).isdisjoint((tag, ANY))


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

    def with_state(self, tag: str, states: Iterable[bytes], step: Callable[[], None] = at_once) -> str:
        """The tag of an answer that also says what services are doing: their states, as bytes."""
        return f"{tag[:-1]}.{self._tag(states, step)[1:]}"

    def check(
        self,
        headers: Mapping[str, str],
        version: int,
        section: Part | None = None,
        step: Callable[[], None] = at_once,
    ) -> None:
        """Refuse a change whose If-Match fits neither the object as it is nor the version. Raises Refused.

        Also one whose If-None-Match fits: `*` fits whatever is there. Without an object the request is for a
        list, or for the whole configuration, which always are.
        """
        wanted, unwanted = headers.get("if-match"), headers.get("if-none-match")
        if wanted is None and unwanted is None:
            return
        there = {self.of_version(version), ANY}
        if section is not None:
            there.add(self.of_object(section, step))
        if wanted is not None and there.isdisjoint(map(_configured, tags_in(wanted, weak=False))):
            raise Refused(412, "it has been changed meanwhile (If-Match): read it again, then change it")
        if unwanted is not None and not there.isdisjoint(map(_configured, tags_in(unwanted, weak=True))):
            what = "this object" if section is not None else "the list, to which the request is sent,"
            raise Refused(412, f"{what} is there (If-None-Match): nothing was changed")

    def _tag(self, pieces: Iterable[bytes], step: Callable[[], None]) -> str:
        digest = hashlib.blake2b(key=self._key, digest_size=12)
        for piece in pieces:
            digest.update(piece)
            step()
        return f'"{digest.hexdigest()}"'


def _configured(tag: str) -> str:
    """The tag without what services are doing."""
    return re.sub(r'\.[^"]*', "", tag)
