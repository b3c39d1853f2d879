"""UUIDs as GOST reads and writes them, host names that are fit for a log, and how a hub shows itself."""

from __future__ import annotations

import uuid
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import ids
from lib.ids import MAGIC, TUNNEL_ID_SIZE, VERSION, format_uuid, hub_tunnel_id, hub_version, is_host_name
from lib.ids import parse_uuid as parse
from tests.support import texts

DASHED = "e87f56dd-fd57-4921-9ab8-a0847662daae"
BARE = DASHED.replace("-", "")
CONNECTOR = bytes(range(16))


@pytest.mark.parametrize(
    "text",
    [DASHED, DASHED.upper(), BARE, BARE.upper(), f"urn:uuid:{DASHED}", f"URN:UUID:{DASHED}", f"{{{DASHED}}}"],
)
def test_every_spelling_is_one_uuid(text: str) -> None:
    assert parse(text) == uuid.UUID(DASHED).bytes


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("tenant-a", id="a word"),
        pytest.param(DASHED[:-1], id="a digit short"),
        pytest.param(DASHED + "0", id="a digit long"),
        pytest.param(DASHED + "\n", id="a line end"),
        pytest.param(" " + DASHED, id="a blank"),
        pytest.param(DASHED.replace("e8", "g8"), id="no hex digit"),
        pytest.param("e87f56dd-fd574921-9ab8-a084-7662daae", id="dashes elsewhere"),
        pytest.param(DASHED.replace("-", "", 1), id="a dash missing"),
        pytest.param("{" + DASHED, id="one brace"),
        pytest.param("\N{FULLWIDTH DIGIT ONE}" * 32, id="digits of another script"),
    ],
)
def test_anything_else_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="not a UUID: ") as refused:
        parse(text)
    assert repr(text) in str(refused.value)


@given(st.binary(min_size=16, max_size=16))
def test_written_as_gost_writes_it_and_read_back(value: bytes) -> None:
    assert format_uuid(value) == str(uuid.UUID(bytes=value))
    assert parse(format_uuid(value)) == value


@given(texts.from_json())  # a plugin names a namespace in JSON
def test_any_text_is_a_uuid_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert len(parse(text)) == 16


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("host-1", True),
        ("host_1.example.org", True),
        ("h%C3%B6st", True),
        ("höst", True),
        ("", True),
        ("two words", True),
        ("a\nINFO forged", False),
        ("a\x1b[2J", False),
        ("a\0", False),
        ("a\x7f", False),
        ("a\x85b", False),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), False),
    ],
)
def test_host_names_fit_for_a_log(name: str, fit: bool) -> None:
    assert is_host_name(name) is fit


def test_a_hub_shows_itself_in_the_last_four_bytes() -> None:
    assert hub_tunnel_id(CONNECTOR) == CONNECTOR + b"TUN\x01"
    assert len(hub_tunnel_id(CONNECTOR)) == TUNNEL_ID_SIZE


@pytest.mark.parametrize(
    ("tunnel_id", "version"),
    [
        pytest.param(hub_tunnel_id(CONNECTOR), VERSION, id="a tunrouter"),
        pytest.param(CONNECTOR + MAGIC + b"\x07", 7, id="a later tunrouter"),
        pytest.param(CONNECTOR + bytes(4), 0, id="GOST"),
        pytest.param(CONNECTOR + b"TUX\x01", 0, id="something else"),
        pytest.param(hub_tunnel_id(CONNECTOR)[:19], 0, id="cut off"),
        pytest.param(b"", 0, id="no tunnel id"),
        pytest.param(b"TUN\x01" * 4 + bytes(4), 0, id="the magic in the random part"),
    ],
)
def test_who_the_hub_is(tunnel_id: bytes, version: int) -> None:
    assert hub_version(tunnel_id) == version


def test_an_instance_that_is_marked_silent_is_of_the_same_session() -> None:
    one, other = ids.instance_of(b"c" * 16, 1), ids.instance_of(b"c" * 16, 2)
    marked = ids.silent(one)
    assert ids.is_silent(marked)
    assert not ids.is_silent(one)
    assert not ids.is_silent(b"")
    assert ids.silent(marked) == marked
    assert len(marked) == 16
    assert ids.is_same(one, marked)
    assert ids.is_beside(marked, other)
    assert not ids.is_beside(marked, one)
    assert ids.is_one_of_several(marked)
    assert not ids.is_one_of_several(ids.silent(ids.instance_of(b"c" * 16, 0)))
    assert not ids.is_same(b"", b"")
    assert not ids.is_same(one, b"")
