"""Compressed answers of the web API: whole, in small steps, and only for who accepts them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import api_gzip
from tests.support.api import Api, process


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZip;q=0.5, br", True),
        ("br, *", True),
        ("*;q=0.1", True),
        ("gzip;q=1.0, *;q=0", True),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("xgzip", False),
    ],
)
def test_what_is_accepted(header: str, accepted: bool) -> None:
    assert api_gzip.accepts(header) is accepted


@given(st.lists(st.binary(max_size=3 * api_gzip.STEP), max_size=4))
def test_pieces_are_the_same_once_they_are_unpacked(pieces: list[bytes]) -> None:
    assert gzip.decompress(b"".join(api_gzip.packed(pieces))) == b"".join(pieces)


def test_a_long_piece_is_packed_in_steps() -> None:
    """Between them packets get their turn."""
    made = list(api_gzip.packed([bytes(10 * api_gzip.STEP)]))
    assert len(made) == 11


CONFIG = """\
services: [{name: s, addr: '127.0.0.1:PORT', handler: {type: router, metadata: {router: r, enrol: DIR/hosts.json}}, listener: {type: tls}}]
routers: [{name: r, routes: [ROUTES]}]
api: {addr: 'unix://DIR/api.sock', users: [{username: ada, password: s3cret}]}
"""
ROUTES = ", ".join(f"{{dst: 10.0.{number}.0/24, gateway: host-{number}}}" for number in range(200))
GZIP = {"Accept-Encoding": "gzip, deflate, br", "X-Tunrouter": "1"}
ADA = "ada:s3cret"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    place = tmp_path_factory.mktemp("hub")
    text = CONFIG.replace("DIR", str(place)).replace("ROUTES", ROUTES)
    with process(Path(place / "hub.yml"), text) as made:
        yield made


@pytest.mark.parametrize("path", ["/x/routes", "/x/openapi.json", "/x/status", "/x/config"])
def test_a_long_answer_is_compressed_for_who_accepts_it(api: Api, path: str) -> None:
    small = api.ask("GET", path, login=ADA, headers=GZIP)
    whole = api.ask("GET", path, login=ADA)
    assert (small.status, small.headers["content-encoding"]) == (200, "gzip")
    assert small.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in whole.headers
    assert set(json.loads(gzip.decompress(small.body))) == set(whole.json)
    assert len(small.body) < len(whole.body) / 2
    assert small.headers.get("content-length", str(len(small.body))) == str(len(small.body))


def test_what_is_short_or_tagged_or_a_secret_stays_as_it_is(api: Api) -> None:
    answers = {
        "short": api.ask("GET", "/x/me", login=ADA, headers=GZIP),
        "its ETag names these bytes": api.ask("GET", "/config/routers/r", login=ADA, headers=GZIP),
        "a secret beside what was asked for": api.ask(
            "POST",
            "/x/invite",
            {"host": "new", "address": "192.0.2.1:8443", "gateways": [f"10.9.{n}.0/24" for n in range(40)]},
            login=ADA,
            headers=GZIP,
        ),
    }
    for what, answer in answers.items():
        assert (answer.status, answer.headers.get("content-encoding")) == (200, None), (what, answer.body)
    assert len(answers["its ETag names these bytes"].body) > api_gzip.LEAST
    assert len(answers["a secret beside what was asked for"].body) > api_gzip.LEAST / 2


def test_head_tells_the_length_and_no_more(api: Api) -> None:
    answer = api.ask("HEAD", "/page/main.js", headers=GZIP)
    assert (answer.status, answer.body) == (200, b"")
